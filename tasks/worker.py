"""Wiring of a worker process, hung on Celery's signals: courier, health page, logs.

Refuses to do anything in processes that only load the app to form task messages: all of it waits for ``worker_init``.
"""

import gc
import logging
from dataclasses import dataclass
from typing import Any

import structlog
from celery.signals import setup_logging, worker_init, worker_ready, worker_shutdown

import celeryconfig
from proto import log as logs
from store.connection import connect
from store.directory import RedisDirectory
from store.registry import Registry
from store.settings import StoreSettings
from tasks.celery import app
from tasks.courier import Courier
from tasks.events import Sender
from tasks.health import HealthServer
from tasks.nodes import Nodes
from tasks.settings import TaskSettings


@dataclass(frozen=True, slots=True)
class _Parts:
    courier: Courier
    nodes: Nodes
    health: HealthServer
    events: Sender


_parts: list[_Parts] = []


def courier() -> Courier:
    """Give this worker's courier; raises IndexError outside a worker, where no task may run."""
    return _parts[0].courier


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
    store_settings = StoreSettings()
    client = connect(store_settings)
    registry = Registry(client, store_settings)
    token = settings().grpc_token
    nodes = Nodes(deadline_s=settings().node_deadline_s, token=token.get_secret_value() if token else None)
    health = HealthServer(settings().worker_host, settings().worker_port, client)
    health.start()
    events = Sender(app)
    events.start()
    directory = RedisDirectory(client, store_settings, registry)
    _parts.append(_Parts(Courier(directory, registry, nodes), nodes, health, events))


@worker_ready.connect  # type: ignore[untyped-decorator]
def _ready(sender: Any, **_: Any) -> None:
    _parts[0].health.consumer = sender
    gc.collect()
    gc.freeze()  # what stays for good need not be looked at in every collection
    structlog.get_logger().info("worker ready", health=_parts[0].health.url)


@worker_shutdown.connect  # type: ignore[untyped-decorator]
def _take_apart(**_: Any) -> None:
    while _parts:
        parts = _parts.pop()
        parts.health.stop()
        parts.events.stop()
        parts.nodes.close()
