"""Socket.IO events: who connects, who joins what, who leaves.

Refuses to deliver (delivery.py) and to decide who a session is (identity.py).  All of it runs on the hub's thread;
handlers run one at a time per session, in the order of its packets.

A session is told ``ready`` once the store knows its keys: from then on a push by key reaches it.
"""

from collections.abc import Callable
from typing import Any, NoReturn
from urllib.parse import urlsplit

import eventlet
import socketio
import structlog
from eventlet.event import Event

from cloud_node import metrics
from cloud_node.hub import Hub, Session
from cloud_node.identity import Identity, check_ops, check_room, identify
from cloud_node.presence import Presence
from cloud_node.settings import LOOPBACK, CloudSettings
from cloud_node.wire.transport import Transport
from proto import keys as key_names
from proto.errors import Refused

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
    ) -> None:
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
        metrics.CONNECTS.inc()
        self._presence.renew_soon()
        metrics.SESSIONS.set(len(self._hub))
        log.info("connected", session=sid, key=identity.key, mid=identity.mid, rooms=len(identity.rooms))
        self._unready[sid] = self._presence.when_known(lambda: self._post(lambda: self._say_ready(session)))

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

    def _say_ready(self, session: Session) -> None:
        self._unready.pop(session.sid, None)
        ready = {
            "key": session.identity.key,
            "session": session.sid,
            "node": self._presence.node,
            "recovered": {},
        }
        self._transport.send(session, "ready", ready)

    def _disconnect(self, sid: str, reason: str = "") -> None:
        session = self._hub.remove(sid)
        if session is not None:
            if forget := self._unready.pop(sid, None):
                forget()
            metrics.DISCONNECTS.labels(str(reason) or "unknown").inc()
            self._presence.renew_soon()
            metrics.SESSIONS.set(len(self._hub))
            log.info("disconnected", session=sid, key=session.identity.key, reason=str(reason))

    def _join(self, session: Session, room: object = None) -> dict[str, Any]:
        name = check_room(session.identity, room)
        if len(session.rooms) >= self._settings.max_rooms and name not in session.rooms:
            raise Refused("too_many_rooms", f"room: at most {self._settings.max_rooms} rooms a session", "room")
        key = key_names.room_key(name)
        if self._hub.attach(session, key) and not self._wait_until_known():
            self._hub.detach(session, key)
            raise Refused("store_unavailable", "the store does not answer now: not joined, try again", "room")
        return {"rooms": session.rooms}

    def _leave(self, session: Session, room: object = None) -> dict[str, Any]:
        if not isinstance(room, str):
            raise Refused("invalid_room", "room: must be a string", "room")
        self._hub.detach(session, key_names.room_key(room))
        return {"rooms": session.rooms}

    def _accept(self, session: Session, ops: object = None) -> dict[str, Any]:
        self._hub.accept(session, check_ops(ops))
        return {"ops": None if session.accepts is None else sorted(session.accepts)}

    def _ack(self, _session: Session, _offsets: object = None) -> NoReturn:
        raise Refused("unsupported", "ack: durable messages are not supported yet", "ack")

    def _wait_until_known(self) -> bool:
        """Wait, letting other greenlets run, until the store knows what was noted; False when it takes too long."""
        known = Event()
        forget = self._presence.when_known(lambda: self._post(lambda: None if known.ready() else known.send(True)))
        with eventlet.Timeout(_KNOWN_WITHIN_S, False):
            return bool(known.wait())
        forget()
        return False

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
