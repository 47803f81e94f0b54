"""A whole cloudpush for tests: web, worker and nodes as real processes on free loopback ports.

Refuses to be ready before every process says so itself; a node says so only when its own probe push has come back.
"""

import os
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import requests

from tests.parts.process import Child, free_port

ROOT = Path(__file__).parents[2]
_READY_S = 45.0
_CALL_S = 5.0


@dataclass
class Node:
    """One cloud node of a fleet."""

    process: Child
    socketio_port: int
    grpc_port: int

    @property
    def url(self) -> str:
        """Where browsers connect."""
        return f"http://127.0.0.1:{self.socketio_port}"

    @property
    def grpc(self) -> str:
        """Where workers call, as host:port."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def node_id(self) -> str:
        """This incarnation, as host:port#boot; from the node's own readiness."""
        node: str = requests.get(f"{self.url}/health/ready", timeout=_CALL_S).json()["node"]
        return node


@dataclass
class Fleet:
    """Web, workers and *count* nodes on one broker and one store; :meth:`start` and :meth:`stop`."""

    home: Path
    broker_url: str
    store_url: str
    count: int = 2
    workers_count: int = 1
    settings: Mapping[str, str] = field(default_factory=dict)
    namespace: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:12]}")
    nodes: list[Node] = field(default_factory=list, init=False)
    root: Path = ROOT  # of the code that runs

    def __post_init__(self) -> None:
        self._web_port = free_port()
        worker_ports = [free_port() for _ in range(self.workers_count)]
        self.url = f"http://127.0.0.1:{self._web_port}"
        self.worker_urls = [f"http://127.0.0.1:{port}" for port in worker_ports]
        self.worker_url = self.worker_urls[0]
        self.web = self._child("web", ["-m", "app.wsgi"])
        self.workers = [self._worker(number, port) for number, port in enumerate(worker_ports)]
        self.worker = self.workers[0]

    def start(self) -> None:
        """Start all, then wait for all; what was started is ended again when one does not come up."""
        try:
            self.web.start()
            for worker in self.workers:
                worker.start()
            for _ in range(self.count):
                self.start_node(wait=False)
            self.wait_ready()
        except BaseException:
            self.kill()
            raise

    def start_node(self, *, wait: bool = True) -> Node:
        """Add a node."""
        socketio_port, grpc_port = free_port(), free_port()
        name = f"node-{len(self.nodes)}"
        ports = {"CLOUDPUSH_SOCKETIO_PORT": str(socketio_port), "CLOUDPUSH_GRPC_PORT": str(grpc_port)}
        ports |= self._surroundings(name, grpc_port)
        # Index 0: the ports above are this node's own, not the first of a row.
        child = self._child(name, ["-m", "cloud_node.server", "--index", "0"], ports)
        node = Node(child, socketio_port, grpc_port)
        self.nodes.append(node)
        child.start()
        if wait:
            self._wait_for(child, node.url)
        return node

    def wait_ready(self) -> None:
        """Wait until everything that runs answers /health/ready with 200."""
        self._wait_for(self.web, self.url)
        for worker, url in zip(self.workers, self.worker_urls, strict=True):
            self._wait_for(worker, url)
        for node in self.nodes:
            if node.process.running:
                self._wait_for(node.process, node.url)

    def push(self, body: Mapping[str, Any], **headers: str) -> requests.Response:
        """POST one push."""
        return requests.post(f"{self.url}/v1/pushes", json=body, headers=headers, timeout=_CALL_S)

    def stop(self) -> None:
        """End all gracefully, web first so that nothing new is accepted."""
        for child in self._children():
            child.terminate()

    def kill(self) -> None:
        """End all as a crash would."""
        for child in self._children():
            child.kill()

    def _children(self) -> list[Child]:
        return [self.web, *(node.process for node in self.nodes), *self.workers]

    def _surroundings(self, name: str, grpc_port: int) -> Mapping[str, str]:  # noqa: ARG002 - for those who override it
        """Settings of one node, for what a kind of fleet puts around it."""
        return {}

    def _worker(self, number: int, port: int) -> Child:
        name = f"worker-{number}" if number else "worker"
        argv = ["-m", "celery", "-A", "tasks", "worker", "-E", "--loglevel=INFO", "-n", f"{name}@%h"]
        return self._child(name, argv, {"CLOUDPUSH_WORKER_PORT": str(port)})

    def _child(self, name: str, arguments: list[str], own: Mapping[str, str] | None = None) -> Child:
        env = os.environ | {
            "PYTHONPATH": f"{self.root}:{self.root / 'clients/python'}",
            "PYTHONUNBUFFERED": "1",
            "RABBITMQ_URL": self.broker_url,
            "REDIS_URL": self.store_url,
            "CLOUDPUSH_STORE_NAMESPACE": self.namespace,
            "CLOUDPUSH_WEB_PORT": str(self._web_port),
        }
        env |= {**self.settings, **(own or {})}
        return Child(name, [sys.executable, *arguments], log=self.home / f"{name}.log", env=env, cwd=self.root)

    def _wait_for(self, child: Child, url: str) -> None:
        child.until(lambda: is_ready(url), _READY_S, f"200 from {url}/health/ready")


def is_ready(url: str) -> bool:
    """Whether the process at *url* says that it can do its work now."""
    try:
        return requests.get(f"{url}/health/ready", timeout=2).status_code == HTTPStatus.OK
    except requests.RequestException:
        return False
