"""Pushes to the cloud nodes, over links that all threads of a worker share.

Refuses to decide what to send and whether to try again.  Every call ends within the deadline, and every push of it has
an answer: outcomes, or one of our errors.

Isolation.  Each node has links of its own, with bounds of their own, and a deadline that it lets pass makes it suspect
(tasks/link_doubts.py).  A node whose oldest batch is unanswered for longer than ``_SLOW_S`` is slow, and slow nodes
together may hold half of the worker's threads: a call that comes later has NodeBusy for such a node at once.  So a node
that is slow, hung or dead never holds up pushes to others, and costs at most its deadline where it is found out.

Urgent pushes have a stream of their own to each node, which is told so (``proto/cloud.proto``): they neither wait in a
window behind others nor, on the node, for its hub to get to those.

A node that has no stream for us, as those of the original im-cloud, is called once for each push.

Interleavings, besides those of the links (tasks/link.py):

1. *A node is pushed out of the table, or all are closed, while calls wait for it.*  Its links fail what they have, and
   its channel ends what is under way, so those calls end as unreachable.
2. *Several calls wait for a node that hangs.*  The first whose deadline is over ends the stream; the others' pushes
   fail then, somewhat before their own deadlines.  What they were told is no answer of the node's, so it stays suspect.
3. *Calls find at the same time that slow nodes hold half of the threads less one.*  They all wait, and see that they
   are too many within ``_SLOW_S``.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc

from proto import cloud_pb2, cloud_pb2_grpc
from proto.errors import NodeBusy, NodeError, NodeUnreachable
from tasks import turns
from tasks.dispatch import Plan, address_of
from tasks.link import Link
from tasks.link_calls import Calls, Singly
from tasks.link_doubts import Doubts, Shares
from tasks.link_parcel import Answer, Chunk, Failure, Item, Parcel, Waiting
from tasks.link_wire import open_wire

_MOST_NODES = 1024
_SLOW_S = 0.25
_URGENT = ("urgent", "1")
_CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.enable_retries", 0),  # retrying is tasks/retry.py's
)
_SUSPECT = Failure(NodeUnreachable, "did not answer a moment ago")
_CROWDED = Failure(NodeBusy, "is slow, and others wait for it already")


@dataclass(frozen=True, slots=True)
class _Peer:
    """The connection to one address."""

    channel: Any
    links: Mapping[bool, Link]  # by urgency

    def slow(self) -> bool:
        return any(link.age_s() > _SLOW_S for link in self.links.values())

    def close(self) -> None:
        for link in self.links.values():
            link.close()
        self.channel.close()


@dataclass(frozen=True, slots=True)
class _Sent:
    """What one call of push_all sent to one node."""

    parcel: Parcel
    link: Link
    chunks: Sequence[Chunk]


class Nodes:
    """Calls nodes by the name of their incarnation; *threads* of a worker share it."""

    def __init__(
        self, *, deadline_s: float, token: str | None, threads: int = 8, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._deadline_s = deadline_s
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._lock = threading.Lock()
        self._peers: OrderedDict[str, _Peer] = OrderedDict()
        self._closed = False
        self._doubts = Doubts(deadline_s, clock)
        self._shares = Shares(threads)
        self._calls = Calls(self._stub_call, self._doubts, deadline_s=deadline_s, metadata=self._metadata)

    def push_all(self, sends: Mapping[str, Sequence[Item]], *, urgent: bool = False) -> dict[str, list[Answer]]:
        """Send to each node its pushes; gives an answer for each of them, in their order.

        Blocks until all nodes have answered, for the deadline at most.
        """
        until = time.monotonic() + self._deadline_s
        waiting = Waiting()
        parcels = {node: Parcel(node, items) for node, items in sends.items()}
        sent = [it for parcel in parcels.values() if (it := self._send(parcel, urgent, waiting)) is not None]
        waiting.one_less()
        on_way = {it.parcel.node for it in sent}
        singly = self._singly((parcel for node, parcel in parcels.items() if node not in on_way), until)
        if sent:
            with turns.away():  # here, not around the whole call: to make and to read its requests is to compute
                self._wait(waiting, {address_of(node) for node in on_way}, until)
            for it in sent:
                self._read(it)
            singly += self._singly((it.parcel for it in sent), until)
        if singly:
            with turns.away():
                for calls in singly:
                    calls.finish()
        return {node: parcel.answers for node, parcel in parcels.items()}  # type: ignore[misc]

    def disconnect(self, plan: Plan) -> dict[str, int | NodeError]:
        """End the sessions of the plan's keys; gives the number ended by each node."""
        replies = self._calls.each(
            "Disconnect", {node: cloud_pb2.DisconnectReq(keys=keys) for node, keys in plan.sends.items()}
        )
        return {node: reply if isinstance(reply, NodeError) else int(reply.sessions) for node, reply in replies.items()}

    def close(self) -> None:
        """Close all links and channels; calls under way and later ones end as unreachable."""
        with self._lock:
            self._closed = True
            peers = list(self._peers.values())
            self._peers.clear()
        for peer in peers:
            peer.close()

    def _send(self, parcel: Parcel, urgent: bool, waiting: Waiting) -> _Sent | None:
        """Hand a parcel to its link; None when nothing is on its way: it has failed, or the node has no stream."""
        address = address_of(parcel.node)
        link = self._peer(address).links[urgent]
        if link.unserved:
            return None
        if not self._doubts.may_ask(address):
            parcel.fail(_SUSPECT)
        elif self._slow(address) and self._shares.full(self._slow):
            parcel.fail(_CROWDED)
        elif chunks := parcel.chunks(waiting):
            waiting.more(len(chunks))
            link.hand_over(chunks)
            return _Sent(parcel, link, chunks)
        return None

    def _wait(self, waiting: Waiting, addresses: Collection[str], until: float) -> None:
        """Wait until all is settled, for as long as time and the other calls allow."""
        with self._waits_for(addresses) as call:
            while not waiting.wait(min(_SLOW_S, until - time.monotonic())):
                if time.monotonic() >= until:
                    return
                if any(map(self._slow, addresses)) and self._shares.over(call, self._slow):
                    return

    @contextmanager
    def _waits_for(self, addresses: Collection[str]) -> Iterator[object]:
        call = object()
        self._shares.enter(call, addresses)
        try:
            yield call
        finally:
            self._shares.leave(call)

    def _read(self, sent: _Sent) -> None:
        """Read what became of one parcel; what is not settled is given up."""
        address = address_of(sent.parcel.node)
        late = told = False
        for chunk in sent.chunks:
            if chunk.result is None and (failure := sent.link.give_up(chunk, self._deadline_s / 2)) is not None:
                late = late or failure.kind is NodeUnreachable
                chunk.result = chunk.result or failure
            told = sent.parcel.read(chunk) or told
        if late:
            self._doubts.late(address)
        elif told:
            self._doubts.told(address)

    def _singly(self, parcels: Iterable[Parcel], until: float) -> list[Singly]:
        """Begin to call for each push that no stream took."""
        unserved = [parcel for parcel in parcels if None in parcel.answers]
        return [Singly(self._calls, parcel, lambda: until - time.monotonic()) for parcel in unserved]

    def _slow(self, address: str) -> bool:
        peer = self._peers.get(address)
        return peer is not None and peer.slow()

    def _stub_call(self, address: str, method: str) -> Any:
        return getattr(cloud_pb2_grpc.CloudStub(self._peer(address).channel), method)  # type: ignore[no-untyped-call]

    def _peer(self, address: str) -> _Peer:
        with self._lock:
            peer = self._peers.get(address)
            if peer is None:
                peer = self._new_peer(address)
                self._peers[address] = peer
            self._peers.move_to_end(address)
            unwanted = None
            if self._closed or len(self._peers) > _MOST_NODES:
                unwanted = self._peers.popitem(last=self._closed)[1]
        if unwanted is not None:
            unwanted.close()
        return peer

    def _new_peer(self, address: str) -> _Peer:
        channel = grpc.insecure_channel(address, options=_CHANNEL_OPTIONS)
        metadata = {False: self._metadata, True: (*self._metadata, _URGENT)}
        links = {urgent: Link(partial(open_wire, channel, its)) for urgent, its in metadata.items()}
        return _Peer(channel, links)
