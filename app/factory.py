"""create_app: the only place where the parts of the logic tier meet.

Refuses to start threads and to read settings: app/wsgi.py does both, and tests hand in parts of their own.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from flask import Flask, Response, request

from app import problems, routes
from app.accept import Acceptor, Commits, FormTask
from app.answers import speaks_im
from app.body import check_text
from app.commit import State
from app.health import Health
from app.identity import check_caller
from app.im import Im
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
from app.waiting import Waiters

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; connect-src 'self' ws: wss: http: https:; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_PUSHING = frozenset(("POST /v1/pushes", *(f"POST /im/push/{kind}" for kind in ("keys", "mids", "room", "all"))))


@dataclass(frozen=True, slots=True)
class Parts:
    """What the app works with; each may raise our errors.

    *now_ms* is the time by which pushes expire; *broker_delays* tells whether the broker keeps tasks back until they
    are due; *stopping* is set when the process is to end.
    """

    committer: Commits
    form_task: FormTask
    directory: Counts
    registry: Nodes
    records: Records
    store_is_up: Callable[[], bool]
    broker_state: Callable[[], State]
    metrics: Metrics
    now_ms: Callable[[], int]
    broker_delays: bool = True
    stopping: threading.Event = field(default_factory=threading.Event)
    pages: Path = STATIC


def create_app(settings: WebSettings, parts: Parts) -> Flask:
    """Wire everything up."""
    table = OpenApi(_routes(settings, parts), _version()).all_routes
    app = Flask("cloudpush", static_folder=None)
    routes.register(app, table)
    problems.register(app)
    _guard(app, settings, frozenset(route.path for route in table if route.open))
    _finish(app, parts.metrics)
    return app


def _routes(settings: WebSettings, parts: Parts) -> tuple[routes.Route, ...]:
    limits = Limits(settings.max_message_bytes, settings.max_targets, settings.default_ttl_s, settings.durable_ttl_s)
    acceptor = Acceptor(
        parts.committer,
        parts.form_task,
        store_is_up=parts.store_is_up,
        confirm_deadline_s=settings.confirm_deadline_s,
        metrics=parts.metrics,
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
        *Fates(parts.records, waiters, now_ms=parts.now_ms, metrics=parts.metrics).routes(),
        *Messages(parts.records).routes(),
        *presence.routes(),
        *Im(acceptor, presence, limits, now_ms=parts.now_ms, **sizes).routes(),
        *Health(broker=parts.broker_state, store_is_up=parts.store_is_up, metrics=parts.metrics).routes(),
        *Pages(parts.pages, settings.flower_url).routes(),
    )


def _guard(app: Flask, settings: WebSettings, open_paths: frozenset[str]) -> None:
    def identify() -> None:
        check_text(request.environ)
        rule = request.url_rule.rule if request.url_rule is not None else ""
        check_caller(settings.api_key, method=request.method, open_route=rule in open_paths, headers=request.headers)

    app.before_request(identify)


def _finish(app: Flask, metrics: Metrics) -> None:
    def finish(response: Response) -> Response:
        for name, value in SECURITY_HEADERS.items():
            response.headers[name] = value
        if request.path.startswith("/v1/") or speaks_im(request.path):
            response.headers.setdefault("Cache-Control", "no-store")
        if response.status_code >= 400 and request.endpoint in _PUSHING:  # noqa: PLR2004
            metrics.refused.labels(str(response.status_code)).inc()
        return response

    app.after_request(finish)


def _version() -> str:
    try:
        return version("cloudpush")
    except PackageNotFoundError:
        return "0+source"
