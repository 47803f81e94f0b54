"""The opening handshake: what is a plain upgrade, what is left to an HTTP server, and what that server refuses."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_node.wire import handshake
from tests.fuzz.wire_inputs import environ_of

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
TARGET = "/socket.io/?EIO=4&transport=websocket"
PLAIN = {
    "Host": "node:9000",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Origin": "http://localhost:8000",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}


def head(line: str = f"GET {TARGET} HTTP/1.1", extra: str = "", **changed: str | None) -> bytes:
    """Write a request; *changed* names headers with underscores, None leaves one out."""
    headers: dict[str, str | None] = {**PLAIN, **{name.replace("_", "-"): value for name, value in changed.items()}}
    lines = [line, *(f"{name}: {value}" for name, value in headers.items() if value is not None)]
    return ("\r\n".join(lines) + "\r\n" + extra + "\r\n").encode("latin-1")


def test_a_plain_upgrade_is_read() -> None:
    request = head()
    upgrade = handshake.parse(request)
    assert upgrade is not None
    assert upgrade[:5] == ("/socket.io/", {"EIO": "4", "transport": "websocket"}, PLAIN["Origin"], KEY, "node:9000")
    assert upgrade.headers == {name.lower(): value for name, value in PLAIN.items()}
    assert upgrade.size == len(request)


def test_what_follows_the_head_is_not_of_it() -> None:
    upgrade = handshake.parse(head() + b"\x81\x80abcd\r\n\r\n")
    assert upgrade is not None
    assert upgrade.size == len(head())


def test_every_beginning_of_a_request_is_left_alone() -> None:
    request = head()
    assert all(handshake.parse(request[:end]) is None for end in range(len(request)))


@pytest.mark.parametrize(
    "usual",
    [
        head(Connection="keep-alive, Upgrade"),
        head(Connection="upgrade"),
        head(Upgrade="WebSocket"),
        head(Origin=None),
        head(line="GET /chat HTTP/1.1"),
        head(extra="Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"),
        head(extra="Cookie: a=b; c=d\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nX-Forwarded-For: 10.0.0.1\r\n"),
        head(extra="Pragma:no-cache\r\nEmpty:\r\n"),
        head().replace(b"Host:", b"HOST:"),
    ],
)
def test_what_browsers_and_proxies_add_is_usual(usual: bytes) -> None:
    upgrade = handshake.parse(usual)
    assert upgrade is not None
    assert handshake.flaw(environ_of(upgrade)) is None


def _duplicates() -> dict[str, bytes]:
    return {f"two {name}": head(extra=f"{name.upper()}: {value}\r\n") for name, value in PLAIN.items()}


UNUSUAL = {
    "another method": head(line=f"POST {TARGET} HTTP/1.1"),
    "lower case": head(line=f"get {TARGET} HTTP/1.1"),
    "HTTP/1.0": head(line=f"GET {TARGET} HTTP/1.0"),
    "HTTP/2.0": head(line=f"GET {TARGET} HTTP/2.0"),
    "no version": head(line=f"GET {TARGET}"),
    "two spaces": head(line=f"GET  {TARGET} HTTP/1.1"),
    "a space more": head(line=f"GET {TARGET} HTTP/1.1 "),
    "absolute target": head(line=f"GET http://node:9000{TARGET} HTTP/1.1"),
    "two slashes": head(line=f"GET /{TARGET} HTTP/1.1"),
    "fragment": head(line=f"GET {TARGET}#a HTTP/1.1"),
    "backslash": head(line="GET /\\evil HTTP/1.1"),
    "percent": head(line=f"GET {TARGET}&a=%41 HTTP/1.1"),
    "plus": head(line=f"GET {TARGET}&a=b+c HTTP/1.1"),
    "said twice": head(line=f"GET {TARGET}&EIO=3 HTTP/1.1"),
    "empty value": head(line=f"GET {TARGET}&a= HTTP/1.1"),
    "no value": head(line=f"GET {TARGET}&a HTTP/1.1"),
    "no name": head(line=f"GET {TARGET}&=a HTTP/1.1"),
    "empty query": head(line="GET /socket.io/? HTTP/1.1"),
    "leading line": b"\r\n" + head(),
    "no host": head(Host=None),
    "empty host": head(Host=""),
    "host of two": head(Host="a, b"),
    "host with a path": head(Host="node/evil"),
    "host with a user": head(Host="user@node"),
    "origin of two": head(Origin="http://a, http://b"),
    "no upgrade": head(Upgrade=None),
    "another upgrade": head(Upgrade="h2c"),
    "two upgrades": head(Upgrade="websocket, h2c"),
    "no connection": head(Connection=None),
    "connection closes": head(Connection="close"),
    "connection names another header": head(Connection="Upgrade, Origin"),
    "no websocket version": head(Sec_WebSocket_Version=None),
    "old version": head(Sec_WebSocket_Version="8"),
    "two versions": head(Sec_WebSocket_Version="13, 8"),
    "no key": head(Sec_WebSocket_Key=None),
    "key of 15 bytes": head(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25j"),
    "key of 17 bytes": head(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZWE="),
    "key with a strange character": head(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZ!=="),
    "key without padding": head(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ"),
    "key with a space in it": head(Sec_WebSocket_Key="dGhlIHNhbXBs ZSBub25jZQ=="),
    "key with more behind it": head(Sec_WebSocket_Key=KEY + "AAAA"),
    "key with junk behind it": head(Sec_WebSocket_Key=KEY + "!"),
    "length of no body": head(extra="Content-Length: 0\r\n"),
    "length of a body": head(extra="Content-Length: 5\r\n"),
    "chunked": head(extra="Transfer-Encoding: chunked\r\n"),
    "expectation": head(extra="Expect: 100-continue\r\n"),
    "folded header": head(extra="X-Long: a\r\n b\r\n"),
    "tab": head(extra="X-Tab: a\tb\r\n"),
    "bare LF": head(extra="X-Bare: a\nOrigin: b\r\n"),
    "bare CR": head(extra="X-Bare: a\rOrigin: b\r\n"),
    "NUL": head(extra="X-Nul: a\0\r\n"),
    "not ASCII": head(extra="X-Name: é\r\n"),
    "no colon": head(extra="X-Name\r\n"),
    "no header name": head(extra=": a\r\n"),
    "space before the colon": head(extra="X-Name : a\r\n"),
    "space in a name": head(extra="X Name: a\r\n"),
    "underscore in a name": head(extra="X_Name: a\r\n"),
    "any header twice": head(extra="X-Name: a\r\nx-name: a\r\n"),
    "long head": head(extra=f"Cookie: {'a' * handshake.MAX_HEAD}\r\n"),
    "LF for CRLF": head().replace(b"\r\n", b"\n"),
    "nothing": b"",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    **_duplicates(),
}


@pytest.mark.parametrize("request_head", UNUSUAL.values(), ids=UNUSUAL.keys())
def test_what_is_unusual_is_left_to_an_http_server(request_head: bytes) -> None:
    assert handshake.parse(request_head) is None


@given(st.integers(0, len(head())), st.integers(0, 3), st.binary(max_size=4))
def test_any_edit_gives_an_upgrade_without_flaw_or_none(at: int, gone: int, instead: bytes) -> None:
    request = head()[:at] + instead + head()[at + gone :]
    upgrade = handshake.parse(request)
    if upgrade is not None:
        assert request[: upgrade.size].endswith(b"\r\n\r\n")
        assert handshake.flaw(environ_of(upgrade)) is None


# RFC 6455 §1.3


def test_the_proof_of_the_rfc() -> None:
    assert handshake.accept(KEY) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_the_answer_takes_neither_extension_nor_subprotocol() -> None:
    assert handshake.response(KEY) == (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )


# The slow path


def environ(**changed: str) -> dict[str, Any]:
    """Give a WSGI environ of a plain upgrade; an empty value leaves a variable out."""
    whole = {
        "REQUEST_METHOD": "GET",
        "SERVER_PROTOCOL": "HTTP/1.0",  # eventlet says so, whatever the request line said
        **{"HTTP_" + name.upper().replace("-", "_"): value for name, value in PLAIN.items()},
        **changed,
    }
    return {name: value for name, value in whole.items() if value}


@pytest.mark.parametrize(
    "fine",
    [
        {},
        {"HTTP_CONNECTION": "close, UPGRADE"},
        {"HTTP_UPGRADE": "h2c, WebSocket"},
        {"HTTP_ORIGIN": ""},
        {"CONTENT_LENGTH": "0"},
        {"SERVER_PROTOCOL": "HTTP/1.1"},
    ],
)
def test_an_upgrade_that_is_right_has_no_flaw(fine: dict[str, str]) -> None:
    assert handshake.flaw(environ(**fine)) is None


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"REQUEST_METHOD": "POST"}, "A websocket begins with a GET"),
        ({"HTTP_UPGRADE": ""}, "No Upgrade: websocket"),
        ({"HTTP_UPGRADE": "h2c"}, "No Upgrade: websocket"),
        ({"HTTP_CONNECTION": "keep-alive"}, "No Connection: Upgrade"),
        ({"HTTP_SEC_WEBSOCKET_VERSION": ""}, "No Sec-WebSocket-Version"),
        ({"HTTP_SEC_WEBSOCKET_KEY": ""}, "Bad Sec-WebSocket-Key"),
        ({"HTTP_SEC_WEBSOCKET_KEY": "short"}, "Bad Sec-WebSocket-Key"),
        ({"HTTP_SEC_WEBSOCKET_KEY": f"{KEY},{KEY}"}, "Bad Sec-WebSocket-Key"),
        ({"HTTP_SEC_WEBSOCKET_KEY": "é" * 24}, "Bad Sec-WebSocket-Key"),
        ({"HTTP_HOST": ""}, "Bad Host"),
        ({"HTTP_HOST": "a,b"}, "Bad Host"),
        ({"HTTP_ORIGIN": "http://a,http://b"}, "Bad Origin"),
        ({"CONTENT_LENGTH": "5"}, "An upgrade has no body"),
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, "An upgrade has no body"),
    ],
)
def test_a_flaw_is_answered_with_400_and_says_why_in_json(wrong: dict[str, str], why: str) -> None:
    answer = handshake.flaw(environ(**wrong))
    assert answer is not None
    status, headers, body = answer
    assert (status, dict(headers), json.loads(body)) == ("400 Bad Request", {"Content-Type": "text/plain"}, why)


@pytest.mark.parametrize("version", ["8", "12", "14", "013", "13, 8", "x"])
def test_another_version_is_answered_with_426_and_the_one_that_is_spoken(version: str) -> None:
    answer = handshake.flaw(environ(HTTP_SEC_WEBSOCKET_VERSION=version))
    assert answer is not None
    assert answer[0] == "426 Upgrade Required"
    assert {("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")} <= set(answer[1])
    assert json.loads(answer[2]) == "Unsupported websocket version"
