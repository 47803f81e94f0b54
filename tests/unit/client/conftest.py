"""A stand-in for each test."""

from collections.abc import Iterator

import pytest

from tests.unit.client.stand_in import StandIn, serving


@pytest.fixture
def server() -> Iterator[StandIn]:
    """An HTTP server that answers what the test says."""
    with serving() as stand_in:
        yield stand_in
