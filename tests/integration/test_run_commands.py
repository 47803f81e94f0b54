"""Commands beside `make run` find its embedded broker by the file that it writes."""

import subprocess
import sys
from pathlib import Path

from tests.parts.launch import Launch

_ROOT = Path(__file__).parents[2]


def test_dead_letters_of_the_embedded_broker_are_listed_by_the_address_that_the_start_wrote(tmp_path: Path) -> None:
    launch = Launch(tmp_path, nodes=1)
    written = tmp_path / "data" / "environment"
    try:
        launch.start()
        env = launch.env | dict(line.split("=", 1) for line in written.read_text(encoding="utf-8").splitlines())
        argv = [sys.executable, "-m", "tasks.dead_letters", "list"]
        done = subprocess.run(argv, env=env, cwd=_ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (0, "0 of 0 dead letters\n"), done.stderr
    finally:
        launch.child.terminate()
    assert not written.exists()
