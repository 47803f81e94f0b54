"""Engine.IO requests that are none are answered with 4xx, at once, and hold nothing back."""

import json
import socket

import pytest
import requests

from tests.integration.sending import get, push
from tests.integration.test_bad_connects import _the_others_go_on, node, witness
from tests.parts.fleet import Fleet, Node
from tests.parts.process import until

pytestmark = pytest.mark.services
__all__ = ["_the_others_go_on", "node", "witness"]

_WAIT_S = 3.0
_POLL = "EIO=4&transport=polling"


def _url(node: Node, query: str) -> str:
    return f"{node.url}/socket.io/?{query}"


@pytest.mark.parametrize(
    ("method", "query", "code", "says"),
    [
        ("GET", "", 0, "Transport unknown"),
        ("GET", "transport=polling", 5, "Unsupported protocol version"),
        ("GET", "EIO=3&transport=polling", 5, "Unsupported protocol version"),
        ("GET", "EIO=4&transport=pigeon", 0, "Transport unknown"),
        ("GET", "EIO=4&transport=websocket", 3, "Bad request"),
        ("GET", f"{_POLL}&sid=none", 1, "Session ID unknown"),
        ("POST", f"{_POLL}&sid=none", 1, "Session ID unknown"),
        ("POST", _POLL, 2, "Bad handshake method"),
        ("PUT", _POLL, 2, "Bad handshake method"),
        ("DELETE", _POLL, 2, "Bad handshake method"),
    ],
)
def test_a_bad_request_is_answered_with_what_is_wrong(
    node: Node, method: str, query: str, code: int, says: str
) -> None:
    answer = requests.request(method, _url(node, query), data=b"40", timeout=_WAIT_S)
    assert (answer.status_code, answer.json()) == (400, {"code": code, "message": says})


def test_another_path_is_answered_with_the_paths_that_there_are(node: Node) -> None:
    answer = requests.get(f"{node.url}/nothing", timeout=_WAIT_S)
    assert answer.status_code == 404
    assert answer.json()["pages"] == ["/socket.io/", "/health/live", "/health/ready", "/metrics"]


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", None),  # TLS: answered with a page, as HTTP/0.9
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(300)) + b"\r\n", 431),
        (
            b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\n\r\n",
            400,
        ),
        (
            b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n",
            400,
        ),
        (
            b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 99\r\n\r\n",
            426,
        ),
    ],
    ids=["length -1", "length many", "TLS", "long path", "many headers", "no version", "no key", "version 99"],
)
def test_a_bad_http_request_is_answered_by_status(node: Node, request_head: bytes, status: int | None) -> None:
    with socket.create_connection(("127.0.0.1", node.socketio_port), _WAIT_S) as raw:
        raw.sendall(request_head)
        first = raw.recv(4096).split(b"\r\n")[0]
    if status is None:
        assert b"400" in first or b"<!DOCTYPE" in first
    else:
        assert first.split()[1] == str(status).encode()


def _polling_session(node: Node) -> tuple[str, str]:
    """Open a session by hand; gives its URL and its key."""
    opened = requests.get(_url(node, _POLL), timeout=_WAIT_S)
    url = _url(node, f"{_POLL}&sid={json.loads(opened.text[1:])['sid']}")
    assert requests.post(url, data=b"40{}", timeout=_WAIT_S).text == "ok"
    came = ""
    while '"ready"' not in came:
        came += requests.get(url, timeout=_WAIT_S).text
    return url, json.loads(came.split('42["ready",')[1].split("]")[0])["key"]


@pytest.mark.parametrize(
    "body",
    [
        b"xyz",
        b"\x1e".join([b'42["leave","x"]'] * 1001),
        b'42["\xff"]',
        b"d=",
        b"9",
        b"4" + b"x" * (129 * 1024),
        b"42nope",
        b'42["disconnect"]',
        b"bAAAA",
    ],
    ids=["junk", "1001 packets", "not UTF-8", "JSONP", "unknown", "over 128 KiB", "not JSON", "reserved", "base64"],
)
def test_a_bad_post_ends_the_polling_session_at_once(fleet: Fleet, node: Node, body: bytes) -> None:
    url, key = _polling_session(node)
    answer = requests.post(url, data=body, timeout=_WAIT_S)
    assert answer.status_code in (200, 400, 413)
    after = requests.post(url, data=b'42["leave","x"]', timeout=_WAIT_S)
    assert after.status_code == 400
    assert after.json()["message"] == "Session ID unknown"
    push(fleet, keys=[key])
    gone = {"keys": {key: 0}}  # the node writes it a moment later
    until(lambda: get(fleet, f"/v1/online/keys?key={key}") == gone, _WAIT_S, "the session to be gone everywhere")


def test_a_polling_session_that_was_ended_is_told_so_by_its_next_request(fleet: Fleet, node: Node) -> None:
    url, key = _polling_session(node)
    requests.delete(f"{fleet.url}/v1/keys/{key}/sessions", timeout=_WAIT_S)
    assert requests.get(url, timeout=_WAIT_S).text == "41"
