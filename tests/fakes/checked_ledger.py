"""A ledger that writes cursors to the store at once, and sees that neither they nor acks are noted wrongly."""

from proto.message import Place
from tests.fakes.durable_client import Client
from tests.fakes.inbox_store import InboxStore


class CheckedLedger:
    """See cloud_node.acks.Ledger.  *by* acks now; *answered* is the place of the push that it answers."""

    def __init__(self, store: InboxStore) -> None:
        self._store = store
        self.by: Client | None = None
        self.answered: Place | None = None
        self._acked: set[tuple[object, str, str]] = set()
        self._places: dict[tuple[object, str], Place] = {}

    def handed(self, push_id: str, key: str, place: Place | None, sessions: int) -> None:
        it = self._store.by_push[push_id]
        assert (it.key, it.place) == (key, place)
        assert sessions > 0

    def acked(self, push_id: str, key: str) -> None:
        if self.by is None:  # by resuming
            return
        noted = (self.by.session, push_id, key)
        assert noted not in self._acked, "acked twice"
        self._acked.add(noted)
        it, store = self._store.by_push[push_id], self._store
        got = push_id in self.by.subscriptions[key].got
        passed = push_id in store.removed or it.kept.expires_ms <= store.now_ms
        other = self.by.accepts is not None and it.kept.message.op not in self.by.accepts
        assert got or passed or other or self.by.subscriptions[key].cursor is not None, "acked and never handed to it"

    def acked_before(self, key: str, after: int, through: int) -> None:
        assert key
        assert 0 <= after < through

    def cursor(self, session_key: str, key: str, place: Place) -> None:
        if self.by is not None:
            before = self._places.get((self.by.session, key))
            assert before is None or before.epoch != place.epoch or before.offset < place.offset
            self._places[self.by.session, key] = place
        assert self.answered in (None, place), f"{self.answered} was acked, and {place} is noted"
        self._store.write_cursor(session_key, key, place)
