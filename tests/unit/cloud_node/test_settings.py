"""A node's settings: locked or on loopback, and what it says of itself."""

import socket
from typing import Any

import pytest
from pydantic import ValidationError

from cloud_node.settings import CloudSettings

_SECRETS = {"client_jwt_secret": "s" * 32, "grpc_token": "t" * 16}


def _settings(**fields: Any) -> CloudSettings:
    return CloudSettings(**fields)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CloudSettings.model_fields:
        monkeypatch.delenv(f"CLOUDPUSH_{name.upper()}", raising=False)
    monkeypatch.delenv("CLOUDPUSH_NODE_INDEX", raising=False)


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "CLOUDPUSH_CLIENT_JWT_SECRET and CLOUDPUSH_GRPC_TOKEN"),
        ({"grpc_token": "t" * 16}, "CLOUDPUSH_CLIENT_JWT_SECRET"),
        ({"client_jwt_secret": "s" * 32}, "CLOUDPUSH_GRPC_TOKEN"),
    ],
)
def test_beyond_loopback_a_node_wants_its_secrets_and_says_which(given: dict[str, Any], missing: str) -> None:
    with pytest.raises(ValidationError) as refused:
        _settings(node_host="10.0.0.1", **given)
    [error] = refused.value.errors()
    assert error["msg"] == (
        "Value error, without secrets a node listens on loopback only: to listen on 10.0.0.1, set " + missing
    )


def test_with_its_secrets_it_listens_anywhere() -> None:
    assert _settings(node_host="10.0.0.1", **_SECRETS).listen_grpc == ("10.0.0.1", 9500)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_on_loopback_it_needs_none(host: str) -> None:
    assert _settings(node_host=host).listen_socketio == (host, 9000)


@pytest.mark.parametrize(("name", "short"), [("client_jwt_secret", "s" * 31), ("grpc_token", "t" * 15)])
def test_a_short_secret_is_refused(name: str, short: str) -> None:
    with pytest.raises(ValidationError) as refused:
        _settings(**{name: short})
    assert short not in str(refused.value.errors(include_input=False))


def test_a_renewal_that_comes_once_too_late_must_not_end_the_lease() -> None:
    with pytest.raises(ValidationError, match="renew_every_s must be at most half of lease_ttl_s"):
        _settings(lease_ttl_s=5, renew_every_s=3)


def test_ports_follow_the_index_unless_they_are_given() -> None:
    assert _settings(index=2).listen_socketio == ("127.0.0.1", 9002)
    assert _settings(index=2).listen_grpc == ("127.0.0.1", 9502)
    assert _settings(index=2, socketio_port=7000, grpc_port=7001).url == "http://127.0.0.1:7000"


def test_what_others_dial_is_the_advertised_host() -> None:
    settings = _settings(node_host="0.0.0.0", advertise_host="node-3.example", **_SECRETS)  # noqa: S104
    assert settings.grpc_address == "node-3.example:9500"
    assert settings.url == "http://node-3.example:9000"


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104
def test_a_node_on_every_address_must_say_by_which_it_is_reached(host: str) -> None:
    with pytest.raises(ValidationError, match="CLOUDPUSH_ADVERTISE_HOST"):
        _settings(node_host=host, **_SECRETS)


def test_an_ipv6_address_is_written_as_urls_want_it() -> None:
    settings = _settings(node_host="::1")
    assert (settings.grpc_address, settings.url) == ("[::1]:9500", "http://[::1]:9000")
    assert settings.address_family is socket.AF_INET6


def test_secrets_are_not_shown() -> None:
    shown = repr(_settings(**_SECRETS))
    assert "ssss" not in shown
    assert "tttt" not in shown
