"""Compiles the load programs of bench/client/ into bench/results/bin/, unless they are newer than their source.

Refuses to go on without a C compiler: as root on Debian it installs one, elsewhere it says what to install.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.provision import install

_SOURCE = Path(__file__).with_name("client")
_BIN = Path(__file__).with_name("results") / "bin"
_FLAGS = ["-O2", "-std=c11", "-Wall", "-Wextra"]
_SHARED = ["tally.c", "histogram.c"]
_PARTS = {
    "wsclient": ["main.c", "session.c", "protocols.c", "frames.c", "offer.c", "caller.c", *_SHARED],
    "sender": ["sender.c", *_SHARED],
}
_COMPILE_S = 60


class NoCompiler(RuntimeError):
    """There is no C compiler, and none can be installed from here."""


@dataclass(frozen=True, slots=True)
class Programs:
    """Where the compiled programs are."""

    wsclient: Path  # many websocket sessions, counted and timed, and pushed to over HTTP
    sender: Path  # offers messages at a fixed rate


def programs() -> Programs:
    """Compile what is not up to date; NoCompiler, or CalledProcessError with the compiler's words on the terminal."""
    _BIN.mkdir(parents=True, exist_ok=True)
    newest = max(path.stat().st_mtime for path in _SOURCE.iterdir())
    for name, sources in _PARTS.items():
        made = _BIN / name
        if not made.exists() or made.stat().st_mtime < newest:
            command = [_compiler(), *_FLAGS, "-o", str(made), *(str(_SOURCE / source) for source in sources)]
            subprocess.run(command, check=True, timeout=_COMPILE_S)
    return Programs(_BIN / "wsclient", _BIN / "sender")


def _compiler() -> str:
    if shutil.which("cc") is None:
        command = "apt-get install --no-install-recommends gcc libc6-dev"
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise NoCompiler(
                f"the bench's load client is written in C, and there is no cc. On Debian, as root: {command}"
            )
        print(f"» {command}", flush=True)
        install(["gcc", "libc6-dev"])
    return "cc"
