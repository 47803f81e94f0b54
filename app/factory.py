"""create_app: the only place where the parts of the logic tier meet.

Refuses to start threads and to read settings: app/wsgi.py does both, and tests hand in parts of their own.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from flask import Flask, Response, request

from app import problems, routes
from app.accept import Acceptor, Commits
from app.batches import Batches
from app.body import check_text
from app.headers import with_headers
from app.health import Health
from app.identity import check_caller
from app.im import Im
from app.intake import State
from app.messages import Messages
from app.metrics import Metrics
from app.openapi import OpenApi
from app.pages import STATIC, Pages
from app.presence import Counts, Nodes, Presence
from app.promise import Promises
from app.pushes import Pushes
from app.receipts import Fates
from app.records import Records
from app.requests import Limits
from app.settings import WebSettings
from app.turn import raise_late
from app.waiting import Waiters
from proto.queues import Priority
from tasks.courtesy import Courtesy

_SINGLE = frozenset(("POST /v1/pushes", *(f"POST /im/push/{kind}" for kind in ("keys", "mids", "room", "all"))))
_BATCH = "POST /v1/pushes:batch"
_PUSHING = _SINGLE | {_BATCH}


def is_quick(method: str, path: str) -> bool:
    """Tell requests that may be served on the server's own thread: their views decline to block there."""
    return f"{method} {path}" in _SINGLE


def is_heavy(method: str, path: str) -> bool:
    """Tell requests that may compute for long."""
    return f"{method} {path}" == _BATCH


@dataclass(frozen=True, slots=True)
class Parts:
    """What the app works with; each may raise our errors.

    *now_ms* is the time by which pushes expire; *check_load* raises Overloaded where a push of that priority finds no
    room; *broker_delays* tells whether the broker keeps tasks back until they are due; *stopping* is set when the
    process is to end.
    """

    committer: Commits
    directory: Counts
    registry: Nodes
    records: Records
    store_is_up: Callable[[], bool]
    broker_state: Callable[[], State]
    metrics: Metrics
    now_ms: Callable[[], int]
    check_load: Callable[[Priority], None] = lambda _: None
    broker_delays: bool = True
    stopping: threading.Event = field(default_factory=threading.Event)
    pages: Path = STATIC


def create_app(settings: WebSettings, parts: Parts) -> Flask:
    """Wire everything up."""
    table = OpenApi(_routes(settings, parts), _version()).all_routes
    app = _Flask("cloudpush", static_folder=None)
    routes.register(app, table)
    problems.register(app)
    _guard(app, settings, frozenset(route.path for route in table if route.open))
    _count_refusals(app, parts.metrics)
    app.wsgi_app = with_headers(app.wsgi_app)  # type: ignore[method-assign]
    return app


def _routes(settings: WebSettings, parts: Parts) -> tuple[routes.Route, ...]:
    limits = Limits(settings.max_message_bytes, settings.max_targets, settings.default_ttl_s, settings.durable_ttl_s)
    courtesy = Courtesy()
    acceptor = Acceptor(
        parts.committer,
        store_is_up=parts.store_is_up,
        confirm_deadline_s=settings.confirm_deadline_s,
        check_load=parts.check_load,
        metrics=parts.metrics,
        courtesy=courtesy,
    )
    waiters = Waiters(max(1, settings.web_threads // 4), parts.stopping)
    parts.metrics.add_gauge(
        "cloudpush_receipt_waiters",
        "Requests that wait for a receipt, or for the call that has their request_id.",
        lambda: waiters.now,
    )
    promises = Promises(
        acceptor,
        parts.records,
        waiters,
        now_ms=parts.now_ms,
        broker_delays=parts.broker_delays,
        claim_deadline_s=settings.confirm_deadline_s,
        metrics=parts.metrics,
    )
    presence = Presence(parts.directory, parts.registry, probe_fresh_s=settings.probe_fresh_s)
    sizes = {"max_body_bytes": settings.max_body_bytes}
    return (
        *Pushes(promises, acceptor, limits, now_ms=parts.now_ms, **sizes).routes(),
        *Batches(
            promises,
            limits,
            max_batch_bytes=settings.max_batch_bytes,
            max_waiting_pushes=settings.max_waiting_pushes,
            now_ms=parts.now_ms,
            metrics=parts.metrics,
            courtesy=courtesy,
            **sizes,
        ).routes(),
        *Fates(parts.records, waiters, now_ms=parts.now_ms, metrics=parts.metrics).routes(),
        *Messages(parts.records).routes(),
        *presence.routes(),
        *Im(acceptor, presence, limits, now_ms=parts.now_ms, **sizes).routes(),
        *Health(broker=parts.broker_state, store_is_up=parts.store_is_up, metrics=parts.metrics).routes(),
        *Pages(parts.pages, settings.flower_url).routes(),
    )


def _guard(app: Flask, settings: WebSettings, open_paths: frozenset[str]) -> None:
    def identify() -> None:
        asked = request._get_current_object()  # type: ignore[attr-defined]  # each look through the proxy costs
        raise_late(asked.environ)
        check_text(asked.environ)
        rule = asked.url_rule.rule if asked.url_rule is not None else ""
        check_caller(settings.api_key, method=asked.method, open_route=rule in open_paths, environ=asked.environ)

    app.before_request(identify)


def _count_refusals(app: Flask, metrics: Metrics) -> None:
    def count(response: Response) -> Response:
        if response.status_code >= 400 and request.endpoint in _PUSHING:  # noqa: PLR2004
            metrics.refused.labels(str(response.status_code)).inc()
        return response

    app.after_request(count)


class _Flask(Flask):
    """Flask whose views and hooks are all plain functions, which it would find out anew in each request."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """See Flask."""
        return func


def _version() -> str:
    try:
        return version("cloudpush")
    except PackageNotFoundError:
        return "0+source"
