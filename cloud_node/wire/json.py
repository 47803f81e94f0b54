"""The ``json`` that python-socketio and python-engineio are given: orjson behind the standard library's two names.

It copies a push's body into the packet as it stands (``orjson.Fragment``), and refuses what the standard library
lets through and browsers choke on: NaN, half surrogate pairs, nesting without end.
"""

from typing import Any

import orjson

JSONDecodeError = orjson.JSONDecodeError


def dumps(value: Any, **_: Any) -> str:
    """Write JSON; the standard library's layout options do not apply, orjson is always compact."""
    return orjson.dumps(value).decode()


def loads(text: str | bytes, **_: Any) -> Any:
    """Read JSON; raises ValueError when it is none."""
    return orjson.loads(text)
