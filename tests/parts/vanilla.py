"""Socket.IO's own client in JavaScript, with nothing of ours in it, as a child process that tells each step it takes.

Refuses to wait without a deadline; the script ends itself when a step takes too long.
"""

import json
import queue
import shutil
import subprocess
import sysconfig
import threading
from pathlib import Path
from typing import Any

from tests.parts.fleet import Node

_SCRIPT = Path(__file__).parent / "vanilla.mjs"
_WAIT_S = 10.0


class Vanilla:
    """One run of vanilla.mjs.  Close it."""

    def __init__(self, what: str, node: Node, auth: Any, *more: str) -> None:
        program = shutil.which("node") or str(Path(sysconfig.get_path("scripts")) / "node")
        argv = [program, str(_SCRIPT), what, node.url, json.dumps(auth), *more]
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        self._steps: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def next_step(self) -> tuple[str, Any]:
        """Wait for the next step; gives its name and data."""
        step = self._steps.get(timeout=_WAIT_S)
        return step["step"], step["data"]

    def step(self, name: str) -> Any:
        """Wait for the next step, which must have this name; gives its data."""
        step, data = self.next_step()
        assert step == name, (step, data)
        return data

    def until_ended(self) -> int:
        """Wait for the end; gives the exit code."""
        return self._process.wait(_WAIT_S)

    def close(self) -> None:
        """End it, however far it is."""
        self._process.kill()
        self._process.wait(_WAIT_S)
        self._reader.join(_WAIT_S)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._steps.put(json.loads(line))
