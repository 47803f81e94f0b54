"""One attempt at a push: look up, send, look up again what has moved, settle.

The shell around tasks/dispatch.py.  Refuses to decide about retries and to talk to the broker.
"""

import time
from collections.abc import Callable, Iterable, Sequence

from proto.errors import NodeError, StoreUnavailable, UnknownServer
from proto.message import Push
from store.directory import Directory, Routes
from store.registry import Registry
from tasks.dispatch import Attempt, Settlement, find_server, plan
from tasks.nodes import Nodes
from tasks.suspicion import Suspicion

_REMEMBER_S = 60.0  # a node that was alive this lately may be registering again
_NEWS_S = 1.0


class Courier:
    """Carries pushes to nodes; one per worker process, shared by its threads."""

    def __init__(
        self,
        directory: Directory,
        registry: Registry,
        nodes: Nodes,
        suspicion: Suspicion,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._registry = registry
        self._nodes = nodes
        self._ask = suspicion.ask
        self._clock = clock
        self._seen: dict[str, float] = {}

    def attempt(self, push: Push) -> Settlement:
        """Try once to get *push* to everyone it is for.

        Raises StoreUnavailable when the keys cannot be looked up (nothing was sent then), UnknownServer when the
        push names a server that is not alive.
        """
        attempt = Attempt(push.keys, push.done)
        routes = self._routes(push)
        settled = routes.settled
        first = attempt.first(routes.nodes)
        attempt.record(first, self._nodes.push(first, push))
        if push.server is None and (moved := attempt.moved()):
            try:
                again = self._directory.resolve(moved)
            except StoreUnavailable:
                return attempt.settle(settled=False)
            settled = settled and again.settled
            second = attempt.second(again.nodes)
            attempt.record(second, self._nodes.push(second, push))
        return attempt.settle(settled=settled)

    def disconnect(self, keys: Sequence[str]) -> tuple[int, tuple[NodeError, ...]]:
        """End the sessions of *keys*; gives how many ended and which nodes could not be asked."""
        answers = self._nodes.disconnect(plan(keys, self._ask(self._directory.resolve, keys).nodes, {}))
        errors = tuple(answer for answer in answers.values() if isinstance(answer, NodeError))
        return sum(answer for answer in answers.values() if isinstance(answer, int)), errors

    def _routes(self, push: Push) -> Routes:
        if push.server is None:
            routes = self._ask(self._directory.resolve, push.keys)
            self._remember(node for nodes in routes.nodes.values() for node in nodes)
            return routes
        node = find_server(push.server, self._live())
        if node is None:
            lately = find_server(push.server, self._lately_live()) is not None
            raise UnknownServer(push.server, retryable=lately)
        return Routes(dict.fromkeys(push.keys, (node,)))

    def _live(self) -> tuple[str, ...]:
        """Name the live nodes; while the store is down, those that were alive when it last answered.

        So pushes to an explicit server flow without the store, and no caller can make a worker dial an address
        that no node of ours ever announced.
        """
        try:
            live = tuple(info.node for info in self._ask(self._registry.live))
        except StoreUnavailable:
            if not (live := self._lately_live()):
                raise
            return live
        self._remember(live)
        return live

    def _remember(self, live: Iterable[str]) -> None:
        """Note nodes that are alive.  Each node's probe is looked up here too, so an idle worker learns their names."""
        now = self._clock()
        kept = {node: at for node, at in self._seen.items() if now - at < _REMEMBER_S}
        news = dict.fromkeys((node for node in live if now - kept.get(node, -_REMEMBER_S) >= _NEWS_S), now)
        if news or len(kept) < len(self._seen):
            # A new dict each time: other threads read the old one undisturbed.  What one thread's dict lacks of
            # another's, which was made at the same time, the next look-up adds.
            self._seen = kept | news

    def _lately_live(self) -> tuple[str, ...]:
        return tuple(self._seen)
