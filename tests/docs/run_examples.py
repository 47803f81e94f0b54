"""`make docs-examples`: runs the examples of the documents, in order, against one real start on free ports.

A non-zero exit fails, and so does an HTTP error that curl is answered.  Each block runs in a shell of its own.
"""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.docs.examples import Example, examples
from tests.parts.launch import Launch
from tests.parts.process import NotInTime

_ROOT = Path(__file__).parents[2]
_BLOCK_S = 60.0
_DOCUMENTED = {"WEB": 8000, "SOCKETIO": 9000, "GRPC": 9500, "WORKER": 9400, "FLOWER": 5555}


def addresses(launch: Launch, nodes: int) -> dict[str, str]:
    """Documented ``host:port`` → the one of this start."""
    moved = {}
    for name, documented in _DOCUMENTED.items():
        row = nodes if name in ("SOCKETIO", "GRPC") else 1
        for i in range(row):
            for host in ("localhost", "127.0.0.1"):
                moved[f"{host}:{documented + i}"] = f"{host}:{launch.ports[name] + i}"
    return moved


def run(example: Example, moved: dict[str, str], environ: dict[str, str]) -> str | None:
    """Run one example; gives what went wrong, None when nothing did.  What it leaves in the background is ended."""
    program = ["sh", "-eu", "-c"] if example.language == "sh" else [sys.executable, "-c"]
    # Into a file: a pipe would end only with the last process in the background.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        started = subprocess.Popen(
            [*program, example.moved(moved)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environ,
            cwd=_ROOT,
            start_new_session=True,
        )
        try:
            started.wait(_BLOCK_S)
        except subprocess.TimeoutExpired:
            wrong = f"did not end within {_BLOCK_S:g} s"
        else:
            wrong = f"exit {started.returncode}" if started.returncode else ""
        finally:
            _end_group(started)
        output.seek(0)
        return f"{wrong}\n{output.read()}" if wrong else None


def _end_group(started: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(started.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        started.wait()


def main(files: list[str]) -> int:
    """Run the examples of *files*; gives the exit code."""
    found = [one for file in files for one in examples(file, (_ROOT / file).read_text(encoding="utf-8"))]
    if not found:
        print("no examples to run")
        return 0
    with tempfile.TemporaryDirectory(prefix="cloudpush-docs-") as home:
        launch = Launch(Path(home))
        (Path(home) / ".curlrc").write_text("fail-with-body\nmax-time = 30\n", encoding="utf-8")
        environ = launch.env | {
            "CURL_HOME": home,
            "CLOUDPUSH_URL": launch.url,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        }
        try:
            launch.start()
            moved = addresses(launch, nodes=2)
            failed = sum(_told(one, run(one, moved, environ)) for one in found)
        except NotInTime as late:
            print(f"the examples need a start, and there was none: {late}", file=sys.stderr)
            return 1
        finally:
            launch.child.terminate()
    print(f"{len(found) - failed} of {len(found)} examples ran")
    return 1 if failed else 0


def _told(example: Example, wrong: str | None) -> bool:
    if wrong is not None:
        print(f"{example} failed: {wrong}\n--- the block\n{example.text}", file=sys.stderr, flush=True)
    return wrong is not None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
