"""A ledger that keeps what it is told, in order, for tests of what is noted."""

from proto.message import Place


class NotingLedger:
    """See cloud_node.acks.Ledger."""

    def __init__(self) -> None:
        self.notes: list[tuple[object, ...]] = []

    def handed(self, push_id: str, key: str, place: Place | None, sessions: int) -> None:
        self.notes.append(("handed", push_id, key, place, sessions))

    def acked(self, push_id: str, key: str) -> None:
        self.notes.append(("acked", push_id, key))

    def acked_before(self, key: str, after: int, through: int) -> None:
        self.notes.append(("acked before", key, after, through))

    def cursor(self, session_key: str, key: str, place: Place) -> None:
        self.notes.append(("cursor", session_key, key, place))
