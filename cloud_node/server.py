"""Entry point of a cloud node: ``python -m cloud_node.server --index 0``.  Wiring, start, drain.

Threads: the main thread runs the eventlet hub (Socket.IO, health, the bridge).  Native threads run gRPC, presence
(store) and the probe (broker); they reach sessions only through the bridge.

Drain, on SIGTERM or SIGINT: health NOT_SERVING and the registry entry says draining; new handshakes get 503; sessions
are closed spread over ``drain_s``, each asking its client to reconnect; pushes are served until the last is gone; then
the lease ends and the process exits 0.  A second signal skips the spread.
"""

import argparse
import gc
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import eventlet
import socketio
import structlog
from eventlet.event import Event
from pydantic import ValidationError

from cloud_node import metrics
from cloud_node.acks import Acks
from cloud_node.bridge import Bridge
from cloud_node.delivery import Deliverer
from cloud_node.durable import Durable
from cloud_node.gateway import Gateway, origin_check
from cloud_node.health import Admission, HealthPages
from cloud_node.hub import Hub
from cloud_node.inbox_reader import InboxReader
from cloud_node.lag import measure
from cloud_node.ledger import Ledger
from cloud_node.pacing import Pacing
from cloud_node.presence import Presence
from cloud_node.probe import Probe
from cloud_node.servicer import CloudServicer, GrpcServer
from cloud_node.settings import CloudSettings
from cloud_node.signals import on_stop
from cloud_node.timing import TimedWrites
from cloud_node.wire import json as wire_json
from cloud_node.wire.door import Door
from cloud_node.wire.engine import Engine
from cloud_node.wire.handshake import Upgrade
from cloud_node.wire.packets import StrictPacket
from cloud_node.wire.requests import Requests
from cloud_node.wire.seam import EngineServer, HttpServer, SocketServer, whenever_ready
from cloud_node.wire.transport import Transport
from proto import log as logs
from proto.message import new_push_id
from store.clock import StoreClock
from store.connection import connect
from store.cursors import Cursors
from store.directory import RedisDirectory
from store.inbox import Inbox
from store.receipts import Receipts
from store.registry import NodeInfo, Registry
from store.settings import StoreSettings

_TICK_S = 0.1
_BACKLOG = 4096  # of a reconnect storm; the kernel's somaxconn may allow less
_MAX_MESSAGE_BYTES = 128 * 1024  # of what a client sends at once
_GRPC_GRACE_S = 2.0
_SOCKET_TIMEOUT_S = 60  # for a client that connects and says nothing; Engine.IO sets its own once it speaks

_SWITCH_S = 0.0005  # threads that read large batches let the hub's in after so long, not after Python's 5 ms

log = structlog.get_logger()


class Node:
    """All the parts of one cloud node, wired."""

    def __init__(self, settings: CloudSettings, store_settings: StoreSettings) -> None:
        self._settings = settings
        self._boot = os.urandom(4).hex()
        self._started_ms = _now_ms()
        self._stop_asked = Event()
        self._hurry = False
        client = connect(store_settings)
        clock = StoreClock()
        inbox, cursors = Inbox(client, store_settings, clock), Cursors(store_settings)
        self.ledger = Ledger(
            client, Receipts(client, store_settings, clock), cursors, inbox, clock.now_ms, writer=self._boot
        )
        acks = Acks(self.ledger)
        registry = Registry(client, store_settings, clock)
        self.presence = Presence(
            registry,
            RedisDirectory(client, store_settings, registry),
            self._describe,
            self._incarnation,
            lease_ttl_s=settings.lease_ttl_s,
            renew_every_s=settings.renew_every_s,
            on_registered=lambda: self.bridge.post(self.durable.check_all),  # while it had no lease nobody sent here
        )
        self.hub = Hub(self.presence.note)
        self.probe = Probe(
            settings.broker_url.get_secret_value(),
            settings.grpc_address,
            settings.probe_every_s,
            _new_id,
            lambda: self.presence.renew_soon(0),
            now_ms=clock.now_ms,
        )
        sio = SocketServer(
            async_mode="eventlet",
            async_handlers=False,
            cors_allowed_origins=origin_check(settings),
            json=wire_json,
            serializer=StrictPacket,
        )
        self.engine = Engine(
            sio.eio,
            ping_interval_s=settings.ping_interval_s,
            ping_timeout_s=settings.ping_timeout_s,
            limit=settings.max_waiting_bytes,
            max_message=_MAX_MESSAGE_BYTES,
            on_slow=metrics.SLOW.inc,
            spawn=eventlet.spawn_n,
            sleep=eventlet.sleep,
        )
        self.eio: EngineServer = sio.eio
        sio.eio.requests = Requests(self.engine, sio.eio)
        self.transport = Transport(sio, self.engine)
        timed = TimedWrites(self.transport)
        self.bridge = Bridge(settings.bridge_capacity, timed)
        self.durable = Durable(self.hub, timed, acks, clock.now_ms, self._later, tail_bytes=settings.inbox_tail_bytes)
        self.reader = self.durable.reader = InboxReader(
            client, inbox, cursors, self.bridge.post, self.durable.take_positions
        )
        self.gateway = Gateway(
            sio,
            self.hub,
            self.presence,
            self.transport,
            settings,
            self.bridge.post,
            lambda: f"anon-{os.urandom(8).hex()}",
            self.durable,
        )
        self.pacing = Pacing(self.hub, timed, acks, clock.now_ms, self._later, most=settings.max_paced)
        own_keys = {self.probe.key: self.probe.arrived}
        self.deliverer = Deliverer(self.hub, timed, self.durable, acks, clock.now_ms, own_keys, self.pacing)
        self.grpc = GrpcServer(
            CloudServicer(self.bridge, self.deliverer, self.hub.rooms, self.gateway.end_sessions),
            settings.listen_grpc,
            threads=settings.grpc_threads,
            token=settings.grpc_token.get_secret_value() if settings.grpc_token else None,
        )
        pages = HealthPages(lambda: self._describe(self.presence.node), self._checks)
        self._app = Admission(socketio.WSGIApp(sio, pages), lambda: self.gateway.draining)

    def run(self) -> None:
        """Serve until a signal, drain, return."""
        listener = socket.create_server(
            self._settings.listen_socketio, family=self._settings.address_family, backlog=_BACKLOG
        )
        listener.setblocking(False)
        on_stop(self._told_to_stop)
        self.engine.start(whenever_ready)
        eventlet.spawn(self.bridge.serve)
        eventlet.spawn(measure, self.bridge)
        eventlet.spawn(self._check_inboxes)
        door = Door(
            listener,
            self.engine,
            HttpServer(listener, self._app, _SOCKET_TIMEOUT_S),
            self._admits,
            "/socket.io/",
            self._settings.max_sessions + 1000,  # each poll that waits keeps a greenlet
        )
        self.grpc.start()
        self.presence.note(self.probe.key, 1)
        self.presence.start()
        self.reader.start()
        self.ledger.start()
        self.probe.start()
        self.grpc.serving(True)
        gc.collect()
        sys.setswitchinterval(_SWITCH_S)
        gc.freeze()  # what stays for good need not be looked at in every collection
        log.info("listening", node=self.presence.node, url=self._settings.url, grpc=self._settings.grpc_address)
        self._stop_asked.wait()
        self._drain()
        door.close()
        self.bridge.close()

    def _admits(self, upgrade: Upgrade) -> bool:
        if self.gateway.draining:
            return False
        environ = {"wsgi.url_scheme": "http", "HTTP_HOST": upgrade.host}
        return upgrade.origin is None or self.eio.allows_origin({**environ, "HTTP_ORIGIN": upgrade.origin})

    def _drain(self) -> None:
        log.info("draining", sessions=len(self.hub), over_s=self._settings.drain_s)
        self.gateway.draining = self.pacing.draining = True
        self.grpc.serving(False)
        self.presence.renew_soon(0)
        sessions = list(self.hub)
        began = time.monotonic()
        for number, session in enumerate(sessions):
            due = began + self._settings.drain_s * number / len(sessions)
            while not self._hurry and (wait_s := due - time.monotonic()) > 0:
                eventlet.sleep(min(wait_s, _TICK_S))
            self.transport.drop(session)
            eventlet.sleep(0)
        self.pacing.stop()
        self.probe.stop()
        self.presence.note(self.probe.key, 0)
        done = self.grpc.stop(_GRPC_GRACE_S)
        while not done.is_set():
            eventlet.sleep(0.02)
        self.reader.stop()
        self.ledger.stop()
        self.presence.stop()
        log.info("drained", sessions=len(self.hub))

    def _told_to_stop(self) -> None:
        if self._stop_asked.ready():
            self._hurry = True
        else:
            self._stop_asked.send(True)

    def _check_inboxes(self) -> None:
        """Find, now and then, what workers did not get through to this node."""
        while True:
            eventlet.sleep(self._settings.inbox_check_s)
            self.durable.check_all()

    def _later(self, delay_s: float, run: Callable[[], object]) -> None:
        eventlet.spawn_after(delay_s, self.bridge.post, run)

    def _incarnation(self, generation: int) -> str:
        return f"{self._settings.grpc_address}#{self._boot}" + (f".{generation}" if generation else "")

    def _describe(self, node: str) -> NodeInfo:
        return NodeInfo(
            node=node,
            grpc=self._settings.grpc_address,
            url=self._settings.url,
            sessions=len(self.hub),
            draining=self.gateway.draining,
            probe_age_ms=self.probe.age_ms,
            started_ms=self._started_ms,
        )

    def _checks(self) -> dict[str, bool]:
        return {
            "lease": self.presence.leased,
            "data_path": self.probe.fresh,
            # Else /v1/nodes/best would not name a node that has just said that it is ready.
            "announced": (told := self.presence.told) is not None and told.probe_age_ms is not None,
            "not_draining": not self.gateway.draining,
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a node; gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m cloud_node.server",
        description="A cloud node: holds browsers over Socket.IO, takes pushes over gRPC. "
        "Settings are environment variables that begin with CLOUDPUSH_; see docs/configuration.md.",
    )
    parser.add_argument("--index", type=int, help="number of this node: listens on 9000 + index and 9500 + index")
    options: dict[str, Any] = {
        key: value for key, value in vars(parser.parse_args(arguments)).items() if value is not None
    }
    try:
        settings, store_settings = CloudSettings(**options), StoreSettings()
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            print(f"settings: {'.'.join(map(str, problem['loc']))} {problem['msg']}".strip(), file=sys.stderr)
        return 2
    logs.configure("cloud", level=settings.log_level)
    try:
        node = Node(settings, store_settings)
        node.run()
    except (OSError, RuntimeError) as error:
        log.error("cannot serve", reason=str(error), hint="is a port in use? see CLOUDPUSH_SOCKETIO_PORT, _GRPC_PORT")
        return 1
    return 0


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _new_id() -> str:
    return new_push_id(_now_ms(), os.urandom(10))


if __name__ == "__main__":
    sys.exit(main())
