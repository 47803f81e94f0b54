"""What a bench prints and writes: medians with their spread, and the ratios that claims are made of."""

import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

_RESULTS = Path(__file__).with_name("results")
_VERSIONS = ("celery", "kombu", "flask", "granian", "gunicorn", "grpcio", "eventlet", "python-socketio", "redis")


@dataclass(frozen=True, slots=True)
class Aim:
    """What a ratio should be, at least or at most."""

    at_least: float | None = None
    at_most: float | None = None

    def __str__(self) -> str:
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"

    def met(self, ratio: float) -> bool:
        """Whether *ratio* is what it should be."""
        return (self.at_least is None or ratio >= self.at_least) and (self.at_most is None or ratio <= self.at_most)


@dataclass
class Report:
    """Collects one value a round for each (peer, figure)."""

    name: str
    values: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    aims: Mapping[str, "Aim"] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)  # of what importlib.metadata does not know
    flaws: list[str] = field(default_factory=list)  # rounds whose values were not taken, and why

    def add(self, peer: str, figure: str, unit: str, value: float) -> None:
        """Take the value of one round."""
        self.values.setdefault((peer, figure, unit), []).append(value)

    def flaw(self, peer: str, figure: str, what: str) -> None:
        """Say that a round failed; the caller does not add its value."""
        self.flaws.append(f"{peer}, {figure}: {what}")
        print(f"  failed: {self.flaws[-1]}", flush=True)

    def has(self, peer: str, figure: str) -> bool:
        """Whether any round gave a value."""
        return any((its, fig) == (peer, figure) for its, fig, _ in self.values)

    def median(self, peer: str, figure: str) -> float:
        """Give the median over the rounds."""
        return next(median(values) for (its, fig, _), values in self.values.items() if (its, fig) == (peer, figure))

    def finish(self, **more: Any) -> None:
        """Print the table and write bench/results/NAME.json."""
        peers = list(dict.fromkeys(peer for peer, _, _ in self.values))
        ordered = sorted(self.values.items(), key=lambda it: peers.index(it[0][0]))
        rows = [
            {
                "peer": peer,
                "figure": figure,
                "unit": unit,
                "median": round(median(values), 3),
                "min": round(min(values), 3),
                "max": round(max(values), 3),
            }
            for (peer, figure, unit), values in ordered
        ]
        _print(rows, self.ratios, self.aims)
        for flaw in self.flaws:
            print(f"failed: {flaw}")
        _RESULTS.mkdir(exist_ok=True)
        target = _RESULTS / f"{self.name}.json"
        body = {"versions": _versions() | self.versions, "rows": rows, "ratios": self.ratios, **more}
        if self.flaws:
            body["failed"] = self.flaws
        target.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
        print(f"written to {target.relative_to(Path.cwd()) if target.is_relative_to(Path.cwd()) else target}")


def percentile(values: Sequence[float], percent: float) -> float:
    """Give the nearest-rank percentile of *values*; they need not be sorted."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def cpu_seconds(pid: int) -> float:
    """Give the CPU seconds, user and system, that a process and its ended children have used (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    ticks = sum(int(value) for value in fields[11:15])
    return ticks / 100


def _print(rows: Sequence[Mapping[str, Any]], ratios: Mapping[str, float], aims: Mapping[str, Aim]) -> None:
    width = max([34, *(len(row["figure"]) for row in rows)])
    print(f"\n{'peer':<16} {'figure':<{width}} {'median':>10} {'min':>10} {'max':>10}  unit")
    for row in rows:
        print("{peer:<16} {figure:<{width}} {median:>10} {min:>10} {max:>10}  {unit}".format(width=width, **row))
    print()
    for name, ratio in ratios.items():
        aim = aims.get(name)
        judged = "" if aim is None else f"   aim {aim}{'' if aim.met(ratio) else ', not reached'}"
        print(f"{name:<44} {ratio:.2f}{judged}")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _VERSIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # a peer that this run does not have
    return found
