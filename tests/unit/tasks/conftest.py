"""Nodes to call, and threads that call them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import pytest

from tasks.nodes import Nodes

_DEADLINE_S = 5.0


class MakeNodes(Protocol):
    """Makes a Nodes that is closed with the test."""

    def __call__(self, deadline_s: float = _DEADLINE_S, **options: Any) -> Nodes: ...


@pytest.fixture
def make_nodes() -> Iterator[MakeNodes]:
    made: list[Nodes] = []

    def make(deadline_s: float = _DEADLINE_S, **options: Any) -> Nodes:
        made.append(Nodes(deadline_s=deadline_s, token="t" * 16, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool
