"""With every secret set the page works for who has them, and says what is missing for who has not."""

import time
from collections.abc import Callable

import jwt
import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import WIDE, Watched
from tests.integration.conftest import API_KEY, JWT_SECRET, locked_fleet
from tests.parts.fleet import Fleet

pytestmark = pytest.mark.services
__all__ = ["locked_fleet"]


def test_the_page_shows_token_and_api_key(chromium: Browser, locked_fleet: Fleet, name: Callable[[str], str]) -> None:
    context = chromium.new_context(viewport=WIDE)
    watched = Watched(context.new_page(), locked_fleet)
    watched.expected_statuses = {401}
    page = watched.open()
    expect(page.locator("#node-note")).to_contain_text("401")
    page.get_by_test_id("api-key").fill(API_KEY)
    page.get_by_test_id("api-key").blur()
    expect(page.locator("#node option")).to_have_count(3)

    page.get_by_test_id("key").fill(name("k"))
    page.get_by_test_id("connect").click()
    expect(page.get_by_test_id("state-reason")).to_have_text("token: this node wants a token (token_required)")
    claims = {"key": name("k"), "exp": int(time.time()) + 600}
    page.get_by_test_id("token").fill(jwt.encode(claims, JWT_SECRET, algorithm="HS256"))
    page.get_by_test_id("connect").click()
    expect(page.get_by_test_id("state")).to_have_text("Connected")
    page.get_by_test_id("send").click()
    expect(page.locator("#messages > li")).to_have_count(1)
    assert page.evaluate("JSON.stringify([{...localStorage}, document.cookie])") == '[{},""]'
    kept = page.evaluate("JSON.stringify({...sessionStorage})")
    assert name("k") in kept, "the client keeps where it is in its keys"
    assert not [secret for secret in (API_KEY, "eyJ") if secret in kept], "and no secret"
    watched.shoot("page-locked")
    watched.check()
    context.close()
