"""A cloud node for tests of clients: python-socketio's own server on real sockets, with inboxes that a test fills.

It speaks what docs/api.md says of durable messages, and remembers what it was told.  Refuses nothing by itself.
"""

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import socketio
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from tests.parts.process import free_port

Place = tuple[str, int]


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        return


@dataclass
class ScriptedNode:
    """One node.  *begin* False: a session that connects is told nothing until the test says so."""

    refuse: dict[str, Any] | None = None
    begin: bool = True
    node: str = "scripted:1#boot"
    epoch: str = "e1"
    port: int = field(default_factory=free_port)
    auths: list[Any] = field(default_factory=list)
    acks: list[dict[str, int]] = field(default_factory=list)
    joins: list[Any] = field(default_factory=list)
    answered: list[Any] = field(default_factory=list)  # Socket.IO acks of pushes
    sids: dict[str, list[str]] = field(default_factory=dict)
    logs: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    gone: dict[str, int] = field(default_factory=dict)  # key: offsets up to this were trimmed
    ack_answer: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.url = f"http://127.0.0.1:{self.port}"
        self._lock = threading.RLock()
        self._http: BaseWSGIServer | None = None
        self._app: Any = None

    def start(self) -> None:
        """Serve, as a new process would; the inboxes are those of before."""
        self.sids.clear()
        self._sio = socketio.Server(
            async_mode="threading", always_connect=self.refuse is None, async_handlers=False, ping_interval=5
        )
        self._sio.on("connect", self._connect)
        self._sio.on("disconnect", lambda sid, *_: self.sids.pop(sid, None))
        self._sio.on("ack", self._ack)
        self._sio.on("join", self._join)
        self._sio.on("leave", lambda *_: {"rooms": []})
        self._sio.on("accept", lambda _sid, ops: {"ops": ops})
        self._app = socketio.WSGIApp(self._sio)
        if self._http is None:
            self._http = make_server("127.0.0.1", self.port, self._serve, threaded=True, request_handler=_Quiet)
            self._http.daemon_threads = True  # type: ignore[attr-defined]
            threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Drop all and answer 503 until it is started again; the port stays, so that nobody else takes it."""
        self._app = None
        self.drop()

    def close(self) -> None:
        """Leave the port."""
        self.stop()
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()

    def _serve(self, environ: Any, start_response: Any) -> Any:
        if self._app is None:
            start_response("503 Service Unavailable", [])
            return [b""]
        return self._app(environ, start_response)

    def drop(self) -> None:
        """Close every connection, as a network would."""
        with self._lock:
            for sid in list(self.sids):
                eio = self._sio.manager.eio_sid_from_sid(sid, "/")
                self.sids.pop(sid)
                if eio in self._sio.eio.sockets:
                    self._sio.eio.sockets[eio].close(wait=False, abort=True)

    def kick(self) -> None:
        """End every session for good, and its connection with it."""
        for sid in list(self.sids):
            transport = self._sio.eio.sockets[self._sio.manager.eio_sid_from_sid(sid, "/")]
            self._sio.disconnect(sid)
            transport.close(wait=False, abort=True)

    def send(self, event: str, said: Any, *, answer: bool = True) -> None:
        """Send an event to every session, as it is; *answer* asks for a Socket.IO ack."""
        with self._lock:
            for sid in self.sids:
                self._emit(sid, event, said, answer=answer)

    def store(self, key: str, msg: Any, push_id: str | None = None) -> dict[str, Any]:
        """Append a durable message, and send it to the sessions of its key."""
        with self._lock:
            offset = self.logs[key][-1]["offset"] + 1 if self.logs[key] else 1
            said = {"op": 9, "msg": msg, "key": key, "push_id": push_id or f"{key}/{self.epoch}/{offset}"}
            said |= {"offset": offset, "epoch": self.epoch}
            self.logs[key].append(said)
            for sid, keys in self.sids.items():
                if key in keys:
                    self._emit(sid, "push", said)
        return said

    def _emit(self, sid: str, event: str, said: Any, *, answer: bool = True) -> None:
        asks = answer and event == "push"
        self._sio.emit(event, said, to=sid, callback=(lambda *_: self.answered.append(said)) if asks else None)

    def _connect(self, sid: str, _environ: Any, auth: Any) -> None:
        self.auths.append(auth)
        if self.refuse is not None:
            error = socketio.exceptions.ConnectionRefusedError()
            error.error_args = self.refuse
            raise error
        key = auth.get("key") or "made-up"
        member = [f"mid:{auth['mid']}"] if "mid" in auth else []
        keys = [key, *member, *(f"room:{room}" for room in auth.get("rooms", ())), "all"]
        with self._lock:
            self.sids[sid] = keys
            if self.begin:
                self._begin(sid, key, keys, auth.get("resume") or {})

    def _begin(self, sid: str, key: str, keys: list[str], resume: dict[str, Any]) -> None:
        starts = {one: self._start(one, resume.get(one)) for one in keys}
        ready = {
            "key": key,
            "session": sid,
            "node": self.node,
            "recovered": {one: whole for one, (_, whole) in starts.items() if one in resume},
            "cursors": {one: {"epoch": place[0], "offset": place[1]} for one, (place, _) in starts.items()},
        }
        self._emit(sid, "ready", ready)
        for one, (place, _) in starts.items():
            self._replay(sid, one, place[1])

    def _start(self, key: str, cursor: dict[str, Any] | None) -> tuple[Place, bool]:
        log, gone = self.logs[key], self.gone.get(key, 0)
        last = log[-1]["offset"] if log else 0
        if cursor is None:
            start = last if key == "all" or key.startswith("room:") else gone
            return (self.epoch if log else "", start), True
        if cursor["epoch"] not in ("", self.epoch):
            return (self.epoch, 0), False
        return (self.epoch if log else "", max(cursor["offset"], gone)), cursor["offset"] >= gone

    def _replay(self, sid: str, key: str, after: int) -> None:
        for said in self.logs[key]:
            if said["offset"] > after:
                self._emit(sid, "push", said)

    def _ack(self, _sid: str, offsets: dict[str, int]) -> dict[str, Any]:
        self.acks.append(offsets)
        return self.ack_answer if self.ack_answer is not None else {"acked": offsets}

    def _join(self, sid: str, asked: Any) -> dict[str, Any]:
        self.joins.append(asked)
        key = f"room:{asked['room']}"
        with self._lock:
            self.sids[sid].append(key)
            place, whole = self._start(key, asked.get("after"))
            if "history" in asked:
                place = (place[0], max(0, place[1] - asked["history"]))
            # The answer goes first: what follows it comes after the cursor.
            threading.Timer(0, self._replay, (sid, key, place[1])).start()
        answer = {"rooms": [asked["room"]], "cursor": {"epoch": place[0], "offset": place[1]}}
        return answer | ({"recovered": whole} if "after" in asked else {})


@contextmanager
def scripted_node(**script: Any) -> Iterator[ScriptedNode]:
    """Run a node on a free port."""
    node = ScriptedNode(**script)
    node.start()
    try:
        yield node
    finally:
        node.close()
