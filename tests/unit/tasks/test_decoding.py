"""Bodies are read as kombu reads them, only faster."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from kombu.utils import json as kombu_json

from tasks.decoding import decode


@pytest.mark.parametrize(
    "value",
    [[[{"a": 1, "b": [None, True, 1.5, "ü\u20ac"]}], {}, {}], "text", 1 << 70, {"__type__": "none of ours"}, []],
    ids=str,
)
@pytest.mark.parametrize(
    "form", [str.encode, str, lambda text: memoryview(text.encode())], ids=["bytes", "str", "view"]
)
def test_what_is_json_is_read_whatever_holds_it(value: Any, form: Any) -> None:
    assert decode(form(json.dumps(value))) == value


def test_what_only_kombus_decoder_reads_is_read() -> None:
    assert decode(b"[Infinity, -Infinity]") == [float("inf"), float("-inf")]
    assert decode(b'["\\ud800"]') == ["\ud800"]
    at = datetime(2026, 1, 2, tzinfo=UTC)
    assert decode(kombu_json.dumps({"at": at})) == {"at": at}


@pytest.mark.parametrize("body", [b"{no json", b"", b"\xff\xfe", b"[1,]"])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        decode(body)
