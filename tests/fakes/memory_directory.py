"""Directory and registry in memory, with the guarantees of the real ones (one contract suite holds both to them).

Time is an argument, and every single command may be made to fail, before or after it took effect: as with Redis, a put
or a sweep is many commands, and who hears no answer does not know how many were done.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy

from proto import keys as key_names
from proto.errors import StoreUnavailable
from store.directory import Routes
from store.registry import Leases, NodeInfo

Snapshot = tuple[dict[str, int], dict[str, NodeInfo], int | None, dict[str, dict[str, int]], dict[str, set[str]]]


class MemoryStore:
    """What both keep.  *clock_ms* is the store's own clock."""

    def __init__(self, clock_ms: Callable[[], int], *, settle_ms: int = 0) -> None:
        self.clock_ms = clock_ms
        self.settle_ms = settle_ms
        self.half_steps_left: int | None = None
        self._run = 0
        self.lose_everything()

    def lose_everything(self) -> None:
        """Come up empty, as a Redis without persistence does in a restart."""
        self.leases: dict[str, int] = {}
        self.info: dict[str, NodeInfo] = {}
        self.born: int | None = None
        self.holders: dict[str, dict[str, int]] = {}
        self.held: dict[str, set[str]] = {}
        self._run += 1

    def snapshot(self) -> Snapshot:
        """Give what a restart would find if nothing more were written to disk."""
        return deepcopy((self.leases, self.info, self.born, self.holders, self.held))

    def restore(self, snapshot: Snapshot) -> None:
        """Restart with what was on disk: the last writes are lost."""
        self.leases, self.info, self.born, self.holders, self.held = deepcopy(snapshot)
        self._run += 1

    @property
    def run_id(self) -> str:
        """Another one after each restart."""
        return f"run-{self._run}"

    def fail_after(self, half_steps: int) -> None:
        """Let that many halves pass (a command, its answer, the next command, ...), then none, until :meth:`heal`."""
        self.half_steps_left = half_steps

    def heal(self) -> None:
        """Answer again."""
        self.half_steps_left = None

    def command(self, effect: Callable[[], object]) -> None:
        """Do one command, or fail before or after it."""
        self._half_step()
        effect()
        self._half_step()

    def leases_now(self) -> Leases:
        """A moment's view."""
        now = self.clock_ms()
        return Leases(
            live=frozenset(node for node, ends in self.leases.items() if ends > now),
            lapsed=tuple(node for node, ends in self.leases.items() if ends <= now),
            settled=self.born is not None and now - self.born >= self.settle_ms,
        )

    def _half_step(self) -> None:
        if self.half_steps_left is None:
            return
        if self.half_steps_left <= 0:
            raise StoreUnavailable("the test says so")
        self.half_steps_left -= 1


class MemoryRegistry:
    """See store.registry.Registry."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def register(self, info: NodeInfo, ttl_s: float) -> None:
        self._store.command(lambda: self._lease(info, ttl_s))

    def renew(self, info: NodeInfo, ttl_s: float) -> bool:
        alive: list[bool] = []

        def extend() -> None:
            alive.append(info.node in self._store.leases_now().live)
            if alive[0]:
                self._lease(info, ttl_s)

        self._store.command(extend)
        return alive[0]

    def retire(self, node: str) -> None:
        self._store.command(lambda: self._store.leases.update({node: 0}))

    def live(self) -> list[NodeInfo]:
        live = self._now().live
        return sorted((self._store.info[node] for node in live), key=lambda info: info.node)

    def lapsed(self) -> tuple[str, ...]:
        return self._now().lapsed

    def bury(self, node: str) -> bool:
        over: list[bool] = []

        def forget() -> None:
            over.append(node not in self._store.leases_now().live)
            if over[0]:
                self._store.leases.pop(node, None)
                self._store.info.pop(node, None)

        self._store.command(forget)
        return over[0]

    def run_id(self) -> str:
        self._store.command(lambda: None)
        return self._store.run_id

    def unsettle(self) -> None:
        self._store.command(lambda: setattr(self._store, "born", self._store.clock_ms()))

    def _lease(self, info: NodeInfo, ttl_s: float) -> None:
        now = self._store.clock_ms()
        self._store.leases[info.node] = now + int(ttl_s * 1000)
        self._store.info[info.node] = info
        if self._store.born is None:
            self._store.born = now

    def _now(self) -> Leases:
        self._store.command(lambda: None)
        return self._store.leases_now()


class MemoryDirectory:
    """See store.directory.Directory."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def put(self, node: str, counts: Mapping[str, int]) -> None:
        held = self._store.held.setdefault(node, set())
        self._store.command(lambda: held.update(key for key, count in counts.items() if count > 0))
        for key, count in counts.items():
            self._store.command(lambda key=key, count=count: self._set(node, key, count))  # type: ignore[misc]
        self._store.command(lambda: held.difference_update(key for key, count in counts.items() if count <= 0))

    def resolve(self, keys: Sequence[str]) -> Routes:
        holders, leases = self._holders(keys)
        return Routes(
            {key: tuple(sorted(nodes)) for key, nodes in holders.items()}, leases.settled, tuple(sorted(leases.live))
        )

    def counts(self, keys: Sequence[str]) -> dict[str, int]:
        return {key: sum(nodes.values()) for key, nodes in self._holders(keys)[0].items()}

    def top_rooms(self, limit: int) -> list[tuple[str, int]]:
        rooms = [key for key in self._store.holders if key_names.room_of(key) is not None]
        best = sorted(self.counts(rooms).items(), key=lambda item: (-item[1], item[0]))[:limit]
        return [(key.removeprefix(key_names.ROOM_PREFIX), count) for key, count in best if count]

    def sweep(self, node: str) -> Iterator[int]:
        held = sorted(self._store.held.get(node, ()))
        for start in range(0, len(held), 500):
            batch = held[start : start + 500]
            for key in batch:
                self._store.command(lambda key=key: self._set(node, key, 0))  # type: ignore[misc]
            yield len(batch)
        self._store.command(lambda: self._store.held.pop(node, None))

    def _set(self, node: str, key: str, count: int) -> None:
        nodes = self._store.holders.setdefault(key, {})
        if count > 0:
            nodes[node] = count
        else:
            nodes.pop(node, None)

    def _holders(self, keys: Sequence[str]) -> tuple[dict[str, dict[str, int]], Leases]:
        self._store.command(lambda: None)
        leases = self._store.leases_now()
        holders = {
            key: {node: count for node, count in self._store.holders.get(key, {}).items() if node in leases.live}
            for key in keys
        }
        return holders, leases
