"""Socket.IO events: who connects, who joins what, who leaves.

Refuses to deliver (delivery.py) and to decide who a session is (identity.py).  All of it runs on the hub's thread;
handlers run one at a time per session, in the order of its packets.

A session is told ``ready`` once the store knows its keys, so that a push by key reaches it, and once it is known where
it begins in their inboxes.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NoReturn
from urllib.parse import urlsplit

import eventlet
import socketio
import structlog
from eventlet.event import Event

from cloud_node import metrics
from cloud_node.durable import Durable
from cloud_node.hub import Hub, Session
from cloud_node.identity import Identity, Join, check_join, check_ops, identify
from cloud_node.presence import Presence
from cloud_node.settings import LOOPBACK, CloudSettings
from cloud_node.wire.transport import Transport
from proto import keys as key_names
from proto.errors import Refused
from proto.message import Place

_KNOWN_WITHIN_S = 5.0
_SHOWN = 64

log = structlog.get_logger()


class Gateway:
    """Turns Socket.IO events into changes of the hub.

    *post* runs a function on the hub's thread, from any thread.
    """

    def __init__(
        self,
        sio: socketio.Server,
        hub: Hub,
        presence: Presence,
        transport: Transport,
        settings: CloudSettings,
        post: Callable[[Callable[[], object]], None],
        new_key: Callable[[], str],
        durable: Durable,
    ) -> None:
        self._durable = durable
        self._acks = durable.acks
        self._hub = hub
        self._presence = presence
        self._transport = transport
        self._settings = settings
        self._post = post
        self._new_key = new_key
        self._secret = settings.client_jwt_secret.get_secret_value() if settings.client_jwt_secret else None
        self._unready: dict[str, Callable[[], None]] = {}
        self.draining = False
        sio.on("connect", self._connect)
        sio.on("disconnect", self._disconnect)
        for event, handler in (("join", self._join), ("leave", self._leave), ("accept", self._accept)):
            sio.on(event, self._answering(handler))
        sio.on("ack", self._answering(self._ack))
        sio.on("*", _unknown_event)
        sio.on_answer = self._answered

    def end_sessions(self, keys: list[str]) -> int:
        """End every session that answers to one of *keys*, for good; gives how many."""
        sessions = {session for key in keys for session in self._hub.holders(key)}
        for session in sessions:
            self._transport.kick(session)
        return len(sessions)

    def _connect(self, sid: str, _environ: dict[str, Any], auth: object = None) -> None:
        try:
            identity = self._identify(auth)
        except Refused as refusal:
            metrics.REFUSED.labels(refusal.code).inc()
            log.info("refused a session", code=refusal.code, field=refusal.field, reason=refusal.message)
            _refuse(refusal)
        if self.draining:
            self._send_elsewhere(Session(sid, identity, identity.accepts, self._transport.connection_of(sid)))
            return
        session = self._hub.add(sid, identity, self._transport.connection_of(sid))
        self._durable.attach(session, identity.keys)
        metrics.CONNECTS.inc()
        self._presence.renew_soon()
        metrics.SESSIONS.set(len(self._hub))
        log.info("connected", session=sid, key=identity.key, mid=identity.mid, rooms=len(identity.rooms))
        self._unready[sid] = self._presence.when_known(lambda: self._post(lambda: self._open(session)))

    def _identify(self, auth: object) -> Identity:
        if len(self._hub) >= self._settings.max_sessions:
            raise Refused("full", f"this node is full with {self._settings.max_sessions} sessions: connect to another")
        return identify(auth, secret=self._secret, new_key=self._new_key, max_rooms=self._settings.max_rooms)

    def _send_elsewhere(self, session: Session) -> None:
        """Close what had its handshake before the drain began, and its CONNECT after.

        A connect_error would make a stock client give up for good; a closed transport makes it try again.
        """
        metrics.REFUSED.labels("draining").inc()
        log.info("sent a session elsewhere: draining", session=session.sid, key=session.identity.key)
        eventlet.spawn(self._transport.drop, session)  # once the library has answered the CONNECT

    def _open(self, session: Session) -> None:
        """Go on with a session that the store knows: what is accepted from now on is sent here."""
        self._unready.pop(session.sid, None)
        identity = session.identity  # rooms that it has joined meanwhile are opened by their joins
        self._durable.open(session, identity.resume, partial(self._say_ready, session), only=identity.keys)

    def _say_ready(self, session: Session, recovered: Mapping[str, bool], begins: Mapping[str, Place]) -> None:
        ready = {
            "key": session.identity.key,
            "session": session.sid,
            "node": self._presence.node,
            "recovered": recovered,
            "cursors": {key: place._asdict() for key, place in begins.items()},
        }
        self._transport.send(session, "ready", ready)

    def _disconnect(self, sid: str, reason: str = "") -> None:
        keys = list(session.keys) if (session := self._hub.get(sid)) is not None else []
        session = self._hub.remove(sid)
        if session is not None:
            self._durable.detach(session, keys)
            if forget := self._unready.pop(sid, None):
                forget()
            metrics.DISCONNECTS.labels(str(reason) or "unknown").inc()
            self._presence.renew_soon()
            metrics.SESSIONS.set(len(self._hub))
            log.info("disconnected", session=sid, key=session.identity.key, reason=str(reason))

    def _join(self, session: Session, room: object = None) -> dict[str, Any]:
        join = check_join(session.identity, room)
        if len(session.rooms) >= self._settings.max_rooms and join.room not in session.rooms:
            raise Refused("too_many_rooms", f"room: at most {self._settings.max_rooms} rooms a session", "room")
        key = key_names.room_key(join.room)
        if not self._hub.attach(session, key):
            return {"rooms": session.rooms, "cursor": self._durable.reach(session, key)._asdict()}
        self._durable.attach(session, (key,))
        joined = self._wait(lambda tell: self._presence.when_known(lambda: self._post(lambda: tell(True))))
        opened = joined and self._wait(partial(self._open_room, session, key, join))
        if not opened:
            self._hub.detach(session, key)
            self._durable.detach(session, (key,))
            raise Refused("store_unavailable", "the store does not answer now: not joined, try again", "room")
        return {"rooms": session.rooms, **opened}

    def _open_room(self, session: Session, key: str, join: Join, tell: Callable[[Any], None]) -> Callable[[], None]:
        def opened(recovered: Mapping[str, bool], begins: Mapping[str, Place]) -> None:
            answer: dict[str, Any] = {"cursor": begins[key]._asdict()} if key in begins else {"cursor": None}
            tell(answer | ({"recovered": recovered[key]} if key in recovered else {}))

        cursors = {} if join.after is None else {key: join.after}
        # Posted, for it may hand out messages: a write that is not gathered switches greenlets, in the middle of it.
        self._post(lambda: self._durable.open(session, cursors, opened, only=(key,), history=join.history))
        return lambda: None

    def _leave(self, session: Session, room: object = None) -> dict[str, Any]:
        if not isinstance(room, str):
            raise Refused("invalid_room", "room: must be a string", "room")
        key = key_names.room_key(room)
        if self._hub.detach(session, key):
            self._durable.detach(session, (key,))
            session.acked.pop(key, None)
        return {"rooms": session.rooms}

    def _accept(self, session: Session, ops: object = None) -> dict[str, Any]:
        self._hub.accept(session, check_ops(ops))
        return {"ops": None if session.accepts is None else sorted(session.accepts)}

    def _ack(self, session: Session, offsets: object = None) -> dict[str, Any]:
        return {"acked": self._acks.take(session, offsets)}

    def _answered(self, sid: str, ack_id: int) -> None:
        if (session := self._hub.get(sid)) is not None:
            self._acks.answered(session, ack_id)

    def _wait(self, ask: Callable[[Callable[[Any], None]], Callable[[], None]]) -> Any:
        """Wait, letting other greenlets run, for what *ask* is told; None when it takes too long.

        *ask* gets the function to tell it to, on the hub's thread, and gives one that takes the asking back.
        """
        told = Event()
        forget = ask(lambda what: None if told.ready() else told.send(what))
        with eventlet.Timeout(_KNOWN_WITHIN_S, False):
            return told.wait()
        forget()
        return None

    def _answering(self, handler: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
        """Wrap a handler so that refusals, and too many arguments, are answers too."""

        def handle(sid: str, *args: object) -> dict[str, Any]:
            session = self._hub.get(sid)
            try:
                if session is None:
                    raise Refused("gone", "this session has ended")
                if len(args) > 1:
                    raise Refused("invalid_event", f"one argument is expected, not {len(args)}")
                return handler(session, *args)
            except Refused as refusal:
                return {"error": {"code": refusal.code, "message": refusal.message}}

        return handle


def origin_check(settings: CloudSettings) -> Callable[[str | None], bool]:
    """Decide which web pages may connect, by their Origin header; a client that is no browser sends none."""

    def allowed(origin: str | None) -> bool:
        if origin is None or "*" in settings.allowed_origins or origin in settings.allowed_origins:
            return True
        return not settings.allowed_origins and _host(origin) in LOOPBACK

    return allowed


def _unknown_event(event: str, _sid: str, *_args: object) -> dict[str, Any]:
    return {"error": {"code": "unknown_event", "message": f"there is no event {event[:_SHOWN]!r}"}}


def _host(origin: str) -> str | None:
    try:
        return urlsplit(origin).hostname
    except ValueError:  # such as an IPv6 address without its end
        return None


def _refuse(refusal: Refused) -> NoReturn:
    error = socketio.exceptions.ConnectionRefusedError()
    # socket.io-client for JavaScript shows only what is under `data` next to the message.
    about = {"code": refusal.code, "field": refusal.field}
    error.error_args = {"message": refusal.message, "code": refusal.code, "data": about}
    raise error
