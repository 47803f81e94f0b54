"""A request that is served on the server's own thread, and waits for its confirm without one.

A push that needs nothing but the broker's confirm is validated and handed over in a fraction of a millisecond; a thread
of its own would cost more than that, mostly in waiting for the interpreter.  So the server's thread runs the app, with
a :class:`Turn` in the WSGI environment; the view hands the push over and answers *as if* it were confirmed.  The server
keeps that answer back until it is, and otherwise has the app make another one, with the error for a reason.

Refuses to block: a view that would have to asks for a thread (:meth:`Turn.decline`) and is called again on one.
"""

from collections.abc import Callable, Mapping
from typing import Any

from app.broker import Call
from app.intake import HandOver
from proto.errors import BrokerUnavailable

_KEY = "cloudpush.turn"


class Turn:
    """How one request goes on.  All but *ended*, which is told to *notify*, happens on the server's thread."""

    __slots__ = ("_confirmed", "_notify", "declined", "error", "handover")

    def __init__(self, notify: "Callable[[Turn], None]") -> None:
        self.declined = False
        self.error: BrokerUnavailable | None = None  # why the answer is another one
        self.handover: HandOver | None = None
        self._notify = notify
        self._confirmed: Callable[[], None] = _nothing

    def put_into(self, environ: dict[str, Any]) -> None:
        """Let views find it."""
        environ[_KEY] = self

    def decline(self) -> None:
        """Have the request served once more, on a thread; what the view answers now is thrown away."""
        self.declined = True

    def hold(self, call: Call, confirmed: Callable[[], None]) -> None:
        """Have *call* handed over when the view has returned, and the answer kept back until then; *confirmed* runs."""
        self.handover, self._confirmed = HandOver(call, self._ended), confirmed

    def settle(self, *, late: bool = False) -> bool:
        """Take note of the end; False when the view has to answer anew, for it did not get what it hoped for."""
        if self.handover is None:
            return True
        if late and (self.handover.claim() or not self.handover.ended):
            self.error = BrokerUnavailable("the broker did not confirm in time")
            return False
        self.error = self.handover.result()
        if self.error is None:
            self._confirmed()
        return self.error is None

    def _ended(self, _: HandOver) -> None:
        self._notify(self)


def turn_of(environ: Mapping[str, Any]) -> Turn | None:
    """Give the turn of a request that is served on the server's thread, None on any other."""
    return environ.get(_KEY)


def raise_late(environ: Mapping[str, Any]) -> None:
    """Raise what kept the push of this request from being confirmed, if it is served for that answer."""
    turn = turn_of(environ)
    if turn is not None and turn.error is not None:
        raise turn.error


def _nothing() -> None:
    return
