"""A Chromium, and pages in it that remember all that they must not do."""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, ViewportSize, sync_playwright

from tests.parts.fleet import Fleet

ARTIFACTS = Path(__file__).parents[1] / "artifacts"
WIDE: ViewportSize = {"width": 1280, "height": 900}
NARROW: ViewportSize = {"width": 390, "height": 844}
_CHROMIUM = "/usr/bin/chromium"
_QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_WAIT_MS = 5_000
_NOTE_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(
  `${event.violatedDirective} ${event.blockedURI}`));
"""


class Watched:
    """A page, and what went wrong in it."""

    def __init__(self, page: Page, fleet: Fleet) -> None:
        self.page = page
        self.fleet = fleet
        self.expected_statuses: set[int] = set()
        self._errors: list[str] = []
        self._strangers: list[str] = []
        page.set_default_timeout(_WAIT_MS)
        page.add_init_script(_NOTE_VIOLATIONS)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self._errors.append(str(error)))
        page.on("request", self._request)

    def open(self, path: str = "/") -> Page:
        """Go to a path of the fleet's web."""
        self.page.goto(self.fleet.url + path)
        return self.page

    def shoot(self, name: str) -> None:
        """Keep a picture of the whole page."""
        size = self.page.viewport_size
        assert size is not None
        self.page.screenshot(path=ARTIFACTS / f"{name}-{size['width']}.png", full_page=True)

    def check(self) -> None:
        """Fail when the page did something that it must not do."""
        assert self._errors == [], "errors in the console"
        assert self._strangers == [], "requests to strangers"
        assert self.page.evaluate("window.violations") == [], "violations of the content security policy"
        assert self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "sideways scrolling"

    def _console(self, message: ConsoleMessage) -> None:
        wanted = any(f"status of {status}" in message.text for status in self.expected_statuses)
        if message.type in ("error", "warning") and not wanted:
            self._errors.append(message.text)

    def _request(self, request: Request) -> None:
        ours = {urlsplit(self.fleet.url).netloc, *(urlsplit(node.url).netloc for node in self.fleet.nodes)}
        place = urlsplit(request.url)
        if place.scheme not in ("data", "blob") and place.netloc not in ours:
            self._strangers.append(request.url)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for all tests."""
    ARTIFACTS.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=list(_QUIET))
        yield browser
        browser.close()


@pytest.fixture(params=[WIDE, NARROW], ids=["1280x900", "390x844"])
def watched(request: pytest.FixtureRequest, chromium: Browser, fleet: Fleet) -> Iterator[Watched]:
    """A fresh page in each of the two sizes, checked in the end."""
    context = chromium.new_context(viewport=request.param, locale="en-GB")
    one = Watched(context.new_page(), fleet)
    yield one
    one.check()
    context.close()


@pytest.fixture
def name() -> Callable[[str], str]:
    """Names of keys, members and rooms that no other test uses."""
    mark = uuid4().hex[:8]
    return lambda word: f"{word}-{mark}"
