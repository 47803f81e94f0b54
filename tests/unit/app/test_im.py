"""im-cloud's and goim's callers push as they always did."""

from typing import Any

import pytest

from tests.parts.web import Web, make_web


def _form(web: Web, path: str, data: Any) -> Any:
    return web.call("POST", path, data=data)


def test_a_room_may_be_a_number_in_json() -> None:
    web = make_web()
    assert web.post({"type": "live", "room": 1000, "msg": 1}, "/im/push/room").status_code == 200
    assert web.kept.payloads[0]["keys"] == ["room:live://1000"]
    assert web.post({"room": True, "msg": 1}, "/im/push/room").status_code == 422


@pytest.mark.parametrize(
    ("path", "fields", "keys"),
    [
        ("/im/push/keys", {"keys": "a,b"}, ["a", "b"]),
        ("/im/push/keys", {"keys": ["a", "b,c"]}, ["a", "b,c"]),
        ("/im/push/mids", {"mids": "1,2"}, ["mid:1", "mid:2"]),
        ("/im/push/room", {"type": "live", "room": "1000"}, ["room:live://1000"]),
        ("/im/push/room", {"type": "live://", "room": "1000"}, ["room:live://1000"]),
        ("/im/push/room", {"room": "live://1000"}, ["room:live://1000"]),
        ("/im/push/all", {}, ["all"]),
    ],
)
@pytest.mark.parametrize("way", ["form", "query"])
def test_forms_and_queries_become_the_same_push(path: str, fields: dict[str, Any], keys: list[str], way: str) -> None:
    web = make_web()
    sent = {**fields, "operation": "1000", "msg": '{"a":1}', "server": "h:9500"}
    response = web.call("POST", path, **{"data" if way == "form" else "query_string": sent})
    (payload,) = web.kept.payloads
    assert (response.status_code, response.json["code"], response.json["msg"]) == (200, 0, "ok")
    assert response.json["data"] == {"push_id": payload["push_id"], "status": "accepted"}
    assert (payload["keys"], payload["op"], payload["server"]) == (keys, 1000, "h:9500")
    assert payload["body"] == '"{\\"a\\":1}"'


@pytest.mark.parametrize(("speed", "travels"), [("1024", {"speed": 1024}), ("0", {}), ("", {})])
def test_a_broadcast_may_have_goims_speed_and_0_is_none(speed: str, travels: dict[str, int]) -> None:
    web = make_web()
    assert _form(web, "/im/push/all", {"msg": "x", "speed": speed}).status_code == 200
    (payload,) = web.kept.payloads
    assert {name: value for name, value in payload.items() if name == "speed"} == travels


def test_json_keeps_the_message_as_json_and_operation_is_9_if_absent() -> None:
    web = make_web()
    assert web.post({"mids": [1, "2"], "msg": {"a": 1}}, "/im/push/mids").status_code == 200
    (payload,) = web.kept.payloads
    assert (payload["keys"], payload["op"], payload["body"]) == (["mid:1", "mid:2"], 9, '{"a":1}')


@pytest.mark.parametrize(
    ("path", "fields", "errors"),
    [
        ("/im/push/keys", {"msg": "x"}, [("keys", "is required")]),
        ("/im/push/mids", {"msg": "x"}, [("mids", "is required")]),
        ("/im/push/room", {"msg": "x"}, [("room", "is required")]),
        ("/im/push/room", {"msg": "x", "type": "live"}, [("room", "is required")]),
        ("/im/push/all", {}, [("msg", "is required")]),
        ("/im/push/all", {"msg": "x", "speed": "fast"}, [("speed", "must be an integer")]),
        ("/im/push/all", {"msg": "x", "speed": "-1"}, [("speed", "must be at least 1")]),
        ("/im/push/keys", {"msg": "x", "keys": "a", "speed": "9"}, [("speed", "is not a known field")]),
        ("/im/push/all", {"msg": "x", "operation": "nine"}, [("operation", "must be an integer")]),
        ("/im/push/all", {"msg": "x", "operation": "-1"}, [("operation", "must be at least 0")]),
        ("/im/push/all", {"msg": "x", "operation": ""}, [("operation", "must be an integer")]),
        ("/im/push/all", {"msg": "x", "operation": "9" * 5000}, [("operation", "must be an integer")]),
        ("/im/push/keys", {"msg": "x", "keys": "a,,b"}, [("keys[1]", "must not be empty")]),
        ("/im/push/all", {"msg": "x", "colour": "1"}, [("colour", "is not a known field")]),
        ("/im/push/all", {"msg": ["x", "y"]}, [("msg", "is given more than once")]),
        ("/im/push/room", {"msg": "x", "room": "r" * 300}, [("room", "must be at most 251 bytes, not 300")]),
    ],
)
def test_errors_name_the_fields_as_these_callers_know_them(
    path: str, fields: Any, errors: list[tuple[str, str]]
) -> None:
    web = make_web()
    response = _form(web, path, fields)
    named = [(error["field"], error["message"]) for error in response.json["data"]]
    assert (response.status_code, response.json["code"], named) == (422, 422, errors)
    assert web.kept.messages == []


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"x", "text/plain", 415),
        (b"<xml/>", "application/xml", 415),
        (b"x", "", 415),
        (b"msg=%FF", "application/x-www-form-urlencoded", 400),
        (b"msg=\xff", "application/x-www-form-urlencoded", 400),
        (b"&".join(b"a%d=1" % number for number in range(2001)), "application/x-www-form-urlencoded", 400),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 422),
        (b"m" * 3000, "application/x-www-form-urlencoded", 413),
    ],
)
def test_bodies_that_cannot_be_read_are_refused_in_the_envelope(body: bytes, content_type: str, status: int) -> None:
    web = make_web(max_body_bytes=2048 if status == 413 else 1_048_576)
    response = web.post(body, "/im/push/all", Content_Type=content_type)
    assert (response.status_code, response.json["code"]) == (status, status)
    assert response.content_type == "application/json"
    assert web.kept.messages == []


@pytest.mark.parametrize("path", ["/im/push/keys?keys=a&msg=%ff%fe", "/v1/online/keys?key=%ff"])
def test_a_query_that_is_no_utf_8_is_400_and_not_read_as_something_else(path: str) -> None:
    web = make_web()
    method = "GET" if "online" in path else "POST"
    assert web.call(method, path).status_code == 400
    assert web.kept.messages == []


def test_a_room_without_a_name_is_no_room() -> None:
    web = make_web()
    response = web.call("POST", "/im/push/room", query_string={"type": "live", "room": "", "msg": "1"})
    assert (response.status_code, response.json["data"]) == (422, [{"field": "room", "message": "is required"}])
    assert web.kept.messages == []


def test_a_broker_that_is_away_is_503_in_the_envelope() -> None:
    web = make_web()
    web.kept.down = "the broker cannot be reached"
    response = web.post({"msg": 1}, "/im/push/all")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert response.json == {"code": 503, "msg": "the broker cannot be reached", "data": None}


def test_wrong_paths_and_methods_wear_the_envelope_too() -> None:
    web = make_web()
    assert web.get("/im/nothing").json["code"] == 404
    assert web.get("/im/push/all").json["code"] == 405


def test_health_tells_what_is_down_in_the_envelope() -> None:
    web = make_web()
    assert web.get("/health").json == {"code": 0, "msg": "ok", "data": {"status": "ok", "broker": "up", "store": "up"}}
    web.store.down = True
    response = web.get("/health")
    assert (response.status_code, response.headers["Retry-After"], response.json["code"]) == (503, "1", 503)
    assert response.json["data"] == {"status": "unavailable", "broker": "up", "store": "down"}
