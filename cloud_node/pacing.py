"""Paced broadcasts: one message to the sessions of a key, to at most *speed* of them in any second.

The field is goim's.  There a node sends to one of its buckets, then sleeps for as many whole seconds as the bucket has
sessions for each message of the speed: bursts of a bucket, and none of it where buckets are small.  Here a second has
up to 20 evenly spaced slices (more where they would be large), and any so many slices in a row hold *speed* sessions.
A slice is a call on the hub like any other, and the next one is due a step after it has begun: a hub that is behind
makes a broadcast slower, never faster.

Who gets it: the sessions that answer to the key when it begins, each if it is still here, and accepts the op, when its
turn comes.  Who connects later does not.  It is an ephemeral push: at most once for each session.

Bounds: *most* broadcasts under way (one more is answered BUSY, and a worker asks again later), each with one message
and one list of sessions, for a day at most.

Endings, each counted with the sessions that did not get it: *done*; *expired*; *stopped*, by the node; *failed*.
While a node drains, broadcasts go on with the sessions that are left.

Interleavings, all on the hub's thread:

1. *A task is done twice*, the second time while the broadcast is under way: its push_id is known here: DUPLICATE.
2. *A session ends between two slices*: it is skipped, and costs the slice no place; a new one of the same key is new.
3. *A slice ends sessions*, as they are too slow: the list is the broadcast's own, the hub's may change meanwhile.
4. *The node stops while a slice is asked for*: it finds the broadcast ended, and does nothing.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

import structlog

from cloud_node import metrics
from cloud_node.acks import Acks
from cloud_node.delivery import Delivery, Sender
from cloud_node.handing import push_event
from cloud_node.hub import Hub, Session
from cloud_node.wire.recipients import Recipient, Recipients
from proto.message import KeyOutcome, Outcome

_FEW, _MANY = 20, 200  # slices a second
_LARGE = 250  # sessions: of more a slice would hold the hub for long
_LONGEST_MS = 86_400_000

_BUSY, _DUPLICATE, _SLOW = (KeyOutcome(each) for each in (Outcome.BUSY, Outcome.DUPLICATE, Outcome.SLOW))

log = structlog.get_logger()


class End(StrEnum):
    """How a broadcast ended."""

    DONE = "done"
    EXPIRED = "expired"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(slots=True, eq=False)
class _Paced:
    """A broadcast that is under way."""

    asked: Delivery
    key: str
    left: deque[Session]  # whose turn has not come
    slices: int  # a second
    until_ms: int
    event: object
    begun: int = 0  # slices
    due: float = 0.0  # when the next may begin
    ack_id: int | None = None
    handed: int = 0
    missed: int = 0  # sessions whose turn has come in vain: they were gone, or too slow
    over: bool = field(default=False)

    @property
    def size(self) -> int:
        """Give how many sessions the next slice has; any *slices* in a row have *speed*."""
        speed, turn = self.asked.speed, self.begun % self.slices
        return (turn + 1) * speed // self.slices - turn * speed // self.slices


class Pacing:
    """See the module.  *defer* runs a function on the hub's thread after so many seconds; *clock* is monotonic."""

    def __init__(
        self,
        hub: Hub,
        sender: Sender,
        acks: Acks,
        now_ms: Callable[[], int],
        defer: Callable[[float, Callable[[], object]], object],
        *,
        most: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hub = hub
        self._sender = sender
        self._acks = acks
        self._now_ms = now_ms
        self._defer = defer
        self._most = most
        self._clock = clock
        self._under_way: dict[_Paced, None] = {}
        self.draining = False  # sessions are being closed because the node stops

    def __len__(self) -> int:
        return len(self._under_way)

    def begin(self, it: Delivery, key: str) -> KeyOutcome:
        """Hand the message to the first sessions, and see to the others.

        DELIVERED: all have it.  QUEUED: so many have it, the others follow.  BUSY: nobody has it, nor will.
        """
        if it.push_id and any(each.asked.push_id == it.push_id for each in self._under_way):
            return _DUPLICATE
        if len(self._under_way) >= self._most:
            return _BUSY
        paced = _Paced(
            it,
            key,
            deque(session for session in self._hub.holders(key) if session.takes(it.message.op)),
            slices=min(it.speed, max(_FEW, min(_MANY, it.speed // _LARGE))),
            until_ms=it.expires_ms or self._now_ms() + _LONGEST_MS,
            event=push_event(it.message, key, it.push_id),
        )
        self._slice(paced)
        if paced.left:
            self._under_way[paced] = None
            metrics.PACED.set(len(self._under_way))
            self._wait(paced)
            return KeyOutcome(Outcome.QUEUED, paced.handed)
        return KeyOutcome(Outcome.DELIVERED, paced.handed) if paced.handed else _SLOW

    def stop(self) -> None:
        """End what is under way: the node stops."""
        for it in list(self._under_way):
            self._end(it, End.STOPPED)

    def _step(self, it: _Paced) -> None:
        if it.over:
            return
        if self._clock() < it.due:
            self._wait(it)
            return
        if self._now_ms() >= it.until_ms:
            self._end(it, End.EXPIRED)
            return
        try:
            metrics.HANDED.inc(self._slice(it))
        except Exception as error:
            # Once more would fail once more, for the sessions that come next.
            log.exception("a slice of a paced broadcast failed", push_id=it.asked.push_id, reason=repr(error))
            self._end(it, End.FAILED)
            return
        if it.left:
            self._wait(it)
        else:
            self._end(it, End.STOPPED if it.missed and self.draining else End.DONE)

    def _wait(self, it: _Paced) -> None:
        self._defer(max(0.0, it.due - self._clock()), partial(self._step, it))

    def _slice(self, it: _Paced) -> int:
        """Hand the message to the next few; gives how many took it."""
        at_s = self._clock()
        it.due = at_s + 1 / it.slices
        takers = self._next_takers(it)
        if it.asked.recorded and it.begun % it.slices == 0:  # anew each second: the oldest numbers make room for others
            it.ack_id = self._acks.new_id((it.key,), it.asked.push_id, None)
        it.begun += 1
        if not takers.connections:
            return 0
        it.missed += len(takers)  # until they have taken it
        handed = self._sender.emit(takers, "push", it.event, it.ack_id)
        it.missed -= handed
        it.handed += handed
        if it.asked.recorded and handed:
            self._acks.handed(it.key, it.asked.push_id, None, handed)
        log.debug("handed to a slice", push_id=it.asked.push_id, sessions=handed, at_s=at_s)
        return handed

    def _next_takers(self, it: _Paced) -> Recipients:
        """Take those whose turn it is, past those who are gone or do not accept the op."""
        size, op = it.size, it.asked.message.op
        takers: list[Recipient] = []
        while it.left and len(takers) < size:
            session = it.left.popleft()
            if self._hub.get(session.sid) is not session:
                it.missed += 1
            elif session.takes(op):
                takers.append(session.connection)
        return Recipients(takers)

    def _end(self, it: _Paced, end: End) -> None:
        it.over = True
        del self._under_way[it]
        metrics.PACED.set(len(self._under_way))
        metrics.PACED_ENDS.labels(end).inc()
        metrics.PACED_UNREACHED.labels(end).inc(len(it.left) + it.missed)
        log.info(
            "a paced broadcast is over",
            push_id=it.asked.push_id,
            end=end.value,
            sessions=it.handed,
            left=len(it.left),
            missed=it.missed,
        )
