"""Who is online, and which nodes there are.  Reads the store only; StoreUnavailable becomes 503."""

from collections.abc import Sequence
from typing import Protocol

from flask import Response, request
from pydantic import BaseModel, Field

from app.answers import answer
from app.errors import NoNode
from app.routes import Answer, Parameter, Route
from proto import keys as key_names
from proto.errors import FieldProblem, InvalidPush
from store.registry import NodeInfo

_TAG = "presence"
MAX_ROOMS = 1000
DEFAULT_ROOMS = 10
_MAX_KEYS = 1000


class Counts(Protocol):
    """What is asked of the directory."""

    def counts(self, keys: Sequence[str]) -> dict[str, int]:
        """Count the sessions of each key."""

    def top_rooms(self, limit: int) -> list[tuple[str, int]]:
        """List the largest rooms."""


class Nodes(Protocol):
    """What is asked of the registry."""

    def live(self) -> list[NodeInfo]:
        """List the live nodes."""


class Online(BaseModel):
    """Totals."""

    sessions: int
    nodes: int


class RoomCount(BaseModel):
    """Sessions in one room."""

    room: str
    sessions: int


class Rooms(BaseModel):
    """The largest rooms, largest first."""

    rooms: list[RoomCount]


class Keys(BaseModel):
    """Sessions by key; 0 for a key that nobody answers to."""

    keys: dict[str, int]


class Node(BaseModel):
    """One node incarnation; *fresh*: its last push to itself came back in time."""

    node: str
    grpc: str
    url: str
    sessions: int
    draining: bool
    probe_age_ms: int | None
    started_ms: int
    fresh: bool


class NodeList(BaseModel):
    """The live nodes, by name."""

    nodes: list[Node]


class Backoff(BaseModel):
    """How a client waits before it connects again: min × factor^n up to max, each ± jitter."""

    min_ms: int = 500
    max_ms: int = 10_000
    factor: float = 2.0
    jitter: float = Field(default=0.5, description="Share of the wait that is random.")


class BestNode(BaseModel):
    """Where the next browser should connect."""

    node: str
    url: str
    sessions: int
    backoff: Backoff


class Presence:
    """The endpoints."""

    def __init__(self, directory: Counts, registry: Nodes, *, probe_fresh_s: float) -> None:
        self._directory = directory
        self._registry = registry
        self._fresh_ms = probe_fresh_s * 1000

    def online(self) -> Response:
        """Give the totals."""
        return answer(self.totals())

    def totals(self) -> Online:
        """Add up what the live nodes hold."""
        nodes = self._registry.live()
        return Online(sessions=sum(node.sessions for node in nodes), nodes=len(nodes))

    def rooms(self) -> Response:
        """Give the largest rooms."""
        top = self.top(limit_asked(request.args.get("limit"), DEFAULT_ROOMS))
        return answer(Rooms(rooms=[RoomCount(room=room, sessions=count) for room, count in top]))

    def top(self, limit: int) -> list[tuple[str, int]]:
        """List the largest rooms with their counts."""
        return self._directory.top_rooms(limit)

    def room(self, room: str) -> Response:
        """Count one room."""
        return answer(RoomCount(room=room, sessions=self.room_counts([room])[room]))

    def room_counts(self, rooms: Sequence[str]) -> dict[str, int]:
        """Count each of *rooms*; raise InvalidPush for a name that no room can have."""
        flaws = [FieldProblem("room", flaw) for room in rooms if (flaw := key_names.room_flaw(room)) is not None]
        if flaws:
            raise InvalidPush(flaws)
        counts = self._directory.counts([key_names.room_key(room) for room in rooms])
        return {room: counts.get(key_names.room_key(room), 0) for room in rooms}

    def keys(self) -> Response:
        """Count each key asked for."""
        keys = list(dict.fromkeys(request.args.getlist("key")))
        if not 1 <= len(keys) <= _MAX_KEYS:
            raise InvalidPush([FieldProblem("key", f"ask for 1 to {_MAX_KEYS} keys, as key=a&key=b")])
        flaws = [
            FieldProblem(f"key[{place}]", flaw)
            for place, key in enumerate(keys)
            if (flaw := key_names.flaw(key)) is not None
        ]
        if flaws:
            raise InvalidPush(flaws)
        counts = self._directory.counts(keys)
        return answer(Keys(keys={key: counts.get(key, 0) for key in keys}))

    def nodes(self) -> Response:
        """List the nodes."""
        return answer(NodeList(nodes=[self._shown(node) for node in self._registry.live()]))

    def best(self) -> Response:
        """Name the node for the next browser; NoNode (503) when none is fit.

        When no proof is fresh it is the workers or the broker that are behind, and no node's fault: a browser that
        connects all the same gets what is stored for it, and the rest when they have caught up.
        """
        proven = [node for node in self._registry.live() if not node.draining and node.probe_age_ms is not None]
        fit = [node for node in proven if self._fresh(node)] or proven
        if not fit:
            raise NoNode("No node is live, not draining, and proven to deliver.")
        least = min(fit, key=lambda node: (node.sessions, node.node))
        return answer(BestNode(node=least.node, url=least.url, sessions=least.sessions, backoff=Backoff()))

    def instances(self) -> list[Node]:
        """List the nodes, for im-cloud's route."""
        return [self._shown(node) for node in self._registry.live()]

    def _fresh(self, node: NodeInfo) -> bool:
        return node.probe_age_ms is not None and node.probe_age_ms <= self._fresh_ms

    def _shown(self, node: NodeInfo) -> Node:
        return Node(
            node=node.node,
            grpc=node.grpc,
            url=node.url,
            sessions=node.sessions,
            draining=node.draining,
            probe_age_ms=node.probe_age_ms,
            started_ms=node.started_ms,
            fresh=self._fresh(node),
        )

    def routes(self) -> tuple[Route, ...]:
        """List the endpoints."""
        limit = Parameter(
            "limit",
            "How many rooms.",
            {"type": "integer", "minimum": 1, "maximum": MAX_ROOMS, "default": DEFAULT_ROOMS},
        )
        key = Parameter(
            "key",
            "A key; repeat it for more.",
            {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": _MAX_KEYS},
            required=True,
        )
        plain, checked = (401, 503), (401, 422, 503)
        return (
            Route("GET", "/v1/online", self.online, "Totals", _TAG, {200: Answer("Totals.", Online)}, plain),
            Route(
                "GET",
                "/v1/online/rooms",
                self.rooms,
                "Largest rooms",
                _TAG,
                {200: Answer("Largest first.", Rooms)},
                checked,
                parameters=(limit,),
            ),
            Route(
                "GET",
                "/v1/online/rooms/<text:room>",
                self.room,
                "Sessions in one room",
                _TAG,
                {200: Answer("Its count.", RoomCount)},
                checked,
            ),
            Route(
                "GET",
                "/v1/online/keys",
                self.keys,
                "Sessions by key",
                _TAG,
                {200: Answer("Counts.", Keys)},
                checked,
                parameters=(key,),
            ),
            Route("GET", "/v1/nodes", self.nodes, "Live nodes", _TAG, {200: Answer("By name.", NodeList)}, plain),
            Route(
                "GET",
                "/v1/nodes/best",
                self.best,
                "Where the next browser should connect",
                _TAG,
                {200: Answer("The least loaded node that is fit.", BestNode)},
                plain,
            ),
        )


def limit_asked(text: str | None, default: int) -> int:
    """Read a `limit`; raise InvalidPush naming it."""
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_ROOMS)) and 1 <= int(text) <= MAX_ROOMS):
        raise InvalidPush([FieldProblem("limit", f"must be an integer from 1 to {MAX_ROOMS}")])
    return int(text)
