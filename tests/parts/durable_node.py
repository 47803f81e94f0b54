"""One cloud node on a Redis of its own, to which a test is what callers and workers are: it appends, and sends hints.

Refuses to send what was not appended: places are the store's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import grpc
import orjson
import requests

from proto import cloud_pb2_grpc
from proto.message import KeyOutcome, Message, Place, Push, outcomes_from_reply
from store.cursors import Cursors
from store.inbox import Appended
from store.states import KeyReceipt
from tests.parts.fleet import Fleet, Node
from tests.parts.kept import Kept, open_kept
from tests.parts.process import until
from tests.parts.redis import RedisServer
from tests.parts.views import metric

WAIT_S = 15.0
_START_S = 45.0
_CALL_S = 5.0


@dataclass(frozen=True)
class Sent:
    """A durable push to one key, that was appended."""

    push: Push
    key: str

    @property
    def place(self) -> Place:
        return self.push.places[self.key]


class DurableNode:
    """See the module.  A context manager."""

    def __init__(self, home: Path, settings: Mapping[str, str], **kept: Any) -> None:
        self.redis = RedisServer(home / "redis", fsync="always")
        self._fleet = Fleet(home, "amqp://127.0.0.1:1//", self.redis.url, settings=settings)
        self._kept_settings = kept
        self._count = 0
        self.node: Node
        self.kept: Kept

    def __enter__(self) -> Self:
        try:
            self.redis.start()
            self.kept = open_kept(self.redis.url, store_namespace=self._fleet.namespace, **self._kept_settings)
            self.node = self._fleet.start_node(wait=False)
            self.until_leased()
            self._channel = grpc.insecure_channel(self.node.grpc)
            self._stub = cloud_pb2_grpc.CloudStub(self._channel)  # type: ignore[no-untyped-call]
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()
        log = self.node.process.log.read_text(encoding="utf-8")
        self._end()
        assert "Traceback" not in log, log[-4000:]

    def _end(self) -> None:
        self._fleet.kill()
        self.redis.kill()

    def until_leased(self) -> None:
        """Wait until the node says that its lease runs."""
        self.node.process.until(self._has_lease, _START_S, "a lease")

    def _has_lease(self) -> bool:
        try:
            return bool(requests.get(f"{self.node.url}/health/ready", timeout=2).json()["checks"]["lease"])
        except requests.RequestException:
            return False

    def append(self, key: str, message: Any, *, recorded: bool = False, ttl_ms: int = 3_600_000) -> Sent:
        """Accept one durable push, and no more."""
        self._count += 1
        push_id, body = f"p{self._count}", orjson.dumps(message)
        it: Appended = self.kept.append(key, push_id, ttl_ms, body=body)
        push = Push(
            push_id,
            (key,),
            Message(9, body),
            accepted_ms=it.accepted_ms,
            expires_ms=it.expires_ms,
            durable=True,
            places={key: it.place},
            recorded=recorded,
        )
        if recorded:
            assert self.kept.create(push) == 1
            assert self.kept.receipts.dispatch(push, it.accepted_ms).go == (key,)
        return Sent(push, key)

    def hint(self, it: Sent) -> KeyOutcome:
        """Send it to the node, as a worker does."""
        reply = self._stub.PushMsg(it.push.to_request([it.key]), timeout=_CALL_S)
        return outcomes_from_reply([it.key], reply)[it.key]

    def push(self, key: str, message: Any, **how: Any) -> Sent:
        """Accept one and send it."""
        it = self.append(key, message, **how)
        self.hint(it)
        return it

    def metric(self, name: str, **labels: str) -> int:
        """One number of the node."""
        return int(metric(self.node.url, name, **labels))

    def cursor(self, session_key: str, key: str) -> Place | None:
        """How far the store knows *session_key* to have acked *key*."""
        (answer,) = self.kept.run(lambda batch: Cursors(self.kept.settings).ask(batch, session_key, [key]))
        return Cursors.read([key], answer).get(key)

    def until_acked(self, session_key: str, key: str, place: Place) -> None:
        """Wait until it knows that."""
        until(lambda: self.cursor(session_key, key) == place, WAIT_S, f"{place} acked")

    def receipt(self, it: Sent) -> KeyReceipt:
        """What its receipt says."""
        return self.kept.receipt(it.push.push_id).keys[it.key]
