"""``python -m bench.pinned CORE PROGRAM …``: becomes that program, on one core and with all the files it may open."""

import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path


def server_core() -> int:
    """The core of whatever is measured."""
    return sorted(os.sched_getaffinity(0))[0]


def client_core() -> int:
    """The core of whatever measures; on a machine with one core it is the server's."""
    return sorted(os.sched_getaffinity(0))[-1]


def busy_s(core: int) -> float:
    """Give the seconds since boot in which *core* did not idle, those included that a host took from it."""
    lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    user, nice, system, _idle, _waiting, *interrupts_and_stolen = next(
        map(int, line.split()[1:9]) for line in lines if line.startswith(f"cpu{core} ")
    )
    return (user + nice + system + sum(interrupts_and_stolen)) / 100


def pinned(core: int, argv: Sequence[str]) -> list[str]:
    """Give the command that runs *argv* on *core*."""
    return [sys.executable, "-m", "bench.pinned", str(core), *argv]


def open_files_limit() -> int:
    """Raise the limit of open files to what this process may have; gives it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


if __name__ == "__main__":
    open_files_limit()
    os.sched_setaffinity(0, {int(sys.argv[1])})
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606
