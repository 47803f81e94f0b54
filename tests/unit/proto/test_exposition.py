"""Who gets which form of the metrics, and which pushes exemplars name."""

import pytest
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from proto.exposition import OPENMETRICS, PLAIN, exemplar, expose

_PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    histogram = Histogram("waited_seconds", "How long.", buckets=(1.0, 10.0), registry=registry)
    histogram.observe(0.5, exemplar("01HZX"))
    histogram.observe(5.0, exemplar("x" * 500))
    return registry


@pytest.mark.parametrize("accept", [_PROMETHEUS, "application/openmetrics-text"])
def test_openmetrics_and_its_exemplars_go_to_who_accepts_it(registry: CollectorRegistry, accept: str) -> None:
    text, content_type = expose(registry, accept)
    assert content_type.startswith(OPENMETRICS)
    (family,) = text_string_to_metric_families(text.decode())  # type: ignore[no-untyped-call]
    named = {sample.labels["le"]: sample.exemplar for sample in family.samples if sample.exemplar}
    assert named.keys() == {"1.0"}
    assert (named["1.0"].labels, named["1.0"].value) == ({"push_id": "01HZX"}, 0.5)


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "",
        "*/*",
        "text/plain",
        "application/json",
        "application/openmetrics-text;version=x",
        "text/plain;version=;,;=",
    ],
)
def test_everyone_else_gets_the_plain_text_whatever_the_header_says(
    registry: CollectorRegistry, accept: str | None
) -> None:
    text, content_type = expose(registry, accept)
    assert content_type == PLAIN
    assert 'waited_seconds_bucket{le="1.0"} 1.0' in text.decode().splitlines()


def test_an_id_that_is_too_long_for_an_exemplar_is_counted_without_one(registry: CollectorRegistry) -> None:
    assert exemplar("x" * 121) == {"push_id": "x" * 121}
    assert exemplar("x" * 122) is None
    assert b"waited_seconds_count 2.0" in expose(registry, None)[0]
