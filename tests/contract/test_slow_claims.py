"""A holder of a request_id that is slow while another goes on with its request: on real servers, each message once."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import pytest

from app.metrics import Metrics
from app.promise import Promises
from app.records import Records
from app.waiting import Waiters
from proto.message import Push
from proto.queues import Priority
from store.batch import Batch
from store.requests import ClaimKind
from tests.parts.kept import Kept, open_kept

pytestmark = pytest.mark.services

_TAKEOVER_MS = 100
_WAIT_S = 10.0


@pytest.fixture(params=["redis", "valkey"])
def kept(request: pytest.FixtureRequest) -> Kept:
    return open_kept(request.getfixturevalue(request.param), takeover_s=_TAKEOVER_MS / 1000)


def test_a_holder_that_appends_after_another_took_over_finds_the_others_message(kept: Kept) -> None:
    holder = kept.requests.claim("r1", "d", "p1")
    kept.wait_ms(kept.now_ms() + _TAKEOVER_MS)
    taker = kept.requests.claim("r1", "d", "p2")
    assert (taker.kind, taker.push_id, taker.again) == (ClaimKind.MINE, "p1", True)
    place = kept.append("a", taker.push_id, again=True).place
    kept.append("a", "p9")
    assert kept.append("a", holder.push_id, alone_until_ms=holder.alone_until_ms).place == place


def test_a_holder_that_nobody_can_have_overtaken_looks_for_nothing(kept: Kept) -> None:
    holder = kept.requests.claim("r1", "d", "p1")
    assert kept.append("a", "p1", alone_until_ms=holder.alone_until_ms + 60_000).place.offset == 1
    assert kept.append("a", "p1", alone_until_ms=holder.alone_until_ms + 60_000).place.offset == 2


@dataclass
class _Slow:
    """Publishes into a list; the first batch that the thread *slow* begins takes until *gone_on*."""

    begin: Callable[[], Batch]
    gone_on: threading.Event = field(default_factory=threading.Event)
    claimed: threading.Event = field(default_factory=threading.Event)
    slow: threading.Thread | None = None
    published: list[Push] = field(default_factory=list)

    def batch(self) -> Batch:
        if threading.current_thread() is self.slow and not self.claimed.is_set():
            self.claimed.set()  # it has its claim, and has written nothing
            assert self.gone_on.wait(_WAIT_S)
        return self.begin()

    def check(self, priority: Priority) -> None:  # noqa: ARG002 - nothing is known to be away
        return

    def accept_all(self, pushes: Sequence[Push], delays_s: Sequence[int]) -> list[None]:  # noqa: ARG002 - none is delayed
        self.published += pushes
        return [None] * len(pushes)


def test_a_call_that_is_slow_between_its_claim_and_its_write_doubles_nothing(kept: Kept) -> None:
    slow = _Slow(partial(Batch, kept.client))
    promises = Promises(
        cast(Any, slow),
        Records(slow.batch, kept.inbox, kept.receipts, kept.requests, kept.pending),
        Waiters(4, threading.Event()),
        now_ms=kept.clock.now_ms,
        broker_delays=True,
        claim_deadline_s=_WAIT_S,
        metrics=Metrics(),
    )
    told: dict[str, str] = {}

    def call(name: str) -> None:
        told[name] = promises.accept(kept.push(name, "a", request_id="r1"), digest="d")

    slow.slow = threading.Thread(target=call, args=("first",))
    slow.slow.start()
    assert slow.claimed.wait(_WAIT_S)
    call("retry")
    slow.gone_on.set()
    slow.slow.join(_WAIT_S)
    assert told == {"first": "first", "retry": "first"}
    (message,) = kept.inbox.read({"a": 0}, 10)["a"].messages
    assert message.push_id == "first"
    assert [push.places["a"].offset for push in slow.published] == [1, 1]
