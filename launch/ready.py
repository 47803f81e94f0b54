"""Watches a start until every part says that it can do its work.

A node says so only when its own probe push came back through broker, worker and gRPC; so ``ready:`` means that a push
can really be delivered.  Refuses to wait for ever.
"""

import threading
import time
from collections.abc import Callable
from http import HTTPStatus

import requests

from launch.settings import LaunchSettings

_LOOK_S = 0.25
_CALL_S = 3.0
_NEWS_S = 5.0


def health_urls(settings: LaunchSettings) -> dict[str, str]:
    """Part → the URL that answers 200 once it is ready."""
    parts = {part.part: f"{part.url}/health/ready" for part in (settings.web, settings.worker, *settings.cloud)}
    return parts | {settings.flower.part: f"{settings.flower.url}/healthcheck"}


def ready_line(settings: LaunchSettings) -> str:
    """The one line that ends a start, with the URLs for a person."""
    nodes = " ".join(f"http://localhost:{node.port}" for node in settings.cloud)
    return f"ready: http://localhost:{settings.web_port}  nodes {nodes}  flower http://localhost:{settings.flower_port}"


def is_ready(url: str) -> bool:
    """Whether *url* answers 200 now."""
    try:
        return requests.get(url, timeout=_CALL_S).status_code == HTTPStatus.OK
    except requests.RequestException:
        return False


class Watch(threading.Thread):
    """Says what is awaited whenever that changes, then ``ready:``; calls *give_up* when *ready_s* is over."""

    def __init__(self, settings: LaunchSettings, say: Callable[[str], None], give_up: Callable[[str], None]) -> None:
        super().__init__(name="ready", daemon=True)
        self._settings = settings
        self._say = say
        self._give_up = give_up
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()

    def run(self) -> None:
        """Watch until ready, stopped, or too late."""
        awaited = health_urls(self._settings)
        began = time.monotonic()
        said_at, said = began, ""
        while not self._stopped.wait(_LOOK_S):
            awaited = {part: url for part, url in awaited.items() if not is_ready(url)}
            now = time.monotonic()
            if not awaited:
                self._say(ready_line(self._settings))
                return
            if now - began > self._settings.ready_s:
                self._give_up(", ".join(awaited))
                return
            line = ", ".join(awaited)
            if line != said or now - said_at > _NEWS_S:
                self._say(f"» waiting for {line} ({now - began:.0f} s)")
                said_at, said = now, line
