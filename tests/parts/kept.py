"""Everything that the store keeps of pushes, in a namespace of its own."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis
from pydantic import SecretStr

from proto.message import Message, Push
from store.batch import Batch
from store.clock import StoreClock
from store.connection import connect
from store.inbox import Appended, Inbox
from store.pending import Pending
from store.receipts import Mark, Owner, Receipt, Receipts, State, Step
from store.requests import Requests
from store.settings import StoreSettings

BODY = b'{"text":"\xe4\xbd\xa0\xe5\xa5\xbd, {k:1}"}'
HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Kept:
    """One empty store; each method below is one round trip."""

    client: redis.Redis
    settings: StoreSettings
    clock: StoreClock
    receipts: Receipts
    requests: Requests
    pending: Pending
    inbox: Inbox

    def run(self, *adds: Callable[[Batch], object]) -> list[Any]:
        """Send what *adds* put into one batch."""
        batch = Batch(self.client)
        for add in adds:
            add(batch)
        return batch.run()

    def now_ms(self) -> int:
        """Redis' own time."""
        self.clock.ask(self.client)
        return self.clock.now_ms()

    def wait_ms(self, until_ms: int) -> None:
        """Return when Redis' own clock is past *until_ms*."""
        deadline = time.monotonic() + 10
        while self.now_ms() <= until_ms:  # a round trip each: the wait is rarely longer than a few of them
            assert time.monotonic() < deadline, "the store's clock does not go on"

    def push(self, push_id: str, *keys: str, **changes: Any) -> Push:
        """A durable push of this moment that lives for an hour."""
        now_ms = self.now_ms()
        fields: dict[str, Any] = {"accepted_ms": now_ms, "expires_ms": now_ms + HOUR_MS, "durable": True}
        return Push(push_id, keys, Message(9, BODY), **(fields | {"recorded": True} | changes))

    def create(self, push: Push, state: State = State.ACCEPTED, *, traced: bool = False) -> int:
        """Make its receipt."""
        made: int = self.run(lambda batch: self.receipts.create(batch, push, state, traced=traced))[0]
        return made

    def advance(self, push_id: str, owner: Owner, *steps: Step, mark: Mark | None = None) -> list[int]:
        """Make *steps*."""
        answer: list[int] = self.run(lambda batch: self.receipts.advance(batch, push_id, owner, steps, mark))[0]
        return answer

    def receipt(self, push_id: str) -> Receipt:
        """Read a receipt that is there."""
        receipt = self.receipts.get(push_id)
        assert receipt is not None, f"no receipt of {push_id}"
        return receipt

    def append(self, key: str, push_id: str, ttl_ms: int = HOUR_MS, *, body: bytes = BODY, **doubt: Any) -> Appended:
        """Append one message; *doubt* is Inbox.append's ``again`` or ``alone_until_ms``."""
        message = Message(9, body)
        answer = self.run(lambda batch: self.inbox.append(batch, key, push_id, message, ttl_ms, **doubt))[0]
        return Inbox.appended(answer)

    def remove(self, key: str, push_id: str) -> int:
        """Remove one message; its offset or 0."""
        offset: int = self.run(lambda batch: self.inbox.remove(batch, key, push_id))[0]
        return offset


def open_kept(url: str, *, takeover_s: float = 3.0, **changes: Any) -> Kept:
    """A namespace of its own in the Redis at *url*, with settings *changes*."""
    fields: dict[str, Any] = {"store_namespace": f"t{uuid.uuid4().hex[:12]}", "store_timeout_s": 2.0} | changes
    settings = StoreSettings(redis_url=SecretStr(url), **fields)
    client, clock = connect(settings), StoreClock()
    return Kept(
        client,
        settings,
        clock,
        Receipts(client, settings, clock),
        Requests(client, settings, takeover_s),
        Pending(client, settings),
        Inbox(client, settings, clock),
    )
