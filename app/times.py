"""RFC 3339 ↔ Unix milliseconds.  Refuses dates without a time, times without an offset, and ISO 8601's other forms."""

import re
from datetime import UTC, datetime, timedelta

_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def parse_ms(text: str) -> int:
    """Read *text* as RFC 3339 has it, rounded up to ms; raises ValueError."""
    if _RFC3339.fullmatch(text) is None:
        raise ValueError("not RFC 3339")
    return -((_EPOCH - datetime.fromisoformat(text.upper())) // _MS)


def show_ms(unix_ms: int) -> str:
    """Write a time of ours, in UTC."""
    return (_EPOCH + unix_ms * _MS).isoformat(timespec="milliseconds").replace("+00:00", "Z")
