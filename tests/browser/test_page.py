"""The page that web serves: connect, send, watch pushes arrive; with a mouse, by keyboard alone, and on a telephone."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import requests
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Watched
from tests.parts.fleet import Fleet

pytestmark = pytest.mark.services

Name = Callable[[str], str]
_LATENCY = re.compile(r"^\d+(\.\d)? ms REST → browser$")


def _connect(page: Page, key: str, mid: str = "", rooms: str = "") -> None:
    for field, value in (("key", key), ("mid", mid), ("rooms", rooms)):
        page.get_by_test_id(field).fill(value)
    page.get_by_test_id("connect").click()
    expect(page.get_by_test_id("state")).to_have_text("Connected")


def _send(page: Page, kind: str, targets: str, msg: Any) -> str:
    """Send a push from the page; gives its push_id once it is accepted."""
    page.get_by_test_id("target-kind").select_option(kind)
    if kind != "all":
        page.get_by_test_id("targets").fill(targets)
    page.get_by_test_id("msg").fill(json.dumps(msg, ensure_ascii=False))
    page.get_by_test_id("send").click()
    expect(page.get_by_test_id("send-result")).to_contain_text("202 accepted")
    return page.get_by_test_id("push-id").inner_text()


def _message(page: Page, push_id: str) -> Locator:
    return page.locator(f'[data-push-id="{push_id}"]')


def _push(fleet: Fleet, **body: Any) -> str:
    answer = fleet.push(body)
    assert answer.status_code == 202, answer.text
    push_id: str = answer.json()["push_id"]
    return push_id


def test_it_connects_as_a_key_and_shows_a_push_that_was_made_by_rest(watched: Watched, name: Name) -> None:
    page = watched.open()
    watched.shoot("page-fresh")
    _connect(page, name("alice"))
    facts = page.get_by_test_id("session")
    expect(facts).to_contain_text(name("alice"))
    expect(facts).to_contain_text("websocket")
    expect(page.get_by_test_id("targets")).to_have_value(name("alice"))

    push_id = _push(watched.fleet, keys=[name("alice")], msg={"text": "你好 🎉", "list": [1, None]}, op=1001)

    shown = _message(page, push_id)
    expect(shown.locator(".body")).to_have_text('{\n  "text": "你好 🎉",\n  "list": [\n    1,\n    null\n  ]\n}')
    expect(shown).to_contain_text("1001")
    expect(shown.locator(".latency")).to_have_text("—")
    expect(page.get_by_test_id("count")).to_have_text("1")
    watched.shoot("page-received")


def test_it_sends_a_push_of_every_kind_and_shows_how_long_each_took(watched: Watched, name: Name) -> None:
    page = watched.open()
    _connect(page, name("k"), mid=name("m"), rooms=f"live://{name('r')}, {name('lobby')}")
    expect(page.get_by_test_id("room-chip")).to_have_count(2)
    kinds = (("keys", name("k")), ("mids", name("m")), ("rooms", f"live://{name('r')}"), ("all", ""))
    for number, (kind, target) in enumerate(kinds, 1):
        shown = _message(page, _send(page, kind, target, {"kind": kind}))
        expect(shown.locator(".body")).to_contain_text(kind)
        expect(shown.locator(".latency")).to_have_text(_LATENCY)
        key = {"keys": target, "mids": f"mid:{target}", "rooms": f"room:{target}", "all": "all"}[kind]
        expect(shown.locator(".tag-key")).to_contain_text(key)
        expect(page.get_by_test_id("count")).to_have_text(str(number))
    expect(page.get_by_test_id("p50")).to_have_text(re.compile(r"^\d+(\.\d)? ms$"))
    expect(page.get_by_test_id("p99")).to_have_text(re.compile(r"^\d+(\.\d)? ms$"))
    watched.shoot("page-every-kind")
    page.get_by_test_id("clear").click()
    expect(page.get_by_test_id("empty")).to_be_visible()
    expect(page.get_by_test_id("count")).to_have_text("0")


def test_it_joins_and_leaves_rooms_and_changes_what_it_accepts(watched: Watched, name: Name) -> None:
    page = watched.open()
    _connect(page, name("k"))
    page.get_by_test_id("rooms").fill(name("r"))
    page.get_by_test_id("join").click()
    expect(page.get_by_test_id("room-chip")).to_have_text([re.compile(name("r"))])
    expect(_message(page, _push(watched.fleet, rooms=[name("r")], msg="inside"))).to_be_visible()

    page.get_by_test_id("accepts").fill("7, 8")
    page.get_by_test_id("accept").click()
    page.get_by_label(f"Leave {name('r')}").click()
    expect(page.get_by_test_id("room-chip")).to_have_count(0)
    held_back = _push(watched.fleet, keys=[name("k")], msg="held back", op=9)
    outside = _push(watched.fleet, rooms=[name("r")], msg="outside", op=7)
    expect(_message(page, _push(watched.fleet, keys=[name("k")], msg="accepted", op=8))).to_be_visible()
    expect(_message(page, held_back)).to_have_count(0)
    expect(_message(page, outside)).to_have_count(0)

    page.get_by_test_id("rooms").fill(name("r") * 30)
    page.get_by_test_id("join").click()
    expect(page.locator("#rooms-note")).to_contain_text("must be at most 251 bytes")


def test_a_refused_send_shows_the_error_beside_its_field(watched: Watched) -> None:
    watched.expected_statuses = {422}
    page = watched.open()
    page.get_by_test_id("targets").fill("fine, mid:7")
    page.get_by_test_id("op").fill("-1")
    page.get_by_test_id("server").fill("nowhere")
    page.get_by_test_id("send").click()
    expect(page.locator("#targets-note")).to_contain_text("the prefix 'mid:' is reserved: use mids")
    expect(page.locator("#op-note")).to_contain_text("must be at least 0")
    expect(page.locator("#server-note")).to_contain_text("must be host:port")
    expect(page.get_by_test_id("targets")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_test_id("send-result")).to_contain_text("422")
    expect(page.get_by_test_id("send-result")).to_have_attribute("data-tone", "bad")
    watched.shoot("page-refused")
    page.get_by_test_id("msg").fill("{not json")
    expect(page.locator("#msg-note")).to_contain_text("Not JSON")
    page.get_by_test_id("as-string").click()
    expect(page.get_by_test_id("msg")).to_have_value('"{not json"')


def test_a_refused_connect_says_why_and_lets_one_try_again(watched: Watched, name: Name) -> None:
    page = watched.open()
    page.get_by_test_id("key").fill("room:1")
    page.get_by_test_id("connect").click()
    expect(page.get_by_test_id("state")).to_have_text("Disconnected")
    reason = "key: the prefix 'room:' is reserved: use rooms (invalid_key)"
    expect(page.get_by_test_id("state-reason")).to_have_text(reason)
    _connect(page, name("k"))
    expect(page.get_by_test_id("state-reason")).to_have_text("")


def test_a_session_that_was_ended_from_outside_says_so_and_does_not_come_back(watched: Watched, name: Name) -> None:
    page = watched.open()
    _connect(page, name("k"))
    requests.delete(f"{watched.fleet.url}/v1/keys/{name('k')}/sessions", timeout=5)
    expect(page.get_by_test_id("state")).to_have_text("Disconnected")
    expect(page.get_by_test_id("state-reason")).to_have_text("the node ended the session")


_HOSTILE = (
    "</pre></script><script>window.hacked=1</script>"
    "<img src=x onerror='window.hacked=2'><svg onload='window.hacked=3'><a href='javascript:alert(1)'>x</a>"
)


def test_hostile_html_is_shown_as_text(watched: Watched, name: Name) -> None:
    page = watched.open()
    _connect(page, f"<b>{name('k')}</b>", rooms=f"<img src=x onerror=alert(1)>{name('r')}")
    push_id = _push(watched.fleet, keys=[f"<b>{name('k')}</b>"], msg=_HOSTILE)
    shown = _message(page, push_id)
    expect(shown.locator(".body")).to_have_text(json.dumps(_HOSTILE))
    expect(shown.locator(".tag-key")).to_contain_text(f"<b>{name('k')}</b>")
    expect(page.get_by_test_id("room-chip")).to_contain_text("<img src=x")
    names = {"__proto__": 1, "constructor": 2, "<i>": "\u202eback", "long": "w" * 5_000}
    long_id = _push(watched.fleet, rooms=[f"<img src=x onerror=alert(1)>{name('r')}"], msg=names)
    expect(_message(page, long_id).locator(".body")).to_contain_text("more characters")
    assert page.evaluate("window.hacked") is None
    assert page.locator("#messages script, #messages img, #messages svg, #messages a, #messages b").count() == 0
    watched.shoot("page-hostile")


def test_everything_can_be_done_by_keyboard_alone(watched: Watched, name: Name) -> None:
    page = watched.open()
    _tab_to(page, "key")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type(name("k"))
    _tab_to(page, "connect")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none", "one sees where the focus is"
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("state")).to_have_text("Connected")
    _tab_to(page, "send")
    watched.shoot("page-keyboard")
    page.keyboard.press("Space")
    expect(page.get_by_test_id("send-result")).to_contain_text("202 accepted")
    expect(page.locator("#messages > li")).to_have_count(1)
    _tab_to(page, "msg", back=True)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#messages > li")).to_have_count(2)


def _tab_to(page: Page, test_id: str, *, back: bool = False) -> None:
    for _ in range(60):
        page.keyboard.press("Shift+Tab" if back else "Tab")
        if page.evaluate("document.activeElement.dataset.testid") == test_id:
            return
    raise AssertionError(f"no way to {test_id} by tab")


def test_every_control_has_a_name(watched: Watched) -> None:
    page = watched.open()
    nameless = page.evaluate(
        """[...document.querySelectorAll("input, select, textarea, button, a")].filter((each) =>
          !(each.labels?.length || each.ariaLabel || each.textContent.trim())).map((each) => each.outerHTML)"""
    )
    assert nameless == []
    assert page.title() == "cloudpush: try it"
    assert page.evaluate("document.documentElement.lang") == "en"


def test_the_docs_page_renders_the_api(watched: Watched) -> None:
    page = watched.open("/docs")
    expect(page.locator(".info .title")).to_contain_text("cloudpush", ignore_case=True)
    expect(page.locator(".opblock")).not_to_have_count(0)
    expect(page.get_by_text("/v1/pushes", exact=True).first).to_be_visible()
    page.locator(".opblock-post").first.click()
    expect(page.locator(".opblock-body").first).to_be_visible()
    watched.shoot("docs")


def test_a_durable_push_shows_its_place_and_a_session_that_comes_back_says_what_it_missed(
    watched: Watched, name: Name
) -> None:
    page = watched.open()
    _connect(page, name("k"))
    page.get_by_test_id("durable").check()
    page.get_by_test_id("request-id").fill(name("request"))
    push_id = _send(page, "keys", name("k"), {"stored": True})
    assert _send(page, "keys", name("k"), {"stored": True}) == push_id, "the same request"
    shown = _message(page, push_id)
    expect(shown).to_have_count(1)
    expect(shown.locator(".tag-offset")).to_contain_text("1")
    expect(shown.locator(".tag-epoch")).to_have_text(re.compile(r"epoch\w+"))
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="receipt").click()
    assert opened.value.text_content("body") is not None
    opened.value.close()

    page.get_by_test_id("connect").click()
    expect(page.get_by_test_id("state")).to_have_text("Disconnected")
    meanwhile = _push(watched.fleet, keys=[name("k")], msg="meanwhile", durable=True)
    page.get_by_test_id("connect").click()
    expect(_message(page, meanwhile).locator(".tag-offset")).to_contain_text("2")
    notice = page.get_by_test_id("notice")
    expect(notice).to_contain_text(f"Resumed: nothing was missed of {name('k')}")
    expect(page.get_by_test_id("count")).to_have_text("2")
    watched.shoot("page-durable")
