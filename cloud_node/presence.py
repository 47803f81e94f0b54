"""Presence: tells the store who is here, and keeps telling it until it knows.

Owns this node's lease and its fields in the directory.  Refuses to know why a count changed.

What the hub noted is in noted.py; one native thread of this module writes it, again and again until it went through.

Interleavings, beside those of noted.py:

1. *The lease lapses* (a long pause, a store that was away, restarted or emptied).  A lapsed incarnation is never
   revived (store/registry.py): the node takes a new one, writes all its keys under that, and only then starts the
   lease, so nobody sees it alive with half its keys.  A reader that saw the old one dead may sweep it at any time.
2. *The answer to a beginning lease is lost.*  It may run, and it may be over and half swept by the time this node tries
   again: so it tries again as 1. says.
3. *The store restarted with its data but for the last second* (append-only file): the lease may still run while late
   writes are gone.  The store's run id tells; the node then goes the way of 1.
4. *The store was away for so long that leases ran out, of this node or of others* (a pause, a partition).  A push that
   is looked up before they are all back would find nobody.  So whoever comes back first says that the store is not
   settled, before it registers and before it sweeps: the workers then try again instead of ending pushes as offline.
"""

import threading
import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Protocol

import structlog

from cloud_node.noted import Noted
from proto.errors import StoreUnavailable
from store.directory import Directory
from store.registry import NodeInfo

_BATCH = 500
_RETRY_S = 0.5
_STOP_S = 5.0
_NEWS_S = 0.5  # between two renewals, however much is new
_NEVER = float("inf")
_MOST_GONE = 100_000
_GAP_S = 0.005  # between two writes: a storm of connects is written in batches, a lone one at once

log = structlog.get_logger()


class Leases(Protocol):
    """What presence needs of the registry; see store.registry.Registry."""

    def register(self, info: NodeInfo, ttl_s: float) -> None: ...  # noqa: D102
    def renew(self, info: NodeInfo, ttl_s: float) -> bool: ...  # noqa: D102
    def retire(self, node: str) -> None: ...  # noqa: D102
    def lapsed(self) -> tuple[str, ...]: ...  # noqa: D102
    def bury(self, node: str) -> bool: ...  # noqa: D102
    def run_id(self) -> str: ...  # noqa: D102
    def unsettle(self) -> None: ...  # noqa: D102


class Presence:
    """One node's presence in the store.

    *describe(incarnation)* gives what the node says of itself.  It and *on_registered* are called on presence's own
    thread.
    """

    def __init__(
        self,
        leases: Leases,
        directory: Directory,
        describe: Callable[[str], NodeInfo],
        name: Callable[[int], str],
        *,
        lease_ttl_s: float,
        renew_every_s: float,
        on_registered: Callable[[], object] = lambda: None,
    ) -> None:
        self._leases = leases
        self._directory = directory
        self._describe = describe
        self._name = name
        self._lease_ttl_s = lease_ttl_s
        self._renew_every_s = renew_every_s
        self._on_registered = on_registered

        self._noted = Noted()
        self.note = self._noted.note
        self.when_known = self._noted.when_known
        self._news_at = _NEVER
        self._stop = threading.Event()
        self._renew_at = 0.0

        self._generation = 0
        self._former: list[str] = []  # incarnations of this node that are not retired yet
        self.told: NodeInfo | None = None  # what the store heard last of this node
        self._wrote_at = 0.0
        self._leased_at = 0.0
        self._leased_until = 0.0
        self._registered = False
        self._run_id: str | None = None
        self._was_away = False
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    @property
    def node(self) -> str:
        """Name of the present incarnation."""
        return self._name(self._generation)

    @property
    def leased(self) -> bool:
        """Tell whether, as far as this node knows, its lease runs."""
        return self._registered and time.monotonic() < self._leased_until

    def renew_soon(self, within_s: float = _NEWS_S) -> None:
        """Say something new about the node *within_s* after the last renewal, or now, not at the next one's time."""
        with self._noted.changed:
            self._news_at = min(self._news_at, self._leased_at + within_s)
            self._noted.changed.notify()

    def start(self) -> None:
        """Begin; the first thing is to register."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is left, end the lease, and return; within a bound also when the store is away."""
        self._stop.set()
        with self._noted.changed:
            self._noted.changed.notify()
        self._thread.join(_STOP_S)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._step()
            except StoreUnavailable as error:
                self._was_away = True
                log.warning("the store is away; trying again", reason=str(error))
                self._bound_memory()
                self._stop.wait(_RETRY_S)
            except Exception as error:
                # Without this thread the node would be deaf until its restart.
                log.exception("presence failed; trying again", reason=repr(error))
                self._stop.wait(_RETRY_S)
        try:
            self._flush()
            self._former.append(self.node)
            self._retire_former()
            self._renew_at = self._news_at = _NEVER  # nothing is due any more that a sweep would have to make way for
            self._sweep((self.node,))
        except StoreUnavailable as error:
            log.warning("left without goodbye: the lease will lapse", node=self.node, reason=str(error))

    def _step(self) -> None:
        if self._was_away and time.monotonic() >= self._leased_until - self._renew_every_s:
            self._leases.unsettle()  # others renew as rarely as this node: their leases may have run out
        if not self._registered:
            self._register()
        elif time.monotonic() >= self._due():
            self._renew_at = 0.0  # until it has gone through it stays due
            self._news_at = _NEVER  # before the node is described: what changes after that is news again
            self._renew()
        self._flush()
        self._noted.wait(self._due, self._stop)

    def _due(self) -> float:
        return min(self._renew_at, self._news_at)

    def _register(self) -> None:
        self._run_id = self._leases.run_id()
        # Not only those that are held: a failed attempt may have written a key that nobody holds any more.
        self._noted.all_again()
        self._write()
        info = self._describe(self.node)
        try:
            self._leases.register(info, self._lease_ttl_s)
        except Exception:
            self._next_incarnation("the beginning of the lease was not answered")
            raise
        self._registered = True
        self._leased(info)
        log.info("registered", node=self.node, keys=len(self._noted))
        self._retire_former()
        self._on_registered()

    def _renew(self) -> None:
        if self._leases.run_id() != self._run_id:
            self._leases.unsettle()
            self._begin_again("the store was restarted")
            return
        info = self._describe(self.node)
        if self._leases.renew(info, self._lease_ttl_s):
            self._leased(info)
            self._retire_former()
            self._sweep(self._leases.lapsed())
        else:
            self._begin_again("the lease had lapsed")

    def _begin_again(self, reason: str) -> None:
        self._registered = False
        self._next_incarnation(reason)
        self._register()

    def _next_incarnation(self, reason: str) -> None:
        self._former.append(self.node)
        self._generation += 1
        log.warning("taking a new incarnation", node=self.node, reason=reason)

    def _retire_former(self) -> None:
        """Have what former incarnations left swept, whoever comes to it, also where the store never heard of them."""
        while self._former:
            self._leases.retire(self._former[-1])
            self._former.pop()

    def _bound_memory(self) -> None:
        """While the store is away, forget which keys nobody holds any more, at the price of a new incarnation."""
        if self._noted.forget_gone(_MOST_GONE):
            self._registered = False
            self._next_incarnation("too many keys came and went while the store was away")

    def _leased(self, info: NodeInfo) -> None:
        self.told = info
        now = self._leased_at = time.monotonic()
        self._renew_at = now + self._renew_every_s
        self._leased_until = now + self._lease_ttl_s
        self._was_away = False

    def _flush(self) -> None:
        """Write what changed, then tell those who waited for it."""
        self._stop.wait(max(0.0, self._wrote_at + _GAP_S - time.monotonic()))
        tickets = self._noted.tickets()  # before the write takes what they wait for
        self._write()
        self._noted.tell(tickets)
        self._wrote_at = time.monotonic()

    def _write(self) -> None:
        todo = self._noted.take()
        try:
            for batch in _batches(list(todo.items())):
                self._directory.put(self.node, batch)
                for key in batch:
                    del todo[key]
        except Exception:
            self._noted.put_back(todo)
            raise

    def _sweep(self, nodes: Iterable[str]) -> None:
        for node in nodes:
            swept = 0
            for size in self._directory.sweep(node):
                swept += size
                if time.monotonic() > self._due():
                    return  # the lease first; the rest of the sweep next time
            self._leases.bury(node)
            log.info("swept what a gone node left", gone=node, keys=swept)


def _batches(items: Iterable[tuple[str, int]]) -> Iterable[dict[str, int]]:
    iterator = iter(items)
    while batch := dict(islice(iterator, _BATCH)):
        yield batch
