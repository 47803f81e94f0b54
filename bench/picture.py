"""Draws the sweep as one SVG: p99 over offered load, both logarithmic; readable in light and dark, and on a phone.

A line ends with a cross where its server fell behind.  Knows only what this one picture needs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

_WIDTH, _HEIGHT = 480, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 84, 46
_COLOURS = ("#d1495b", "#2a7fba", "#3a9a5b", "#b07c10", "#8a62b8")
_STYLE = """
text{font:13px system-ui,sans-serif;fill:#333}.grid{stroke:#8884;stroke-width:1}.title{font-weight:600;font-size:15px}
.line{fill:none;stroke-width:2.5;stroke-linejoin:round}.end{font-weight:700;font-size:17px}
@media(prefers-color-scheme:dark){text{fill:#ddd}}
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One server: (deliveries/s offered, p99 in ms) where it kept up, and the load at which it did not."""

    name: str
    points: Sequence[tuple[float, float]]
    behind_at: float | None


class _Scale:
    """A logarithmic axis that begins at a whole decade, from *low* to *high* pixels."""

    def __init__(self, values: Sequence[float], low: float, high: float) -> None:
        self.first = math.floor(math.log10(min(values)))
        self.last = max(math.log10(max(values) * 1.2), self.first + 1)
        self._low, self._high = low, high

    def __call__(self, value: float) -> float:
        part = (math.log10(value) - self.first) / (self.last - self.first)
        return self._low + part * (self._high - self._low)

    @property
    def decades(self) -> list[float]:
        return [10.0**power for power in range(self.first, math.floor(self.last) + 1)]


def draw(target: Path, lines: Sequence[Line]) -> None:
    """Write the picture to *target*; with nothing to draw, nothing is written."""
    if not lines:
        return
    loads = [load for line in lines for load, _ in line.points] + [line.behind_at for line in lines if line.behind_at]
    across = _Scale(loads, _LEFT, _WIDTH - _RIGHT)
    up = _Scale([p99 for line in lines for _, p99 in line.points], _HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        "<title>p99 latency over offered load, one core</title>",
        f"<style>{_STYLE}</style>",
        _text(_LEFT, 20, "p99, ms, while so much is offered (× fell behind)", "title"),
        *_axes(across, up),
    ]
    for number, line in enumerate(lines):
        parts += _line(line, number, across, up)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")
    print(f"drawn: {target}")


def _axes(across: _Scale, up: _Scale) -> list[str]:
    parts = []
    for load in across.decades:
        x = across(load)
        parts.append(f'<path class="grid" d="M{x:.1f} {_TOP}V{_HEIGHT - _BOTTOM}"/>')
        parts.append(_text(x, _HEIGHT - _BOTTOM + 18, _short(load), anchor="middle"))
    for p99 in up.decades:
        y = up(p99)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(_text(_LEFT - 6, y + 4, f"{p99:g}", anchor="end"))
    parts.append(_text(_WIDTH - _RIGHT, _HEIGHT - 8, "deliveries offered per second, 1,000 sessions", anchor="end"))
    return parts


def _line(line: Line, number: int, across: _Scale, up: _Scale) -> list[str]:
    colour = _COLOURS[number % len(_COLOURS)]
    points = " ".join(f"{across(load):.1f},{up(p99):.1f}" for load, p99 in line.points)
    parts = [f'<polyline class="line" stroke="{colour}" points="{points}"/>']
    parts += [f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="3" fill="{colour}"/>' for x, y in line.points]
    if line.behind_at is not None:
        x, y = across(line.behind_at), _TOP
        dashes = f'stroke="{colour}" stroke-dasharray="3 4" points="{points.split()[-1]} {x:.1f},{y:.1f}"'
        parts.append(f'<polyline class="line" {dashes}/>')
        parts.append(_text(x, y + 6, "×", "end", anchor="middle", colour=colour))
    column, row = number % 2, number // 2
    x, y = _LEFT + column * 200, 42 + row * 19
    parts.append(f'<path stroke="{colour}" stroke-width="4" d="M{x} {y - 4}h18"/>')
    return [*parts, _text(x + 24, y, line.name)]


def _text(x: float, y: float, text: str, kind: str = "", *, anchor: str = "", colour: str = "") -> str:
    attributes = {"class": kind, "text-anchor": anchor, "style": f"fill:{colour}" if colour else ""}
    said = "".join(f' {name}="{value}"' for name, value in attributes.items() if value)
    return f'<text x="{x:.1f}" y="{y:.1f}"{said}>{escape(text)}</text>'


def _short(number: float) -> str:
    return f"{number / 1e6:g}M" if number >= 1e6 else f"{number / 1e3:g}k"
