"""@cloudpush/client in a real browser, as its script-tag build, on real nodes: nothing lost, nothing double.

The page of these tests notes each message in localStorage, in its handler: what two lives of a page have handled
stands there in the order in which they did.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser.conftest import WIDE, Watched
from tests.parts.fleet import Fleet

pytestmark = pytest.mark.services

Name = Callable[[str], str]
_WAIT_MS = 20_000
# What the fleet serves, so that the browser knows of whom it is; the app comes in beside it, at each load.
_PLACE = "/assets/licences.txt"
_APP = """
  const { key, tab } = Object.fromEntries(new URLSearchParams(location.search));
  const note = (list, value) => {
    const name = `${list} ${tab}`;
    localStorage[name] = JSON.stringify([...JSON.parse(localStorage[name] ?? "[]"), value]);
  };
  const start = () => {
    const client = new cloudpush.Client({ key });
    client.on("push", (push) => note("got", push.msg));
    client.on("gap", (gap) => note("gaps", gap));
    client.on("error", (error) => note("errors", error.message));
    client.on("ready", ({ session }) => note("lives", session));
    client.connect();
  };
  const script = () => Object.assign(document.createElement("script"), { src: "/client.js", onload: start });
  if (key) document.addEventListener("DOMContentLoaded", () => document.head.append(script()));
"""


class App:
    """One tab with the app of these tests in it."""

    def __init__(self, page: Page, fleet: Fleet, key: str, tab: str) -> None:
        self.watched = Watched(page, fleet)
        self.page = page
        self._tab = tab
        self.watched.expected_statuses = {404}  # a text has no icon
        self.watched.open(f"{_PLACE}?key={key}&tab={tab}")

    def noted(self, name: str) -> list[Any]:
        """All that both this life of the tab and the ones before it have noted under *name*."""
        noted: list[Any] = json.loads(self.page.evaluate("(name) => localStorage[name] ?? '[]'", f"{name} {self._tab}"))
        return noted

    def until(self, name: str, count: int) -> None:
        """Wait until so many are noted."""
        wanted = "([name, count]) => JSON.parse(localStorage[name] ?? '[]').length >= count"
        self.page.wait_for_function(wanted, arg=[f"{name} {self._tab}", count], timeout=_WAIT_MS)


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """A browser of its own, with the app of these tests."""
    context = chromium.new_context(viewport=WIDE)
    context.add_init_script(_APP)
    yield context
    context.close()


def _push(fleet: Fleet, key: str, numbers: range) -> None:
    for number in numbers:
        answer = fleet.push({"keys": [key], "msg": number, "durable": True})
        assert answer.status_code == 202, answer.text


def test_a_reload_in_the_middle_of_a_burst_loses_and_doubles_nothing(
    context: BrowserContext, fleet: Fleet, name: Name
) -> None:
    key, last = name("burst"), 240
    app = App(context.new_page(), fleet, key, "one")
    app.until("lives", 1)
    with ThreadPoolExecutor(1) as pusher:
        burst = pusher.submit(_push, fleet, key, range(1, last + 1))
        for count in range(20, last, 40):
            app.until("got", count)
            app.page.reload()
        in_time = not burst.done()
        burst.result()
    app.until("got", last)
    assert app.noted("got") == list(range(1, last + 1))
    assert len(app.noted("lives")) > 1
    assert in_time, "the reloads came during the burst"
    assert app.noted("gaps") == app.noted("errors") == []
    app.watched.check()


def test_two_tabs_with_one_key_each_get_everything_and_keep_their_own_place(
    context: BrowserContext, fleet: Fleet, name: Name
) -> None:
    key = name("tabs")
    one, two = (App(context.new_page(), fleet, key, tab) for tab in ("one", "two"))
    one.until("lives", 1)
    two.until("lives", 1)
    _push(fleet, key, range(1, 11))
    one.until("got", 10)
    two.until("got", 10)
    two.page.goto("about:blank")
    _push(fleet, key, range(11, 21))
    one.until("got", 20)  # and acked, for this key
    two.page.go_back()
    two.until("got", 20)
    for app in (one, two):
        assert app.noted("got") == list(range(1, 21))
        assert app.noted("gaps") == app.noted("errors") == []
        app.watched.check()


def test_a_tab_whose_messages_were_lost_is_told_so(context: BrowserContext, fleet: Fleet, name: Name) -> None:
    key = name("lost")
    app = App(context.new_page(), fleet, key, "one")
    app.until("lives", 1)
    _push(fleet, key, range(1, 4))
    app.until("got", 3)
    forged = {"key": key, "done": [[key, "nosuch", 7]], "seen": []}
    app.page.evaluate(
        "([forged]) => sessionStorage.setItem(Object.keys(sessionStorage)[0], forged)", [json.dumps(forged)]
    )
    app.page.reload()
    app.until("gaps", 1)
    app.until("got", 6)
    assert app.noted("got") == [1, 2, 3, 1, 2, 3], "of an epoch that nobody knows, everything that is there is new"
    assert [(gap["key"], gap["reason"], gap["offset"]) for gap in app.noted("gaps")] == [(key, "epoch", 0)]
    app.watched.check()
