"""One node and one store of inboxes, and clients of the key ``alice``; answers come when a test says so."""

from cloud_node.following import Following
from proto.message import Place
from tests.fakes.durable_client import Client
from tests.fakes.durable_node import DurableNode
from tests.fakes.inbox_store import Appended, InboxStore
from tests.fakes.noting_ledger import NotingLedger


class World:
    """One node and its store; sessions of the key ``alice``, unless it is said."""

    def __init__(self, *, most: int = 1000, tail_bytes: int = 1 << 24) -> None:
        self.store = InboxStore(most)
        self.ledger = NotingLedger()
        self.node = DurableNode(self.store, self.ledger, tail_bytes=tail_bytes)
        self.clients: list[Client] = []

    def accept(self, count: int = 1, key: str = "alice", op: int = 1, body: bytes = b"1") -> list[Appended]:
        return [self.store.append(key, op, body, 60_000) for _ in range(count)]

    def connect(self, *, resume: Place | None = None, rooms: tuple[str, ...] = (), settles: bool = True) -> Client:
        client = Client(self.store, "alice", None, keeps=True)
        if resume is not None:
            client.cursors["alice"] = resume
        self.clients.append(client)
        client.connects(self.node, f"s{len(self.clients)}", rooms)
        if settles:
            client.opens()
            self.node.settles()
        return client

    @property
    def following(self) -> Following:
        return self.node.durable._followings["alice"]

    def settles(self) -> None:
        """Until nothing moves; then everybody has what it is owed."""
        self.node.settles()
        for client in self.clients:
            client.judges()
            if client.lives:
                client.reads(1_000_000)
                client.check()
                for it in client.subscriptions.values():
                    it.check()


def offsets(client: Client, key: str = "alice") -> list[int]:
    """List what was written to its connection."""
    assert client.session is not None
    client.judges()
    return [
        data["offset"] for event, data, _ in client.session.connection.events if event == "push" and data["key"] == key
    ]


def gaps(client: Client) -> list[tuple[str, Place]]:
    """List the gaps that it was told of."""
    assert client.session is not None
    client.judges()
    told = [data for event, data, _ in client.session.connection.events if event == "gap"]
    return [(data["reason"], Place(data["epoch"], data["offset"])) for data in told]
