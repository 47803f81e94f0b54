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


@dataclass
class Report:
    """Collects one value a round for each (peer, figure)."""

    name: str
    values: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)

    def add(self, peer: str, figure: str, unit: str, value: float) -> None:
        """Take the value of one round."""
        self.values.setdefault((peer, figure, unit), []).append(value)

    def median(self, peer: str, figure: str) -> float:
        """Give the median over the rounds."""
        return next(median(values) for (its, fig, _), values in self.values.items() if (its, fig) == (peer, figure))

    def finish(self, **more: Any) -> None:
        """Print the table and write bench/results/NAME.json."""
        rows = [
            {
                "peer": peer,
                "figure": figure,
                "unit": unit,
                "median": round(median(values), 3),
                "min": round(min(values), 3),
                "max": round(max(values), 3),
            }
            for (peer, figure, unit), values in self.values.items()
        ]
        _print(rows, self.ratios)
        _RESULTS.mkdir(exist_ok=True)
        target = _RESULTS / f"{self.name}.json"
        body = {"versions": _versions(), "rows": rows, "ratios": self.ratios, **more}
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


def _print(rows: Sequence[Mapping[str, Any]], ratios: Mapping[str, float]) -> None:
    print(f"\n{'peer':<16} {'figure':<26} {'median':>10} {'min':>10} {'max':>10}  unit")
    for row in rows:
        print("{peer:<16} {figure:<26} {median:>10} {min:>10} {max:>10}  {unit}".format(**row))
    print()
    for name, ratio in ratios.items():
        print(f"{name:<44} {ratio:.2f}")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _VERSIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # a peer that this run does not have
    return found
