"""With its secrets set, a fleet serves those who show them and nobody else; without them a process stays at home."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
import requests
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.integration.conftest import API_KEY, GRPC_TOKEN, JWT_SECRET, Connect
from tests.integration.im_wire import JobNode, message
from tests.integration.sending import CALL_S, get
from tests.parts import journal
from tests.parts.clients import POLLING, WEBSOCKET, Client, Refused
from tests.parts.fleet import Fleet
from tests.parts.process import free_port

pytestmark = pytest.mark.services

Name = Callable[[str], str]
_ROOT = Path(__file__).parents[2]
_HOUR_S = 3600
_ANYWHERE = "0.0.0.0"  # noqa: S104


def _token(secret: str = JWT_SECRET, **claims: Any) -> str:
    return jwt.encode({"exp": int(time.time()) + _HOUR_S, **claims}, secret, algorithm="HS256")


@pytest.mark.parametrize("transports", [WEBSOCKET, POLLING], ids=["websocket", "polling"])
@pytest.mark.parametrize("header", [{"Authorization": f"Bearer {API_KEY}"}, {"X-API-Key": API_KEY}], ids=str)
def test_a_push_with_the_api_key_reaches_a_session_with_a_token(
    locked_fleet: Fleet, connect: Connect, name: Name, transports: tuple[str, ...], header: dict[str, str]
) -> None:
    token = _token(key=name("alice"), mid=name("42"), rooms=["live://*"])
    alice = connect(locked_fleet.nodes[0], transports=transports, token=token, rooms=["live://1"])
    for targets in ({"keys": [name("alice")]}, {"mids": [name("42")]}, {"rooms": ["live://1"]}, {"all": True}):
        answer = locked_fleet.push({"msg": targets, **targets}, **header)
        assert answer.status_code == 202
        assert alice.next_msg() == targets
    line = journal.until_line(locked_fleet.worker, event="dispatched", push_id=answer.json()["push_id"])
    assert (line["delivered"], line["sessions"]) == (1, 1), "the worker shows the nodes their token"


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"X-API-Key": API_KEY[:-1]}], ids=str)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/pushes"),
        ("DELETE", "/v1/keys/k/sessions"),
        ("GET", "/v1/online"),
        ("GET", "/v1/nodes"),
        ("POST", "/im/push/all"),
        ("GET", "/im/nodes/instances"),
    ],
)
def test_without_the_api_key_the_answer_is_401(
    locked_fleet: Fleet, header: dict[str, str], method: str, path: str
) -> None:
    body = {"json": {"all": True, "msg": 1}} if method == "POST" else {}
    answer = requests.request(method, locked_fleet.url + path, headers=header, timeout=CALL_S, **body)  # type: ignore[arg-type]
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="cloudpush"'
    if path.startswith("/v1/"):
        assert answer.json()["type"] == "urn:cloudpush:unauthenticated"
    else:
        assert answer.json()["code"] == 401


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/health", "/health/ready", "/metrics"])
def test_pages_and_health_need_no_api_key(locked_fleet: Fleet, path: str) -> None:
    assert requests.get(locked_fleet.url + path, timeout=CALL_S).status_code == 200


@pytest.mark.parametrize(
    ("auth", "code", "text"),
    [
        (None, "token_required", "token: this node wants a token"),
        ({"key": "k"}, "token_required", "token: this node wants a token"),
        ({"token": "nonsense"}, "invalid_token", "token: Not enough segments"),
        (
            {"token": _token("another-secret-of-32-characters!")},
            "invalid_token",
            "token: Signature verification failed",
        ),
        ({"token": jwt.encode({"key": "k"}, "", algorithm="none")}, "invalid_token", "token: The specified alg"),
        ({"token": _token(exp=1)}, "token_expired", "token: has expired"),
        ({"token": _token(key="bob"), "key": "alice"}, "forbidden_key", "key: the token does not grant this key"),
        ({"token": _token(), "mid": "42"}, "forbidden_mid", "mid: the token does not grant this member"),
        (
            {"token": _token(rooms=["a"]), "rooms": ["b"]},
            "forbidden_room",
            "rooms[0]: the token does not name room 'b'",
        ),
        ({"token": _token(key=7)}, "invalid_token", "token: claim key must be a string"),
    ],
)
def test_without_a_token_that_grants_it_the_connect_is_refused(
    locked_fleet: Fleet, auth: Any, code: str, text: str
) -> None:
    with pytest.raises(Refused) as refused:
        Client(locked_fleet.nodes[0], auth).open()
    assert refused.value.data["code"] == refused.value.data["data"]["code"] == code
    assert refused.value.data["message"].startswith(text)


def test_a_room_that_the_token_does_not_name_cannot_be_joined(
    locked_fleet: Fleet, connect: Connect, name: Name
) -> None:
    session = connect(locked_fleet.nodes[0], token=_token(rooms=["lobby", "live://*"]))
    assert session.ask("join", "lobby")["rooms"] == ["lobby"]
    assert session.ask("join", "live://9")["rooms"] == ["lobby", "live://9"]
    text = "room: the token does not name room 'lobby2'"
    assert session.ask("join", "lobby2") == {"error": {"code": "forbidden_room", "message": text}}


@pytest.mark.parametrize("token", [None, "Bearer wrong-token-of-32-characters", GRPC_TOKEN, "Bearer "])
def test_grpc_without_the_token_is_unauthenticated(locked_fleet: Fleet, token: str | None) -> None:
    with JobNode(locked_fleet.nodes[0].grpc, token) as job, pytest.raises(grpc.RpcError) as refused:
        job.push(["k"], b"1")
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_grpc_with_the_token_is_served_and_health_needs_none(locked_fleet: Fleet) -> None:
    address = locked_fleet.nodes[0].grpc
    with JobNode(address, f"Bearer {GRPC_TOKEN}") as job:
        job.call("Ping", message("Empty"), "Empty")
    with JobNode(address) as stranger:
        asked = health_pb2.HealthCheckRequest(service="im.cloud.Cloud")
        answer = health_pb2_grpc.HealthStub(stranger.channel).Check(asked, timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example", "http://[bad"])
def test_a_page_of_another_origin_can_neither_connect_nor_push(fleet: Fleet, origin: str) -> None:
    headers = {"Origin": origin}
    handshake = f"{fleet.nodes[0].url}/socket.io/?EIO=4&transport=polling"
    answer = requests.get(handshake, headers=headers, timeout=CALL_S)
    assert (answer.status_code, answer.json()) == (403, {"code": 4, "message": "Forbidden"})
    assert "Access-Control-Allow-Origin" not in answer.headers

    answer = fleet.push({"all": True, "msg": 1}, **headers)
    assert answer.status_code == 403
    assert answer.json()["type"] == "urn:cloudpush:cross-origin"
    answer = requests.delete(f"{fleet.url}/v1/keys/k/sessions", headers=headers, timeout=CALL_S)
    assert answer.status_code == 403
    answer = requests.post(f"{fleet.url}/im/push/all", data={"msg": "x"}, headers=headers, timeout=CALL_S)
    assert answer.status_code == 403


def test_the_page_of_our_own_origin_can_connect_and_push(fleet: Fleet) -> None:
    headers = {"Origin": fleet.url}
    handshake = f"{fleet.nodes[0].url}/socket.io/?EIO=4&transport=polling"
    answer = requests.get(handshake, headers=headers, timeout=CALL_S)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == fleet.url
    assert fleet.push({"keys": ["nobody"], "msg": 1}, **headers).status_code == 202
    assert get(fleet, "/v1/online", **headers)["nodes"] == 2


@pytest.mark.parametrize(
    ("argv", "settings", "names"),
    [
        (
            ["-m", "app.wsgi"],
            {"CLOUDPUSH_WEB_HOST": _ANYWHERE},
            ["CLOUDPUSH_WEB_HOST is 0.0.0.0", "Set CLOUDPUSH_API_KEY"],
        ),
        (
            ["-m", "cloud_node.server"],
            {"CLOUDPUSH_NODE_HOST": _ANYWHERE},
            ["to listen on 0.0.0.0, set CLOUDPUSH_CLIENT_JWT_SECRET and CLOUDPUSH_GRPC_TOKEN"],
        ),
        (
            ["-m", "cloud_node.server"],
            {"CLOUDPUSH_NODE_HOST": "::", "CLOUDPUSH_GRPC_TOKEN": GRPC_TOKEN},
            ["to listen on ::, set CLOUDPUSH_CLIENT_JWT_SECRET"],
        ),
    ],
    ids=["web on 0.0.0.0", "node on 0.0.0.0", "node with half of its secrets"],
)
def test_a_process_without_secrets_refuses_to_listen_beyond_loopback(
    argv: list[str], settings: dict[str, str], names: list[str]
) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("CLOUDPUSH_")}
    env |= {"PYTHONPATH": str(_ROOT), "CLOUDPUSH_WEB_PORT": str(free_port()), **settings}
    done = subprocess.run(
        [sys.executable, *argv], env=env, cwd=_ROOT, capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 2, done.stderr
    for name in names:
        assert name in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("argv", "setting"),
    [
        (["-m", "app.wsgi"], "CLOUDPUSH_API_KEY"),
        (["-m", "cloud_node.server"], "CLOUDPUSH_CLIENT_JWT_SECRET"),
        (["-m", "celery", "-A", "tasks", "worker"], "CLOUDPUSH_GRPC_TOKEN"),
    ],
    ids=["web", "node", "worker"],
)
def test_a_secret_that_is_too_short_is_refused_but_not_shown(argv: list[str], setting: str) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("CLOUDPUSH_")}
    env |= {"PYTHONPATH": str(_ROOT), setting: "hunter2"}
    done = subprocess.run(
        [sys.executable, *argv], env=env, cwd=_ROOT, capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert setting.removeprefix("CLOUDPUSH_").lower() in said
    assert "at least" in said
    assert "hunter2" not in said
