"""How things look in a terminal.  Refuses to let a message control it: control characters are shown, not sent."""

import json
import re
from collections.abc import Sequence
from typing import Any

import click

# C0, DEL, C1, and the marks that turn the direction of text around.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def one_line(text: str) -> str:
    """Show *text* on one line, harmlessly."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Line up columns; the last one is not padded."""
    shown = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*shown, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown
    )


def print_json(value: Any) -> None:
    """Print *value* as JSON on one line."""
    click.echo(json.dumps(value, ensure_ascii=False))
