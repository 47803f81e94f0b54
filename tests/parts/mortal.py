"""The logic tier over real stores, in a process that a test may have die between two steps of a promise."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from flask import Flask

import celeryconfig
from app.commit import Committer
from app.factory import Parts, create_app
from app.forming import Forming
from app.intake import Intake, State
from app.metrics import Metrics
from app.publisher import Publisher
from app.rabbit import RabbitBroker
from app.records import Records
from app.settings import WebSettings
from tasks.celery import app as celery_app
from tests.parts.kept import Kept
from tests.parts.process import until
from tests.parts.rabbitmq import RabbitMQ

DECLARE = [celeryconfig.dead_queue, *celeryconfig.push_queues.values()]
_FORMING = Forming(celery_app.amqp.as_task_v2)
RECOVERS_S = 30.0
STEPS = ("claim", "write", "commit", "close")


class Died(BaseException):
    """The process is gone: no handler runs."""


@dataclass
class Dying:
    """Ends the process before or after one of its steps."""

    step: str = ""
    after: bool = False

    @contextmanager
    def at(self, step: str) -> Iterator[None]:
        if step == self.step and not self.after:
            raise Died
        yield
        if step == self.step:
            raise Died


class DyingBatch:
    """A batch that is the step `write` or, when it ends a claim, `close`."""

    def __init__(self, inner: Any, dying: Dying) -> None:
        self._inner, self._dying = inner, dying

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __len__(self) -> int:
        return len(self._inner)

    def run(self) -> list[Any]:
        with self._dying.at("close"):
            answers: list[Any] = self._inner.run()
            return answers

    def outcomes(self) -> list[Any]:
        with self._dying.at("write"):
            answers: list[Any] = self._inner.outcomes()
            return answers


@dataclass
class Web:
    """An app over real stores; each :meth:`post` may be its last."""

    app: Flask
    kept: Kept
    committer: Committer
    dying: Dying

    def post(self, body: dict[str, Any]) -> Any:
        return self.app.test_client().post("/v1/pushes", json=body)

    def post_batch(self, pushes: Sequence[dict[str, Any]]) -> Any:
        return self.app.test_client().post("/v1/pushes:batch", json={"pushes": pushes})

    def until_up(self) -> None:
        until(lambda: self.committer.state is State.UP, RECOVERS_S, "a connection to the broker")

    def nothing_is_left_of(self, *keys: str) -> bool:
        """Whether the store holds no receipt, nothing pending, and no message of these keys."""
        names = self.kept.client.keys(f"{self.kept.settings.store_namespace}:*")
        pages = self.kept.inbox.read(dict.fromkeys(keys, 0), 10)
        return not any(page.messages for page in pages.values()) and {
            name.split(":")[1] for name in cast(list[str], names)
        } <= {"inbox"}


@contextmanager
def serving(broker_url: str, kept: Kept) -> Iterator[Web]:
    """A web tier in this process."""
    intake, dying = Intake(4096), Dying()
    publisher = Publisher(RabbitBroker(broker_url, DECLARE), intake, _FORMING.task_of, stall_s=1.5, max_in_flight=100)
    committer = Committer(intake, publisher)
    records = Records.on(kept.client, kept.settings, kept.clock)

    class DyingRequests:
        def __getattr__(self, name: str) -> Any:
            return getattr(kept.requests, name)

        def claims(self, *args: Any) -> Any:
            with dying.at("claim"):
                return kept.requests.claims(*args)

    class DyingCommitter:
        check = committer.check
        begin = committer.begin

        def commit(self, *args: Any) -> None:
            with dying.at("commit"):
                committer.commit(*args)

        def commit_all(self, *args: Any) -> Any:
            with dying.at("commit"):
                return committer.commit_all(*args)

    begin = records.batch
    parts = Parts(
        committer=DyingCommitter(),
        directory=cast(Any, None),
        registry=cast(Any, None),
        records=replace(
            records, batch=lambda: cast(Any, DyingBatch(begin(), dying)), requests=cast(Any, DyingRequests())
        ),
        store_is_up=lambda: True,
        broker_state=lambda: committer.state,
        metrics=Metrics(),
        now_ms=kept.clock.now_ms,
    )
    committer.start()
    web = Web(create_app(WebSettings(), parts), kept, committer, dying)
    try:
        web.until_up()
        yield web
    finally:
        committer.close(5)


@contextmanager
def lasting_broker(home: Path) -> Iterator[RabbitMQ]:
    """A RabbitMQ to kill, with every queue on disk: 3.10 may lose one declared less than a second before a kill."""
    server = RabbitMQ(home)
    try:
        server.start()
        first = RabbitBroker(server.url, DECLARE)
        first.open()
        first.close()
        server.stop()
        server.start()
        yield server
    finally:
        server.close()
