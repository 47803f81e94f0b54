"""What each tier of something under test spends: CPU seconds and memory of its processes, their children included."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

_SESSION = 3  # fields of /proc/PID/stat behind the command, from 0


class Leader(Protocol):
    """Something with a pid."""

    @property
    def pid(self) -> int:
        """The process that leads the session."""


class Tiers:
    """*leaders* names, by tier, processes that lead a session of their own, as tests.parts.process.Child does.

    A tier whose process was started anew is the new one from then on: pids are asked for each time.
    """

    def __init__(self, leaders: Mapping[str, Leader]) -> None:
        self._leaders = dict(leaders)

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds that each tier's living processes have used, to the microsecond."""
        return {tier: sum(map(_cpu_s, pids)) for tier, pids in self._processes().items()}

    def rss_mib(self) -> dict[str, float]:
        """Memory of each tier now; what processes of a tier share counts once for each of them."""
        return {tier: sum(map(_rss_kib, pids)) / 1024 for tier, pids in self._processes().items()}

    def _processes(self) -> dict[str, list[int]]:
        by_leader: dict[int, list[int]] = {}
        for pid, session in _sessions():
            by_leader.setdefault(session, []).append(pid)
        return {tier: by_leader.get(leader.pid, []) for tier, leader in self._leaders.items()}


def _sessions() -> Iterator[tuple[int, int]]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it ended
        yield int(process.name), int(fields[_SESSION])


def _cpu_s(pid: int) -> float:
    try:
        return time.clock_gettime(~pid << 3 | 2)  # clock_getcpuclockid(3)
    except OSError:
        return 0.0  # it ended


def _rss_kib(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")), 0)
