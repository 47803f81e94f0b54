"""Options that are times: ``90``, ``90s``, ``15m``, ``2h``, ``7d``."""

import re
from typing import Any

import click

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_FORM = re.compile(r"(\d+)([smhd]?)")


class Seconds(click.ParamType[int]):
    """Whole seconds, from a number with or without a unit."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Give the seconds; a usage error for anything else."""
        if isinstance(value, int):
            return value
        found = _FORM.fullmatch(value)
        if not found:
            self.fail(f"{value!r} is no time: give seconds, or a number with s, m, h or d, such as 15m", param, ctx)
        return int(found[1]) * _UNITS[found[2]]
