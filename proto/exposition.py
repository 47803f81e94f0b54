"""How each tier shows its metrics: OpenMetrics, which carries exemplars, to who asks for it; else Prometheus' text.

Refuses to fail over an Accept header: who asks for what there is not gets the plain text.
Source: the OpenMetrics specification 1.0 (content type; exemplars: labels of 128 characters at most in all).
"""

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder

PLAIN = CONTENT_TYPE_PLAIN_0_0_4
OPENMETRICS = "application/openmetrics-text"
_LABEL = "push_id"
_LONGEST = 128 - len(_LABEL)


def expose(registry: CollectorRegistry, accept: str | None) -> tuple[bytes, str]:
    """Give the metrics and their content type; *accept* is the caller's header."""
    try:
        encode, content_type = choose_encoder(accept or "")
    except TypeError:  # a version that is no number
        encode, content_type = generate_latest, PLAIN
    return encode(registry), content_type


def exemplar(push_id: str) -> dict[str, str] | None:
    """Name one push, for a histogram's ``observe``; None where the id is too long for that.

    Ids that we make are 26 characters; a task may carry any text.
    """
    return {_LABEL: push_id} if len(push_id) <= _LONGEST else None
