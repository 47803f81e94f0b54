"""Runs one program and ends it when the starter is gone, however that went.

``python -m launch.guard PARENT_PID DIRECTORY COMMAND…``; *DIRECTORY*, which holds the program's socket, goes with it.

Refuses to outlive its program or its parent.  SIGINT is left to the parent, which ends us in its own order.
"""

import os
import shutil
import signal
import subprocess
import sys
from types import FrameType

_LOOK_S = 0.2
_GRACE_S = 10.0


def main(parent: int, directory: str, argv: list[str]) -> int:
    """Run *argv* until it ends, we are asked to end or *parent* is not our parent any more; gives its exit code."""
    try:
        return _run(parent, argv)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _run(parent: int, argv: list[str]) -> int:
    asked = False

    def ask(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        asked = True

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGHUP, ask)
    # close_fds=False: the lock on the data directory is held as long as the program runs.
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True, close_fds=False)
    while child.poll() is None:
        if asked or os.getppid() != parent:
            return _end(child)
        try:
            child.wait(_LOOK_S)
        except subprocess.TimeoutExpired:
            continue
    return child.returncode


def _end(child: subprocess.Popen[bytes]) -> int:
    child.terminate()
    try:
        return child.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
