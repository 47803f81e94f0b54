"""The logic tier with parts that a test controls: a committer that keeps what it is given, a store of plain values."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from flask import Flask

from app.backlog import Backlog
from app.backlog_watch import bounds
from app.broker import Call, TaskMessage
from app.factory import Parts, create_app
from app.forming import Forming
from app.intake import HandOver, State
from app.metrics import Metrics
from app.settings import WebSettings
from proto.errors import BrokerUnavailable, StoreUnavailable
from proto.queues import Priority
from store.registry import NodeInfo
from tasks.celery import app as celery_app
from tests.fakes.memory_records import MemoryStore


@dataclass
class Kept:
    """A broker in a list; down when told so."""

    messages: list[TaskMessage] = field(default_factory=list)
    forming: Forming = field(default_factory=lambda: Forming(celery_app.amqp.as_task_v2))
    down: str = ""  # known to be
    silent: str = ""  # not known to be, and takes nothing

    def check(self) -> None:
        if self.down:
            raise BrokerUnavailable(self.down)

    def begin(self, handovers: Sequence[HandOver]) -> None:
        for handover in handovers:
            self.commit(handover.call, 0)
            assert handover.claim()
            handover.end()

    def commit(self, call: Call, timeout_s: float) -> None:
        self.commit_all([call], timeout_s)

    def commit_all(
        self,
        calls: Sequence[Call],
        timeout_s: float,  # noqa: ARG002 - the confirm is instant
    ) -> list[BrokerUnavailable | None]:
        if self.down or self.silent:
            raise BrokerUnavailable(self.down or self.silent)
        self.messages += [self.forming.task_of([call]) for call in calls]
        return [None] * len(calls)

    @property
    def payloads(self) -> list[dict[str, Any]]:
        """The argument of each push task."""
        return [orjson.loads(message.body)[0][0] for message in self.messages]


@dataclass
class Store:
    """Directory and registry in one; down when told so."""

    sessions: dict[str, int] = field(default_factory=dict)
    top: list[tuple[str, int]] = field(default_factory=list)
    nodes: list[NodeInfo] = field(default_factory=list)
    down: bool = False

    def counts(self, keys: Sequence[str]) -> dict[str, int]:
        self._check()
        return {key: self.sessions.get(key, 0) for key in keys}

    def top_rooms(self, limit: int) -> list[tuple[str, int]]:
        self._check()
        return self.top[:limit]

    def live(self) -> list[NodeInfo]:
        self._check()
        return self.nodes

    def _check(self) -> None:
        if self.down:
            raise StoreUnavailable("the store does not answer: refused")


@dataclass
class Web:
    """An app and what it works with."""

    settings: WebSettings
    kept: Kept
    store: Store
    memory: MemoryStore
    metrics: Metrics
    backlog: Backlog
    app: Flask

    def post(self, body: Any, path: str = "/v1/pushes", **headers: str) -> Any:
        """Send *body* as JSON."""
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        sent = {"Content-Type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
        return self.app.test_client().post(path, data=raw, headers=sent)

    def see(self, now_s: float = 0.0, **depths: int) -> None:
        """Let the queues be seen with these depths, those not named empty."""
        self.backlog.look(now_s, {priority: depths.get(priority.value, 0) for priority in Priority}, {})

    def call(self, method: str, path: str, **options: Any) -> Any:
        """Make any call, as Flask's test client does."""
        return self.app.test_client().open(path, method=method, **options)

    def get(self, path: str, **headers: str) -> Any:
        """Read *path*."""
        sent = {name.replace("_", "-"): text for name, text in headers.items()}
        return self.app.test_client().get(path, headers=sent)


def make_web(
    pages: Path | None = None,
    *,
    broker_delays: bool = True,
    stopping: threading.Event | None = None,
    **settings: Any,
) -> Web:
    """Make an app; *settings* override the defaults, whatever the environment says."""
    read = WebSettings.model_validate({**_defaults(), **settings})
    kept, store, memory, metrics = Kept(), Store(), MemoryStore(), Metrics()
    metrics.watch(
        inflight=lambda: 0, waiting=lambda: 0, broker_up=lambda: not kept.down, store_up=lambda: not store.down
    )
    backlog = Backlog(bounds(read), lambda priority: metrics.overloaded.labels(priority.value).inc())
    parts = Parts(
        committer=kept,
        directory=store,
        registry=store,
        records=memory.records(),
        store_is_up=lambda: not store.down,
        broker_state=lambda: State.DOWN if kept.down else State.UP,
        metrics=metrics,
        now_ms=lambda: memory.now_ms,
        check_load=backlog.check,
        broker_delays=broker_delays,
        stopping=stopping or threading.Event(),
        pages=pages or Path(__file__).parent / "no-page",
    )
    return Web(read, kept, store, memory, metrics, backlog, create_app(read, parts))


def _defaults() -> Mapping[str, Any]:
    return {name: setting.get_default(call_default_factory=True) for name, setting in WebSettings.model_fields.items()}
