"""The clients of a soak: one Node.js process with all of them, whose words go into the account.

Refuses to outlive its block, and to hide that the process ended: what waits for it fails at once.
"""

import json
import shutil
import subprocess
import sysconfig
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.parts.process import NotInTime, until
from tests.soak.account import Account
from tests.soak.load import Cast

_HERE = Path(__file__).parent
_OPEN_S = 45.0
_END_S = 10.0
PLAIN, SDK = "./plain_client.mjs", "./sdk_client.mjs"


@dataclass(frozen=True)
class Manners:
    """How the clients are made, and how often one reconnects or reloads by itself (mean seconds; 0: never)."""

    client: str = SDK
    dedupes: bool = True  # of those without our SDK
    reconnect_s: float = 40.0
    reload_s: float = 80.0


class Crowd:
    """The tabs of *cast*; a context manager."""

    def __init__(
        self, home: Path, cast: Cast, account: Account, *, rest: str, nodes: Sequence[str],
        seed: int, manners: Manners,
    ) -> None:  # fmt: skip
        self.account = account
        self.open = self.reconnects = self.reloads = 0
        self.why: list[str] = []  # why tabs are not connected
        self.errors: Counter[str] = Counter()  # what the clients complained of
        self.size = len(cast.tabs)
        self._said, self._errors = home / "crowd.jsonl", home / "crowd.log"
        keys = [cast.tabs[number] for number in range(self.size)]
        self._orders = {"rest": rest, "nodes": list(nodes), "keys": keys, "vanilla": cast.vanilla, "seed": seed}
        self._orders |= manners.__dict__
        self._wires = threading.Lock()

    def __enter__(self) -> Self:
        program = shutil.which("node") or str(Path(sysconfig.get_path("scripts")) / "node")
        with self._errors.open("ab") as errors:
            self._process = subprocess.Popen(
                [program, str(_HERE / "crowd.mjs"), json.dumps(self._orders)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=_HERE,
            )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_END_S)
        self._reader.join(_END_S)

    def until_open(self, timeout_s: float = _OPEN_S) -> None:
        """Wait until every tab was told ``ready``."""
        self._until(lambda: self.open == self.size, timeout_s, f"{self.size} tabs ready")

    def away(self, timeout_s: float) -> list[str]:
        """Wait until every tab is connected; gives those that still are not, and why, as far as they say it."""
        try:
            self.until_open(timeout_s)
        except NotInTime:
            return self.why or [f"{self.size - self.open} tabs are not connected"]
        return []

    def until_all_has_come(self, timeout_s: float) -> bool:
        """Wait until nothing is owed any more; False when it still is after *timeout_s*."""
        try:
            self._until(lambda: self.account.waiting() == 0, timeout_s, "all that was accepted")
        except NotInTime:
            self._check()
            return False
        return True

    def order(self, do: str, **how: Any) -> None:
        """Tell the process what to do (crowd.mjs lists it)."""
        self._check()
        assert self._process.stdin is not None
        with self._wires:
            self._process.stdin.write(json.dumps({"do": do, **how}) + "\n")
            self._process.stdin.flush()

    @contextmanager
    def churning(self) -> Iterator[None]:
        """Have tabs reconnect and reload by themselves within the block."""
        self.order("churn", on=True)
        try:
            yield
        finally:
            self.order("churn", on=False)

    def _until(self, condition: Any, timeout_s: float, what: str) -> None:
        def holds() -> bool:
            self._check()
            return bool(condition())

        until(holds, timeout_s, what)

    def _check(self) -> None:
        if self._process.poll() is not None:
            said = self._errors.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise RuntimeError(f"the clients' process ended with {self._process.returncode}\n{said}")

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines, self._said.open("a", encoding="utf-8") as said:
            for line in lines:
                told = json.loads(line)
                if any(told[kind] for kind in "whge"):
                    said.write(line)
                self._take(told)

    def _take(self, told: Mapping[str, Any]) -> None:
        for tab, number, *_ in told["w"]:
            self.account.wire(tab, number)
        for tab, number, at_ms in told["h"]:
            self.account.handle(tab, number, at_ms / 1000)
        for tab, what in told["g"]:
            self.account.gap(tab, what)
        self.errors.update(told["e"])
        self.why = told["why"]
        self.open, self.reconnects, self.reloads = told["open"], told["reconnects"], told["reloads"]
