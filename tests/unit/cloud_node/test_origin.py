"""Which web pages may connect."""

import pytest

from cloud_node.gateway import origin_check
from cloud_node.settings import CloudSettings


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True),
        ("http://localhost:8000", True),
        ("http://127.0.0.1:9000", True),
        ("https://[::1]:9000", True),
        ("https://evil.example", False),
        ("http://localhost.evil.example", False),
        ("http://127.0.0.1@evil.example", False),
        ("null", False),
        ("", False),
        ("http://[", False),
        ("file://", False),
    ],
)
def test_without_a_list_only_pages_of_this_machine_may(origin: str | None, allowed: bool) -> None:
    assert origin_check(CloudSettings())(origin) is allowed


def test_a_list_is_the_list() -> None:
    check = origin_check(CloudSettings(allowed_origins=["https://app.example"]))
    assert check("https://app.example")
    assert check(None)
    assert not check("https://app.example:444")
    assert not check("http://localhost")


def test_a_star_is_everybody() -> None:
    assert origin_check(CloudSettings(allowed_origins=["*"]))("https://evil.example")
