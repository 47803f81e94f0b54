"""Every way in which a push can be malformed, with the exact answer; none leaves anything behind."""

from typing import Any

import orjson
import pytest

from tests.parts.web import make_web

Errors = list[tuple[str, str]]

_OK = {"keys": ["alice"], "msg": "hi"}
_ALL = {"all": True, "msg": "hi"}
_INT64 = "must fit 64 bits"
_SERVER = "must be host:port or host:port#boot, at most 256 characters"
_MID = "must be a string or an integer"
_NO_TARGET = "name at least one target: keys, mids, rooms or all"
_TOO_MANY = "holds too many: a push has at most 1000 targets in all"
_CONTROL = "must not hold control characters"
_SURROUNDED = "must not begin or end with white space"
_TIME = "must be a time with an offset, as in 2027-01-31T09:30:00Z (RFC 3339)"
_REQUEST_ID = "must be 1 to 128 printable characters"
_NO_SERVER = "cannot be named for a durable push: whoever answers to its keys gets it"
_NO_SPEED = "is for a push to all, and to nobody by name"
_NO_DURABLE_SPEED = "cannot be given for a durable push: its sessions get it in the order of the inbox"


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


# By name: what is sent, and the errors it gets.
_FIELDS: dict[str, tuple[Any, Errors]] = {
    "array": ([], [("", "must be a JSON object")]),
    "string": ("push", [("", "must be a JSON object")]),
    "null": (None, [("", "must be a JSON object")]),
    "empty object": ({}, [("keys", _NO_TARGET), ("msg", "is required")]),
    "no target": ({"msg": 1}, [("keys", _NO_TARGET)]),
    "empty targets": ({"keys": [], "mids": [], "rooms": [], "all": False, "msg": 1}, [("keys", _NO_TARGET)]),
    "no msg": ({"keys": ["a"]}, [("msg", "is required")]),
    "unknown field": ({**_OK, "colour": 1}, [("colour", "is not a known field")]),
    "unknown long field": ({**_OK, "x" * 200: 1}, [("x" * 64, "is not a known field")]),
    "keys a string": ({"keys": "alice", "msg": 1}, [("keys", "must be a list")]),
    "keys null": ({"keys": None, "msg": 1}, [("keys", "must be a list")]),
    "key a number": ({"keys": ["a", 7], "msg": 1}, [("keys[1]", "must be a string")]),
    "key null": ({"keys": [None], "msg": 1}, [("keys[0]", "must be a string")]),
    "key a list": ({"keys": [["a"]], "msg": 1}, [("keys[0]", "must be a string")]),
    "key empty": ({"keys": [""], "msg": 1}, [("keys[0]", "must not be empty")]),
    "key long": ({"keys": ["k" * 257], "msg": 1}, [("keys[0]", "must be at most 256 bytes, not 257")]),
    "key long in bytes": ({"keys": ["ü" * 129], "msg": 1}, [("keys[0]", "must be at most 256 bytes, not 258")]),
    "key with newline": ({"keys": ["a\nb"], "msg": 1}, [("keys[0]", _CONTROL)]),
    "key with NUL": ({"keys": ["a\0"], "msg": 1}, [("keys[0]", _CONTROL)]),
    "key with blanks": ({"keys": [" a"], "msg": 1}, [("keys[0]", _SURROUNDED)]),
    "key is all": (
        {"keys": ["all"], "msg": 1},
        [("keys[0]", "'all' is reserved: to reach every session, say all: true")],
    ),
    "key mid:": ({"keys": ["mid:1"], "msg": 1}, [("keys[0]", "the prefix 'mid:' is reserved: use mids")]),
    "key room:": ({"keys": ["room:a"], "msg": 1}, [("keys[0]", "the prefix 'room:' is reserved: use rooms")]),
    "key probe:": ({"keys": ["probe:a"], "msg": 1}, [("keys[0]", "the prefix 'probe:' is reserved")]),
    "mid a bool": ({"mids": [True], "msg": 1}, [("mids[0]", _MID)]),
    "mid a float": ({"mids": [1.5], "msg": 1}, [("mids[0]", _MID)]),
    "mid null": ({"mids": [None], "msg": 1}, [("mids[0]", _MID)]),
    "mid empty": ({"mids": ["42", ""], "msg": 1}, [("mids[1]", "must not be empty")]),
    "mids an object": ({"mids": {"a": 1}, "msg": 1}, [("mids", "must be a list")]),
    "room a number": ({"rooms": [7], "msg": 1}, [("rooms[0]", "must be a string")]),
    "room long": ({"rooms": ["r" * 252], "msg": 1}, [("rooms[0]", "must be at most 251 bytes, not 252")]),
    "all a number": ({"all": 1, "msg": 1}, [("all", "must be true or false")]),
    "all a string": ({"all": "true", "msg": 1}, [("all", "must be true or false")]),
    "op negative": ({**_OK, "op": -1}, [("op", "must be at least 0")]),
    "op beyond int32": ({**_OK, "op": 2**31}, [("op", "must be at most 2147483647")]),
    "op a bool": ({**_OK, "op": True}, [("op", "must be an integer")]),
    "op a string": ({**_OK, "op": "9"}, [("op", "must be an integer")]),
    "op a float": ({**_OK, "op": 9.0}, [("op", "must be an integer")]),
    "op null": ({**_OK, "op": None}, [("op", "must be an integer")]),
    "ttl_s 0": ({**_OK, "ttl_s": 0}, [("ttl_s", "must be at least 1")]),
    "ttl_s long": ({**_OK, "ttl_s": 86_401}, [("ttl_s", "must be at most 86400")]),
    "ttl_s a string": ({**_OK, "ttl_s": "60"}, [("ttl_s", "must be an integer")]),
    "ttl_s a bool": ({**_OK, "ttl_s": True}, [("ttl_s", "must be an integer")]),
    "priority unknown": ({**_OK, "priority": "urgent"}, [("priority", "must be one of high, normal, bulk")]),
    "priority a list": ({**_OK, "priority": ["high"]}, [("priority", "must be one of high, normal, bulk")]),
    "server without port": ({**_OK, "server": "node"}, [("server", _SERVER)]),
    "server with port 0": ({**_OK, "server": "node:0"}, [("server", _SERVER)]),
    "server with port 65536": ({**_OK, "server": "node:65536"}, [("server", _SERVER)]),
    "server with a path": ({**_OK, "server": "http://node:9500/"}, [("server", _SERVER)]),
    "server with a newline": ({**_OK, "server": "node:9500\n"}, [("server", _SERVER)]),
    "server empty": ({**_OK, "server": ""}, [("server", _SERVER)]),
    "server long": ({**_OK, "server": "n" * 252 + ":9500"}, [("server", _SERVER)]),
    "server a number": ({**_OK, "server": 9500}, [("server", "must be a string")]),
    "msg large": ({**_OK, "msg": "x" * 65_535}, [("msg", "must be at most 65536 bytes as JSON, not 65537")]),
    "msg deep": ({**_OK, "msg": _nested(65)}, [("msg", "must be nested at most 64 levels deep")]),
    "too many keys": ({"keys": ["k"] * 1001, "msg": 1}, [("keys", _TOO_MANY)]),
    "too many in all": ({"keys": ["k"] * 500, "rooms": ["r"] * 501, "msg": 1}, [("rooms", _TOO_MANY)]),
    "ttl_s beyond a week": ({**_OK, "ttl_s": 10**18}, [("ttl_s", "must be at most 86400")]),
    "ttl_s long, durable": ({**_OK, "durable": True, "ttl_s": 604_801}, [("ttl_s", "must be at most 604800")]),
    "ttl_s 0, durable": ({**_OK, "durable": True, "ttl_s": 0}, [("ttl_s", "must be at least 1")]),
    "durable a string": ({**_OK, "durable": "no"}, [("durable", "must be true or false")]),
    "durable null": ({**_OK, "durable": None}, [("durable", "must be true or false")]),
    "durable to a server": ({**_OK, "durable": True, "server": "h:9500"}, [("server", _NO_SERVER)]),
    "durable to no server": ({**_OK, "durable": True, "server": "h"}, [("server", _SERVER)]),
    "trace a number": ({**_OK, "trace": 1}, [("trace", "must be true or false")]),
    "request_id empty": ({**_OK, "request_id": ""}, [("request_id", _REQUEST_ID)]),
    "request_id long": ({**_OK, "request_id": "r" * 129}, [("request_id", _REQUEST_ID)]),
    "request_id with a newline": ({**_OK, "request_id": "r\n"}, [("request_id", _REQUEST_ID)]),
    "request_id a number": ({**_OK, "request_id": 7}, [("request_id", "must be a string")]),
    "delay_s negative": ({**_OK, "delay_s": -1}, [("delay_s", "must be at least 0")]),
    "delay_s long": ({**_OK, "delay_s": 2_592_000.5}, [("delay_s", "must be at most 2592000")]),
    "delay_s a string": ({**_OK, "delay_s": "5"}, [("delay_s", "must be a number")]),
    "delay_s a bool": ({**_OK, "delay_s": True}, [("delay_s", "must be a number")]),
    "delay_s null": ({**_OK, "delay_s": None}, [("delay_s", "must be a number")]),
    "deliver_at without offset": ({**_OK, "deliver_at": "2027-01-01T00:00:00"}, [("deliver_at", _TIME)]),
    "deliver_at a date": ({**_OK, "deliver_at": "2027-01-01"}, [("deliver_at", _TIME)]),
    "deliver_at no date": ({**_OK, "deliver_at": "2027-02-30T00:00:00Z"}, [("deliver_at", _TIME)]),
    "deliver_at without colons": ({**_OK, "deliver_at": "20270101T000000Z"}, [("deliver_at", _TIME)]),
    "deliver_at a number": ({**_OK, "deliver_at": 1_900_000_000}, [("deliver_at", "must be a string")]),
    "deliver_at late": (
        {**_OK, "deliver_at": "9999-12-31T23:59:59Z"},
        [("deliver_at", "must be at most 2592000 seconds from now")],
    ),
    "deliver_at and delay_s": (
        {**_OK, "deliver_at": "2027-01-01T00:00:00Z", "delay_s": 1},
        [("deliver_at", "cannot be given together with delay_s")],
    ),
    "speed 0": ({**_ALL, "speed": 0}, [("speed", "must be at least 1")]),
    "speed long": ({**_ALL, "speed": 1_000_001}, [("speed", "must be at most 1000000")]),
    "speed a string": ({**_ALL, "speed": "9"}, [("speed", "must be an integer")]),
    "speed to keys": ({**_OK, "speed": 9}, [("speed", _NO_SPEED)]),
    "speed to all and a room": ({**_ALL, "rooms": ["r"], "speed": 9}, [("speed", _NO_SPEED)]),
    "speed to not all": ({**_OK, "all": False, "speed": 9}, [("speed", _NO_SPEED)]),
    "speed, durable": ({**_ALL, "durable": True, "speed": 9}, [("speed", _NO_DURABLE_SPEED)]),
    "everything at once": (
        {"keys": ["a", ""], "mids": [None], "op": -1, "durable": True, "server": "h:1", "colour": 1},
        [
            ("keys[1]", "must not be empty"),
            ("mids[0]", _MID),
            ("op", "must be at least 0"),
            ("msg", "is required"),
            ("colour", "is not a known field"),
            ("server", _NO_SERVER),
        ],
    ),
}

# JSON that orjson would not write.
_RAW_FIELDS: dict[str, tuple[bytes, Errors]] = {
    "mid beyond int64": (b'{"mids":[9223372036854775808],"msg":1}', [("mids[0]", _INT64)]),
    "mid below int64": (b'{"mids":[-9223372036854775809],"msg":1}', [("mids[0]", _INT64)]),
    "op huge": (b'{"keys":["a"],"msg":1,"op":%s}' % (b"9" * 40), [("op", "must be at most 2147483647")]),
    "msg integer huge": (
        b'{"keys":["a"],"msg":{"n":18446744073709551616}}',
        [("msg", "cannot be sent as JSON: integer exceeds 64-bit range")],
    ),
}

# name: (body, detail begins with, errors)
_NOT_JSON: dict[str, tuple[bytes, str, Errors]] = {
    "empty": (b"", "The body is not JSON: ", []),
    "blank": (b"  ", "The body is not JSON: ", []),
    "cut off": (b'{"keys":["a"', "The body is not JSON: ", []),
    "text": (b"hello", "The body is not JSON: ", []),
    "trailing comma": (b'{"keys":["a"],}', "The body is not JSON: ", []),
    "two values": (b"{}{}", "The body is not JSON: ", []),
    "NaN": (b'{"keys":["a"],"msg":NaN}', "The body is not JSON: ", []),
    "Infinity": (b'{"keys":["a"],"msg":-Infinity}', "The body is not JSON: ", []),
    "number beyond doubles": (b'{"keys":["a"],"msg":1e999}', "The body is not JSON: ", []),
    "byte order mark": (b"\xef\xbb\xbf{}", "The body is not JSON: ", []),
    "not UTF-8": (b'{"keys":["\xff"],"msg":1}', "The body is not JSON: ", []),
    "UTF-16": ('{"msg":1}'.encode("utf-16-le"), "The body is not JSON: ", []),
    "lone surrogate": (b'{"keys":["\\ud800"],"msg":1}', "The body is not JSON: ", []),
    "lone surrogate in msg": (b'{"keys":["a"],"msg":"\\udfff"}', "The body is not JSON: ", []),
    "raw control character": (b'{"keys":["a\x01"],"msg":1}', "The body is not JSON: ", []),
    "10,000 levels": (b"[" * 10_000 + b"]" * 10_000, "The body is not JSON: ", []),
    "201 levels": (b'{"msg":' + b"[" * 200 + b"1" + b"]" * 200 + b"}", "The body is nested too deeply.", []),
    "1,000 levels": (b'{"msg":' + b"[" * 1000 + b"]" * 1000 + b"}", "The body is nested too deeply.", []),
    "a name twice": (
        b'{"keys":["a"],"keys":["b"],"msg":1}',
        "The body names one member twice.",
        [("keys", "occurs twice in one object")],
    ),
    "a name twice within": (
        b'{"keys":["a"],"msg":{"x":{"y":1,"y":2}}}',
        "The body names one member twice.",
        [("y", "occurs twice in one object")],
    ),
}


def _errors(response: Any) -> Errors:
    return [(error["field"], error["message"]) for error in response.json["errors"]]


@pytest.mark.parametrize("name", _FIELDS)
def test_fields_at_fault_are_all_named_and_nothing_is_enqueued(name: str) -> None:
    web = make_web()
    body, errors = _FIELDS[name]
    response = web.post(body)
    assert (response.status_code, _errors(response)) == (422, errors)
    assert response.content_type == "application/problem+json"
    assert web.kept.messages == []
    assert web.memory.round_trips == 0


@pytest.mark.parametrize("name", _RAW_FIELDS)
def test_integers_are_read_exactly_before_they_are_refused(name: str) -> None:
    web = make_web()
    body, errors = _RAW_FIELDS[name]
    response = web.post(body)
    assert (response.status_code, _errors(response)) == (422, errors)
    assert web.kept.messages == []


@pytest.mark.parametrize("name", _NOT_JSON)
def test_what_is_not_json_is_a_bad_request(name: str) -> None:
    web = make_web()
    body, detail, errors = _NOT_JSON[name]
    response = web.post(body)
    assert (response.status_code, _errors(response)) == (400, errors)
    assert response.json["detail"].startswith(detail)
    assert web.kept.messages == []


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/problem+json",
        "application/json; charset=utf-16",
    ],
)
def test_only_json_in_utf_8_is_read(content_type: str) -> None:
    web = make_web()
    response = web.post(_OK, Content_Type=content_type)
    assert (response.status_code, _errors(response), web.kept.messages) == (415, [], [])


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "gzip, identity"])
def test_compressed_bodies_are_refused(encoding: str) -> None:
    web = make_web()
    response = web.post(_OK, Content_Encoding=encoding)
    assert (response.status_code, _errors(response), web.kept.messages) == (415, [], [])


def test_a_body_over_the_limit_is_refused_and_one_at_the_limit_is_read() -> None:
    web = make_web(max_body_bytes=2048)
    body = orjson.dumps(_OK)
    assert web.post(body + b" " * (2048 - len(body))).status_code == 202
    response = web.post(body + b" " * (2049 - len(body)))
    assert (response.status_code, response.json["detail"]) == (413, "The body must be at most 2048 bytes.")


def test_no_more_than_a_hundred_errors_are_listed() -> None:
    response = make_web().post({**_OK, **{f"x{number}": 1 for number in range(500)}})
    assert len(_errors(response)) == 100


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("PUT", "/v1/pushes", 405, {"OPTIONS", "POST"}),
        ("GET", "/v1/pushes", 405, {"OPTIONS", "POST"}),
        ("HEAD", "/v1/pushes", 405, {"OPTIONS", "POST"}),
        ("POST", "/v1/online", 405, {"GET", "HEAD", "OPTIONS"}),
        ("GET", "/v1/pushes:batch", 405, {"OPTIONS", "POST"}),
        ("POST", "/v1/pushes:none", 404, set()),
        ("POST", "/v1//pushes", 404, set()),
        ("POST", "/v1/pushes/", 404, set()),
        ("GET", "/v1/nothing", 404, set()),
        ("GET", "/v1/%ff%fe", 404, set()),
        ("BREW", "/v1/pushes", 405, {"OPTIONS", "POST"}),
    ],
)
def test_wrong_paths_and_methods_are_problems_too(method: str, path: str, status: int, allow: set[str]) -> None:
    response = make_web().app.test_client().open(path, method=method)
    assert response.status_code == status
    assert response.content_type == "application/problem+json"
    assert set(response.headers.get("Allow", "").replace(" ", "").split(",")) - {""} == allow


def test_options_answers_with_the_methods_and_no_body() -> None:
    response = make_web().app.test_client().options("/v1/pushes")
    assert (response.status_code, response.data) == (200, b"")
    assert set(response.headers["Allow"].split(", ")) == {"OPTIONS", "POST"}
