"""Who may call what."""

import pytest

from app.settings import WebSettings
from app.wsgi import bind_flaw
from tests.parts.web import Web, make_web

_KEY = "correct-horse-battery"
_PUSH = {"keys": ["alice"], "msg": 1}


@pytest.fixture
def guarded() -> Web:
    return make_web(api_key=_KEY)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": _KEY},
        {"Authorization": f"Basic {_KEY}"},
        {"X_API_Key": _KEY[:-1]},
        {"X_API_Key": "ключ"},
        {"Authorization": "Bearer wrong", "X_API_Key": _KEY},
    ],
)
def test_without_the_api_key_nothing_is_accepted(guarded: Web, headers: dict[str, str]) -> None:
    response = guarded.post(_PUSH, **headers)
    assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, 'Bearer realm="cloudpush"')
    assert response.content_type == "application/problem+json"
    assert guarded.kept.messages == []


@pytest.mark.parametrize(
    "headers", [{"Authorization": f"Bearer {_KEY}"}, {"Authorization": f"bearer {_KEY}"}, {"X_API_Key": _KEY}]
)
def test_the_api_key_opens_in_both_forms(guarded: Web, headers: dict[str, str]) -> None:
    assert guarded.post(_PUSH, **headers).status_code == 202


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/metrics", "/openapi.json"])
def test_probes_and_the_reference_are_open(guarded: Web, path: str) -> None:
    assert guarded.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs", "/assets/x.js"])
def test_the_page_is_open(guarded: Web, path: str) -> None:
    assert guarded.get(path).status_code != 401


@pytest.mark.parametrize("path", ["/v1/online", "/v1/nodes", "/im/online/total", "/im/nodes/instances", "/nothing"])
def test_everything_else_is_not_open_even_what_does_not_exist(guarded: Web, path: str) -> None:
    assert guarded.get(path).status_code == 401


def test_im_clouds_callers_are_refused_in_their_envelope(guarded: Web) -> None:
    response = guarded.post({}, "/im/push/all")
    assert (response.status_code, response.json["code"], response.json["data"]) == (401, 401, None)


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:81", "null", "http://[", "localhost"])
def test_pages_of_other_origins_may_not_push(origin: str) -> None:
    web = make_web()
    assert web.post(_PUSH, Origin=origin).status_code == 403
    assert web.post({"msg": "x"}, "/im/push/all", Origin=origin).status_code == 403
    assert web.kept.messages == []


def test_our_own_page_may_push() -> None:
    assert make_web().post(_PUSH, Origin="http://LOCALHOST:8000", Host="localhost:8000").status_code == 202


@pytest.mark.parametrize("host", ["evil.example:8000", "localhost.evil.example", "10.0.0.1", "[bad"])
def test_without_an_api_key_a_name_that_was_rebound_to_loopback_is_not_served(host: str) -> None:
    web = make_web()
    assert web.post(_PUSH, Host=host, Origin=f"http://{host}").status_code == 403
    assert web.get("/v1/online", Host=host).status_code == 403
    assert web.kept.messages == []


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "127.8.8.8"])
def test_loopbacks_own_names_are_served(host: str) -> None:
    assert make_web().post(_PUSH, Host=host).status_code == 202


def test_reading_is_not_bound_to_an_origin() -> None:
    assert make_web().get("/v1/online", Origin="https://other.example").status_code == 200


@pytest.mark.parametrize(
    ("host", "api_key", "allowed"),
    [
        ("127.0.0.1", None, True),
        ("127.0.0.2", None, True),
        ("::1", None, True),
        ("localhost", None, True),
        ("0.0.0.0", None, False),  # noqa: S104
        ("::", None, False),
        ("192.0.2.1", None, False),
        ("example.com", None, False),
        ("0.0.0.0", _KEY, True),  # noqa: S104
    ],
)
def test_without_an_api_key_only_loopback_is_bound(host: str, api_key: str | None, allowed: bool) -> None:
    flaw = bind_flaw(WebSettings.model_validate({"web_host": host, "api_key": api_key}))
    assert (flaw is None) is allowed
    assert allowed or "CLOUDPUSH_API_KEY" in str(flaw)
