"""A worker's health page."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from tasks.health import HealthServer


class _Store:
    def ping(self) -> bool:
        return True


@pytest.fixture
def server() -> Iterator[HealthServer]:
    store: Any = _Store()
    server = HealthServer("127.0.0.1", 0, store)
    server.start()
    yield server
    server.stop()


def test_answers_of_different_length_arrive_whole_one_after_the_other(server: HealthServer) -> None:
    before = requests.get(f"{server.url}/health/ready", timeout=5)
    server.consumer = SimpleNamespace(connection=SimpleNamespace(connected=True))
    after = requests.get(f"{server.url}/health/ready", timeout=5)
    assert (before.status_code, before.json()["checks"]) == (503, {"broker": False, "store": True})
    assert (after.status_code, after.json()["checks"]) == (200, {"broker": True, "store": True})


def test_an_unknown_page_is_404_and_names_the_pages_there_are(server: HealthServer) -> None:
    answer = requests.get(f"{server.url}/", timeout=5)
    assert answer.status_code == 404
    assert "/metrics" in answer.json()["pages"]


def test_metrics_are_served_in_prometheus_text(server: HealthServer) -> None:
    assert "cloudpush_store_up 1.0" in requests.get(f"{server.url}/metrics", timeout=5).text
