"""A job tier for tests: real workers on a real broker and store, and one node that answers as a test says.

Refuses to run a web tier and sessions: what these would do, a test does by hand.
"""

import os
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import kombu
from kombu.transport.native_delayed_delivery import MAX_LEVEL, calculate_routing_key, level_name
from pydantic import SecretStr

from proto import cloud_pb2, queues, task
from proto.message import Message, Push
from store.batch import Batch
from store.clock import StoreClock
from store.connection import connect
from store.directory import RedisDirectory
from store.inbox import Inbox
from store.pending import Pending
from store.receipts import Receipts, State
from store.registry import NodeInfo, Registry
from store.requests import Requests
from store.settings import StoreSettings
from tests.fakes.cloud_node import FakeNode, serving
from tests.parts.fleet import is_ready
from tests.parts.process import Child, free_port

_ROOT = Path(__file__).parents[2]
_READY_S = 45.0


class Store:
    """What the tiers keep in the store, read and written as they do."""

    def __init__(self, url: str, namespace: str) -> None:
        self.settings = StoreSettings(redis_url=SecretStr(url), store_namespace=namespace, settle_s=0)
        self.client = connect(self.settings)
        self.clock = StoreClock()
        self.clock.ask(self.client)
        self.registry = Registry(self.client, self.settings)
        self.directory = RedisDirectory(self.client, self.settings, self.registry)
        self.receipts = Receipts(self.client, self.settings, self.clock)
        self.pending = Pending(self.client, self.settings)
        self.requests = Requests(self.client, self.settings)
        self.inbox = Inbox(self.client, self.settings, self.clock)

    def state(self, push_id: str, key: str) -> State | None:
        """How far a push is with one of its keys; None without a receipt."""
        receipt = self.receipts.get(push_id)
        return receipt.keys[key].state if receipt is not None else None

    def kept(self, key: str) -> list[str]:
        """The push_ids in a key's inbox, in order."""
        return [kept.push_id for kept in self.inbox.read({key: 0}, 100)[key].messages]


@dataclass
class Worker:
    """One worker process."""

    process: Child
    port: int

    @property
    def url(self) -> str:
        """Where its /metrics and /health are."""
        return f"http://127.0.0.1:{self.port}"


@dataclass
class Job:
    """Workers on *broker_url* and *store_url*; see :func:`job_tier`."""

    home: Path
    broker_url: str
    store_url: str
    node: FakeNode
    settings: Mapping[str, str] = field(default_factory=dict)
    namespace: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:12]}")
    workers: list[Worker] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = Store(self.store_url, self.namespace)
        self.env = os.environ | {
            "PYTHONPATH": f"{_ROOT}:{_ROOT / 'clients/python'}",
            "PYTHONUNBUFFERED": "1",
            "RABBITMQ_URL": self.broker_url,
            "REDIS_URL": self.store_url,
            "CLOUDPUSH_STORE_NAMESPACE": self.namespace,
            "CLOUDPUSH_SETTLE_S": "0",
            "CLOUDPUSH_RECONCILE_EVERY_S": "0.2",
            **self.settings,
        }

    @property
    def worker(self) -> Worker:
        """The first worker."""
        return self.workers[0]

    def start_worker(self) -> Worker:
        """Add a worker and wait until it takes tasks."""
        port, name = free_port(), f"worker-{len(self.workers)}"
        argv = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-E", "-n", f"{name}@%h", "--loglevel=INFO"]
        env = {**self.env, "CLOUDPUSH_WORKER_PORT": str(port)}
        worker = Worker(Child(name, argv, log=self.home / f"{name}.log", env=env, cwd=_ROOT), port)
        self.workers.append(worker)
        worker.process.start()
        self.wait_ready(worker)
        return worker

    def wait_ready(self, worker: Worker) -> None:
        """Wait until a worker takes tasks."""
        worker.process.until(lambda: is_ready(worker.url), _READY_S, f"200 from {worker.url}/health/ready")

    def hold(self, *keys: str) -> None:
        """Let the directory say that the node holds sessions of *keys*."""
        self.store.directory.put(f"{self.node.address}#boot", dict.fromkeys(keys, 1))

    def make(self, *keys: str, ttl_s: float = 600, delay_s: float = 0, **fields: Any) -> Push:
        """Give a push as the web tier makes it."""
        now_ms = self.store.clock.now_ms()
        due_ms = now_ms + int(delay_s * 1000)
        return Push(
            uuid.uuid4().hex[:26],
            keys,
            Message(9, b'"hello"'),
            accepted_ms=now_ms,
            not_before_ms=due_ms if delay_s else 0,
            expires_ms=due_ms + int(ttl_s * 1000),
            **{"recorded": True, **fields},
        )

    def accept(self, push: Push, due_in_s: float = 15, *, append: bool = True) -> Push:
        """Do what the web tier does in the store before it publishes; gives the push with its places."""
        batch = Batch(self.store.client)
        self.store.pending.add(batch, push.push_id, self.store.clock.now_ms() + int(due_in_s * 1000))
        self.store.receipts.create(batch, push, State.SCHEDULED if push.not_before_ms else State.ACCEPTED)
        places = {}
        if push.durable and append and not push.not_before_ms:
            ttl_ms = push.expires_ms - push.accepted_ms
            places = {key: self.store.inbox.append(batch, key, push.push_id, push.message, ttl_ms) for key in push.keys}
        answers = batch.run()
        return replace(push, places={key: Inbox.appended(answers[at]).place for key, at in places.items()})

    def put(self, push: Push, *companions: Push, delay_s: int = 0, times: int = 1) -> None:
        """Publish the task of *push*, and of others with it."""
        payloads = [one.to_payload() for one in (push, *companions)]
        self.put_payloads(payloads, push.priority, push.push_id, delay_s=delay_s, times=times)

    def put_payloads(
        self,
        payloads: Sequence[Any],
        priority: queues.Priority = queues.Priority.NORMAL,
        task_id: str = "",
        *,
        delay_s: int = 0,
        times: int = 1,
    ) -> None:
        """Publish a task with these arguments."""
        exchange, routing_key = queues.EXCHANGE, priority.queue
        if delay_s:
            exchange, routing_key = level_name(MAX_LEVEL), calculate_routing_key(delay_s, routing_key)
        task_id = task_id or uuid.uuid4().hex
        body, headers = task.message(queues.PUSH_TASK, task_id, list(payloads), f"({task_id})")
        options = {"confirm_publish": True} if self.broker_url.startswith("amqp") else {}
        with kombu.Connection(self.broker_url, transport_options=options) as connection:
            for _ in range(times):
                connection.Producer().publish(
                    body,
                    exchange=exchange,
                    routing_key=routing_key,
                    headers=headers,
                    serializer="json",
                    correlation_id=task_id,
                    delivery_mode=2,
                )

    def sent(self, push: Push) -> list[cloud_pb2.PushMsgReq]:
        """The requests for *push* that came to the node."""
        return [request for request in self.node.requests if request.push_id == push.push_id]


def delivers(request: cloud_pb2.PushMsgReq, _context: Any) -> cloud_pb2.PushMsgReply:
    """Answer as a node that has a session of every key."""
    return cloud_pb2.PushMsgReply(
        outcomes=[cloud_pb2.OUTCOME_DELIVERED] * len(request.keys), sessions=[1] * len(request.keys)
    )


@contextmanager
def job_tier(
    home: Path, broker_url: str, store_url: str, *, workers: int = 1, settings: Mapping[str, str] | None = None
) -> Iterator[Job]:
    """Run workers and a node until the block ends."""
    with serving(delivers) as node:
        job = Job(home, broker_url, store_url, node, settings or {})
        info = NodeInfo(f"{node.address}#boot", node.address, "", started_ms=time.time_ns() // 1_000_000)
        job.store.registry.register(info, 3600)
        try:
            for _ in range(workers):
                job.start_worker()
            yield job
        finally:
            for worker in job.workers:
                worker.process.kill()
            job.store.client.close()
