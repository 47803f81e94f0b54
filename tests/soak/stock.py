"""Stock python-socketio as its documentation has it: two nodes and an emitter, with RedisManager between them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.parts.fleet import ROOT
from tests.parts.process import Child, free_port
from tests.parts.redis import RedisServer
from tests.soak.callers import Door
from tests.soak.stand import Part, Stand, starting

_KINDS = ("kill", "freeze", "reconnects", "reloads")


@contextmanager
def stock_stand(home: Path) -> Iterator[Stand]:
    """Run it; a push is accepted when ``emit`` has returned."""
    redis = RedisServer(home / "redis", fsync="always")
    redis.start()
    ports = {"web": free_port(), "node-0": free_port(), "node-1": free_port()}
    modules = {"web": "redis_manager_web", "node-0": "redis_manager_node", "node-1": "redis_manager_node"}
    parts = {"redis": Part(redis.child, redis.start)}
    for name, port in ports.items():
        argv = [sys.executable, "-m", f"bench.peers.{modules[name]}", str(port), redis.url]
        child = Child(name, argv, log=home / f"{name}.log", cwd=ROOT)
        parts[name] = Part(child, starting(child, port))
    try:
        for name in ports:
            parts[name].start()
        yield Stand(
            door=Door(ports["web"], "/emit", {}, idempotent=False),
            rest=f"http://127.0.0.1:{ports['web']}",
            node_urls=[f"http://127.0.0.1:{ports[name]}" for name in ("node-0", "node-1")],
            parts=parts,
        )
    finally:
        for part in parts.values():
            part.child.kill()
