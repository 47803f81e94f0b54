"""Where the pushes of a batch begin and end: as a whole JSON parser would have it, without building them all."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.batch_body import Piece, split, value_of
from app.body import NotJson, parse
from proto.errors import InvalidPush

_LARGEST = 4096


def _split(raw: bytes, most: int = 1000) -> list[Piece]:
    return split(raw, most=most, max_piece_bytes=_LARGEST)


def _values(raw: bytes) -> list[Any]:
    return [value_of(raw[start:end]) for start, end, flaw in _split(raw) if flaw is None]


def _nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6) | st.sampled_from(['"', "\\", '\\"', "],[", "}{", "\n", "é", "\u2028"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(_JSON, min_size=1, max_size=5), st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_the_pieces_are_the_members_however_the_list_is_written(values: list[Any], ascii_: bool, indent: Any) -> None:
    raw = json.dumps({"pushes": values}, ensure_ascii=ascii_, indent=indent).encode()
    if len(raw) <= _LARGEST:
        assert _values(raw) == values


@settings(max_examples=500, deadline=None)
@given(
    st.lists(_JSON, min_size=1, max_size=3),
    st.integers(0, 200),
    st.integers(0, 3),
    st.lists(st.sampled_from(list(b'[]{},:"\\ 1anul\n\xff\xc3\x00')), max_size=3).map(bytes),
)
def test_what_is_cut_or_garbled_is_taken_only_if_it_is_still_json(
    values: list[Any], at: int, dropped: int, put: bytes
) -> None:
    whole = json.dumps({"pushes": values}, ensure_ascii=False, separators=(",", ":")).encode()
    at = at % len(whole)
    raw = whole[:at] + put + whole[at + dropped :]
    try:
        expected = orjson.loads(raw)
    except orjson.JSONDecodeError:
        with pytest.raises((NotJson, InvalidPush)) as caught:
            _split(raw)
        assert isinstance(caught.value, NotJson) or len(raw) > _LARGEST
        return
    try:
        parsed = parse(raw)
    except NotJson:
        return  # a name twice: where that is, other tests say
    if isinstance(expected, dict) and set(parsed) == {"pushes"} and isinstance(parsed["pushes"], list):
        if parsed["pushes"] and b"pushes" in raw:
            assert _values(raw) == parsed["pushes"]
    else:
        with pytest.raises(InvalidPush):
            _split(raw)


_NOT_JSON: dict[str, bytes] = {
    "empty": b"",
    "text": b"hello",
    "cut off in the list": b'{"pushes":[{},',
    "cut off in a push": b'{"pushes":[{"a":[1,{"b":"]}',
    "cut off in a string": b'{"pushes":["abc',
    "cut off after the list": b'{"pushes":[1]',
    "no comma": b'{"pushes":[{} {}]}',
    "two commas": b'{"pushes":[1,,2]}',
    "a comma too many": b'{"pushes":[1,]}',
    "a comma first": b'{"pushes":[,1]}',
    "brackets crossed": b'{"pushes":[{"a":[}]]}',
    "brackets crossed between pushes": b'{"pushes":[[1},{2]]}',
    "too many brackets": b'{"pushes":[1]]}',
    "something behind": b'{"pushes":[1]}x',
    "two bodies": b'{"pushes":[1]}{"pushes":[1]}',
    "NaN in a push": b'{"pushes":[{"msg":NaN}]}',
    "not UTF-8 in a push": b'{"pushes":["\xff"]}',
    "half a surrogate pair in a push": b'{"pushes":["\\ud800"]}',
    "a control character in a push": b'{"pushes":["\x01"]}',
    "a byte order mark": b'\xef\xbb\xbf{"pushes":[1]}',
    "another white space": b'{"pushes":[1,\x0c2]}',
    "the list twice": b'{"pushes":[1],"pushes":[2]}',
    "another member twice": b'{"pushes":[1],"a":1,"a":2}',
    "open without end": b'{"pushes":[' + b"[" * 100_000,
    "open without end, filled": b'{"pushes":[' + b'{"a":[[],[]],' * 10_000,
}


@pytest.mark.parametrize("name", _NOT_JSON)
def test_a_body_that_is_not_json_has_no_pieces(name: str) -> None:
    with pytest.raises(NotJson):
        _split(_NOT_JSON[name])


_MISSHAPEN: dict[str, tuple[bytes, list[tuple[str, str]]]] = {
    "a list": (b"[]", [("", "must be a JSON object")]),
    "a number": (b"7", [("", "must be a JSON object")]),
    "nothing in it": (b"{}", [("pushes", "is required")]),
    "another name": (b'{"push":[]}', [("pushes", "is required"), ("push", "is not a known field")]),
    "no list": (b'{"pushes":{}}', [("pushes", "must be a list")]),
    "null": (b'{"pushes":null}', [("pushes", "must be a list")]),
    "an empty list": (b'{"pushes": [ ] }', [("pushes", "must not be empty")]),
    "a name before": (b'{"x":1,"pushes":[1]}', [("x", "is not a known field")]),
    "a name behind": (b'{"pushes":[1],"x":1}', [("x", "is not a known field")]),
    "a name in escapes": (b'{"p\\u0075shes":[1]}', [("", 'must be {"pushes": [...]} and nothing else')]),
    "large, and a name behind": (
        b'{"pushes":["' + b"x" * _LARGEST + b'"],"x":1}',
        [("", 'must be {"pushes": [...]} and nothing else')],
    ),
    "too many": (
        b'{"pushes":[' + b"1," * 1000 + b"1]}",
        [("pushes", "holds too many: a batch has at most 1000 pushes")],
    ),
    "far too many": (b'{"pushes":[' + b"1," * 100_000, [("pushes", "holds too many: a batch has at most 1000 pushes")]),
}


@pytest.mark.parametrize("name", _MISSHAPEN)
def test_json_that_is_no_batch_is_told_what_is_wrong_with_it(name: str) -> None:
    raw, problems = _MISSHAPEN[name]
    with pytest.raises(InvalidPush) as caught:
        _split(raw)
    assert [(problem.field, problem.message) for problem in caught.value.problems] == problems


def test_as_many_pushes_as_may_be_are_found() -> None:
    assert len(_split(b'{"pushes":[' + b"1," * 999 + b"1]}")) == 1000


@pytest.mark.parametrize(
    ("bad", "code"),
    [(b'"' + b"x" * _LARGEST + b'"', 413), (b"[" + b"1," * _LARGEST + b"1]", 413), (_nested(201), 400)],
    ids=["a long string", "a long list", "deep"],
)
def test_a_piece_that_is_too_large_or_too_deep_is_skipped_and_its_neighbours_are_there(bad: bytes, code: int) -> None:
    raw = b'{"pushes":[{"a":1}, ' + bad + b' ,{"b":2}]}'
    first, middle, last = _split(raw)
    assert [value_of(raw[piece.start : piece.end]) for piece in (first, last)] == [{"a": 1}, {"b": 2}]
    assert middle.flaw is not None
    assert middle.flaw.code == code
    assert raw[middle.start : middle.end] == bad


@pytest.mark.parametrize("depth", [1, 7, 8, 9, 64, 191])
def test_what_is_nested_no_deeper_than_may_be_is_read(depth: int) -> None:
    filled = b'{"a":[' * (depth // 2) + b'"]}",{},[[]]' + b"]}" * (depth // 2)
    for piece in (_nested(depth), filled):
        if depth == 1 and piece == filled:
            continue
        raw = b'{"pushes":[' + piece + b"]}"
        assert _values(raw) == [json.loads(piece)]


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a":{"b":[{"c":1,"c":2}]}}',
        b'{"a":"\\u0022\\u0022","a":"x"}',  # what is lost and what escapes stand for are as many quotes
        b'{"a":"x","\\u0061":"y"}',
        b'{"a":"\\\\u0022\\u0022","a":1}',
        b'{"":1,"":"\\u0022\\u0022"}',
    ],
)
def test_a_name_that_occurs_twice_is_found_whatever_hides_it(raw: bytes) -> None:
    with pytest.raises(NotJson, match="The push names one member twice"):
        value_of(raw)


@pytest.mark.parametrize("number", [2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**40])
def test_integers_are_what_they_are(number: int) -> None:
    assert value_of(b'{"n":%d}' % number) == {"n": number}
    assert type(value_of(b'{"n":%d}' % number)["n"]) is int
