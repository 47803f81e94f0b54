"""One attempt at the pushes of a task: look up, send, look up again what has moved, settle each.

The shell around tasks/dispatch.py.  All keys of all pushes are looked up at once, and each node has one call a round
for all that is for it.  Refuses to decide about retries and to talk to the broker.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from proto.errors import NodeError, StoreUnavailable, UnknownServer
from proto.message import Fate, Push
from proto.queues import Priority
from store.directory import Directory, Routes
from tasks import metrics
from tasks.dispatch import Attempt, Holders, Plan, Settlement, deal, find_server, gather, plan
from tasks.nodes import Nodes
from tasks.suspicion import Suspicion

_REMEMBER_S = 60.0  # a node that was alive this lately may be registering again
_NEWS_S = 1.0

log = structlog.get_logger()


class Courier:
    """Carries pushes to nodes; one per worker process, shared by its threads."""

    def __init__(
        self,
        directory: Directory,
        nodes: Nodes,
        suspicion: Suspicion,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._nodes = nodes
        self._ask = suspicion.ask
        self._clock = clock
        self._seen: dict[str, float] = {}

    def attempt(self, pushes: Sequence[Push]) -> list[Settlement]:
        """Try once to get *pushes* to everyone they are for; gives for each how that ended.

        Of what cannot be looked up nothing is sent, and all is left.  A push to a server that is not alive has failed,
        or is left where that server was alive a moment ago.
        """
        keys = list(dict.fromkeys([key for push in pushes if push.server is None for key in push.keys]))
        routes = self._look_up(pushes, keys)
        settlements: list[Settlement | None] = [None] * len(pushes)
        going: list[_Going] = []
        for at, push in enumerate(pushes):
            if push.server is not None:
                holders, settled = self._at_server(push, push.server, routes), True
            elif isinstance(routes, StoreUnavailable):
                holders, settled = Settlement.none(push, str(routes), away=True), True
            else:
                holders, settled = routes.nodes, routes.settled
            if isinstance(holders, Settlement):
                settlements[at] = holders
            else:
                going.append(_Going(at, push, holders, settled))
        self._round(going, [one.attempt.first(one.holders) for one in going])
        self._second_round([one for one in going if one.push.server is None])
        for one in going:
            settlements[one.at] = one.attempt.settle(settled=one.settled)
        return [settlement for settlement in settlements if settlement is not None]

    def disconnect(self, keys: Sequence[str]) -> tuple[int, tuple[NodeError, ...]]:
        """End the sessions of *keys*; gives how many ended and which nodes could not be asked."""
        answers = self._nodes.disconnect(plan(keys, self._ask(self._directory.resolve, keys).nodes, {}))
        errors = tuple(answer for answer in answers.values() if isinstance(answer, NodeError))
        return sum(answer for answer in answers.values() if isinstance(answer, int)), errors

    def _look_up(self, pushes: Sequence[Push], keys: Sequence[str]) -> Routes | StoreUnavailable:
        began = self._clock()
        try:
            routes = self._ask(self._directory.resolve, keys)
        except StoreUnavailable as error:
            return error
        self._remember(routes.live)
        metrics.LOOKUP_SECONDS.observe(self._clock() - began, metrics.exemplar(pushes[0].push_id))
        return routes

    def _at_server(self, push: Push, server: str, routes: Routes | StoreUnavailable) -> Holders | Settlement:
        """Say where the push's server is; while the store is down, those are alive that were when it last answered.

        So pushes to an explicit server flow without the store, and no caller can make a worker dial an address
        that no node of ours ever announced.
        """
        live: Sequence[str] = routes.live if isinstance(routes, Routes) else self._lately_live()
        if not live and not isinstance(routes, Routes):
            return Settlement.none(push, str(routes), away=True)
        node = find_server(server, live)
        if node is not None:
            return dict.fromkeys(push.keys, (node,))
        error = UnknownServer(server, retryable=find_server(server, self._lately_live()) is not None)
        log.error("unknown server: not sent", push_id=push.push_id, server=server)
        if error.retryable:
            return Settlement.none(push, str(error))
        return Settlement.all(push, Fate.FAILED, str(error), blame="unknown_server")

    def _round(self, going: Sequence["_Going"], plans: Sequence[Plan]) -> None:
        """Send what *plans* say, all at the same time, and tell the attempts what nodes answered."""
        sends = gather(zip([one.push for one in going], plans, strict=True))
        if not sends:
            return
        began = self._clock()
        urgent = any(one.push.priority is Priority.HIGH for one in going)
        answers = self._nodes.push_all(sends, urgent=urgent)
        metrics.NODES_SECONDS.observe(self._clock() - began, metrics.exemplar(going[0].push.push_id))
        for one, its_plan, its_answers in zip(going, plans, deal(plans, answers), strict=True):
            one.attempt.record(its_plan, its_answers)

    def _second_round(self, going: Sequence["_Going"]) -> None:
        """Look up once more what nodes said they do not hold, and ask the nodes that were not asked yet."""
        moved = [(one, keys) for one in going if (keys := one.attempt.moved())]
        if not moved:
            return
        asked = list(dict.fromkeys([key for _, its in moved for key in its]))
        routes = self._look_up([one.push for one, _ in moved], asked)
        if isinstance(routes, StoreUnavailable):
            for one, _ in moved:
                one.settled = False
            return
        for one, _ in moved:
            one.settled = one.settled and routes.settled
        again = [one for one, _ in moved]
        self._round(again, [one.attempt.second(routes.nodes) for one in again])

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


class _Going:
    """A push under way: the *at*-th of its task, to *holders*."""

    __slots__ = ("at", "attempt", "holders", "push", "settled")

    def __init__(self, at: int, push: Push, holders: Mapping[str, Sequence[str]], settled: bool) -> None:
        self.at = at
        self.push = push
        self.holders = holders
        self.settled = settled
        self.attempt = Attempt(push.keys, push.done)
