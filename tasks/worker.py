"""Wiring of a worker process, hung on Celery's signals: courier, health page, logs.

Refuses to do anything in processes that only load the app to form task messages: all of it waits for ``worker_init``.
"""

import gc
import logging
import os
import socket
import sys
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import structlog
from celery.signals import setup_logging, worker_init, worker_ready, worker_shutdown

import celeryconfig
from proto import log as logs
from proto.errors import StoreUnavailable
from store.ages import Ages
from store.clock import StoreClock
from store.connection import connect
from store.directory import RedisDirectory
from store.inbox import Inbox
from store.pending import Pending
from store.receipts import Receipts
from store.registry import Registry
from store.requests import Requests
from store.settings import StoreSettings
from tasks import decoding
from tasks.ages import AgeNotes
from tasks.celery import app
from tasks.courier import Courier
from tasks.events import Sender
from tasks.health import HealthServer
from tasks.nodes import Nodes
from tasks.outlet import Outlet
from tasks.reconciler import Reconciler
from tasks.record import Record
from tasks.settings import TaskSettings
from tasks.suspicion import Suspicion

# How long a thread that computes keeps the others waiting: the one that takes a task of high priority, say.
_SWITCH_S = 0.0005


@dataclass(frozen=True, slots=True)
class _Parts:
    courier: Courier
    record: Record
    clock: StoreClock
    reconciler: Reconciler
    nodes: Nodes
    health: HealthServer
    events: Sender
    ages: AgeNotes


_parts: list[_Parts] = []


def courier() -> Courier:
    """Give this worker's courier; raises IndexError outside a worker, where no task may run."""
    return _parts[0].courier


def record() -> Record:
    """Give this worker's way to receipts, claims and inboxes; raises as :func:`courier` does."""
    return _parts[0].record


def now_ms() -> int:
    """Tell the time of the store, as last heard, in Unix ms; raises as :func:`courier` does."""
    return _parts[0].clock.now_ms()


def settings() -> TaskSettings:
    """Give the settings that celeryconfig.py read."""
    return celeryconfig.settings


@setup_logging.connect  # type: ignore[untyped-decorator]
def _set_up_logging(**_: Any) -> None:
    logs.configure("job", level=settings().log_level)
    for name in ("celery.worker.strategy", "celery.app.trace"):
        # "received" and "succeeded" for each task would say again, without the push_id, what tasks/push.py says.
        logging.getLogger(name).setLevel(logging.WARNING)


@worker_init.connect  # type: ignore[untyped-decorator]
def _assemble(**_: Any) -> None:
    decoding.use_orjson()
    sys.setswitchinterval(_SWITCH_S)
    store_settings = StoreSettings()
    client, clock, suspicion = connect(store_settings), StoreClock(), Suspicion()
    registry = Registry(client, store_settings, clock)
    pending, receipts = Pending(client, store_settings), Receipts(client, store_settings, clock)
    inbox, requests = Inbox(client, store_settings, clock), Requests(client, store_settings)
    token = settings().grpc_token
    nodes = Nodes(
        deadline_s=settings().node_deadline_s,
        token=token.get_secret_value() if token else None,
        threads=settings().worker_concurrency,
    )
    parts = _Parts(
        courier=Courier(RedisDirectory(client, store_settings, registry), nodes, suspicion),
        record=Record(client, receipts, requests, pending, inbox, clock, suspicion),
        clock=clock,
        reconciler=Reconciler(
            client,
            pending,
            receipts,
            clock,
            Outlet(app),
            owner=f"{socket.gethostname()}.{os.getpid()}.{uuid4().hex[:8]}",
            every_s=settings().reconcile_every_s,
        ),
        nodes=nodes,
        health=HealthServer(settings().worker_host, settings().worker_port, client),
        events=Sender(app),
        ages=AgeNotes(Ages(client, store_settings, clock)),
    )
    try:
        clock.ask(client)  # before the first task: it must not expire, or wait, by this machine's clock
    except StoreUnavailable as error:
        structlog.get_logger().warning("the store does not tell the time yet", reason=str(error))
    parts.health.start()
    parts.events.start()
    parts.ages.start()
    _parts.append(parts)


@worker_ready.connect  # type: ignore[untyped-decorator]
def _ready(sender: Any, **_: Any) -> None:
    _parts[0].health.consumer = sender
    _parts[0].reconciler.start()
    gc.collect()
    gc.freeze()  # what stays for good need not be looked at in every collection
    structlog.get_logger().info("worker ready", health=_parts[0].health.url)


@worker_shutdown.connect  # type: ignore[untyped-decorator]
def _take_apart(**_: Any) -> None:
    while _parts:
        parts = _parts.pop()
        parts.health.stop()
        if parts.reconciler.is_alive():
            parts.reconciler.stop()
        parts.events.stop()
        parts.ages.stop()
        parts.nodes.close()
