"""A message arrives as it was sent: any JSON value, to the last bit, up to its limit."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.integration.conftest import Connect
from tests.integration.sending import CALL_S, push
from tests.parts.clients import POLLING, WEBSOCKET
from tests.parts.fleet import Fleet

pytestmark = pytest.mark.services

Name = Callable[[str], str]
_LIMIT = 65_536

_BODIES: dict[str, Any] = {
    "null": None,
    "false": False,
    "zero": 0,
    "an empty string": "",
    "an empty object": {},
    "an empty list": [],
    "Unicode": "Grüße 你好 🎉 \u200f\u05e2\u05d1\u202e e\u0301 \U0001f468\u200d\U0001f469",
    "line separators": "a\u2028b\u2029c\u0085d",
    "control characters": "\x00\x01\x1e\x1f\x7f\r\n\t",
    "a noncharacter": "\uffff\ufeff\ufdd0",
    "the largest integers": [2**63 - 1, -(2**63), 2**64 - 1, 2**53 + 1],
    "numbers": [0.1, -0.0, 1e-300, 1.7976931348623157e308, 5e-324],
    "names": {"": 1, "\u2028": 2, '"\\/': 3, "__proto__": 4, "🎉": 5},
    "what looks like our own": {"op": 1, "push_id": "x", "_placeholder": True, "num": 0},
    "what looks like a packet": '42["push",{}]\x1e451-',
    "markup": "</script><img src=x onerror=alert(1)>",
    "64 levels": json.loads("[" * 64 + "0" + "]" * 64),
    "64 KiB": "x" * (_LIMIT - 2),
    "64 KiB of Chinese": "字" * ((_LIMIT - 2) // 3),
}


@pytest.mark.parametrize("transports", [WEBSOCKET, POLLING], ids=["websocket", "polling"])
def test_every_message_arrives_unchanged(
    fleet: Fleet, connect: Connect, name: Name, transports: tuple[str, ...]
) -> None:
    session = connect(fleet.nodes[0], transports=transports, key=name("k"))
    changed = []
    for what, body in _BODIES.items():
        push(fleet, body, keys=[name("k")])
        got = session.next_msg()
        if json.dumps(got, sort_keys=True) != json.dumps(body, sort_keys=True):
            changed.append(what)
    assert changed == []


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("x" * (_LIMIT - 1), "must be at most 65536 bytes as JSON, not 65537"),
        (json.loads("[" * 65 + "0" + "]" * 65), "must be nested at most 64 levels deep"),
        (2**64, "cannot be sent as JSON: integer exceeds 64-bit range"),
    ],
    ids=["64 KiB + 1", "65 levels", "65 bits"],
)
def test_a_message_that_would_not_arrive_unchanged_is_refused(fleet: Fleet, body: Any, problem: str) -> None:
    answer = fleet.push({"keys": ["anyone"], "msg": body})
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"field": "msg", "message": problem}]


@pytest.mark.parametrize(
    "raw", [b'{"keys":["a"],"msg":"\xff"}', b'{"keys":["a"],"msg":"\\ud800"}', b'{"keys":["a"],"msg":NaN}', b"{"]
)
def test_what_is_not_json_is_refused(fleet: Fleet, raw: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = requests.post(f"{fleet.url}/v1/pushes", data=raw, headers=headers, timeout=CALL_S)
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
