"""One `python -m launch` for tests, on free ports, with data and log under a directory of the test's."""

import os
import re
import sys
from pathlib import Path

from tests.parts.process import Child, free_port, free_row, until

_ROOT = Path(__file__).parents[2]


class Launch:
    """A start of everything; *procfile* names other processes than the tiers."""

    def __init__(self, home: Path, nodes: int = 2) -> None:
        self.home = home
        self.ports = {"WEB": free_port(), "WORKER": free_port(), "FLOWER": free_port()}
        self.ports |= {"SOCKETIO": free_row(nodes), "GRPC": free_row(nodes)}
        self.env = {name: value for name, value in os.environ.items() if name not in ("RABBITMQ_URL", "REDIS_URL")}
        self.env |= {f"CLOUDPUSH_{name}_PORT": str(port) for name, port in self.ports.items()}
        self.env |= {"CLOUDPUSH_DATA_DIR": str(home / "data"), "NODES": str(nodes)}
        self.env["PYTHONPATH"] = f"{_ROOT}:{_ROOT / 'clients/python'}"
        self.child = Child("launch", [sys.executable, "-m", "launch"], log=home / "launch.log", env=self.env, cwd=_ROOT)

    @property
    def url(self) -> str:
        """Where REST is."""
        return f"http://127.0.0.1:{self.ports['WEB']}"

    @property
    def output(self) -> str:
        """All that it printed."""
        return self.child.log.read_text(encoding="utf-8")

    def start(self, timeout_s: float = 60) -> None:
        """Start and wait for the line ``ready:``."""
        self.child.start()
        self.child.until(lambda: re.search("^ready: ", self.output, re.MULTILINE) is not None, timeout_s, "ready:")

    def until_ended(self) -> int:
        """Wait for its end; gives the exit code."""
        until(lambda: not self.child.running, 40, "the end of the start")
        assert self.child.returncode is not None
        return self.child.returncode

    def pid_of(self, name: str) -> int:
        """The process id of one of its processes, as in the Procfile with a number: ``cloud.2``."""
        found = re.search(rf"{re.escape(name)} started \(pid=(\d+)\)", self.output)
        assert found, f"no start of {name} in the output"
        return int(found[1])

    def left(self) -> dict[int, str]:
        """Pid and command of all that came from this start: by environment, or (Valkey hides that) by directory."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                environ = (process / "environ").read_bytes()
                ours = f"={self.home}/data".encode() in environ or (process / "cwd").readlink().is_relative_to(
                    self.home
                )
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if ours and command:
                found[int(process.name)] = command
        return found
