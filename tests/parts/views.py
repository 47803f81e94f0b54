"""What a fleet shows of itself to those who look: presence, metrics, dead letters, fields in the store.

Refuses to change anything, but for dead letters, which are taken when they are read.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import amqp
import redis
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.parts.fleet import Fleet
from tests.parts.process import until

_CALL_S = 5.0


def online(fleet: Fleet, key: str) -> int:
    """How many sessions of *key* the REST interface lists."""
    answer = requests.get(f"{fleet.url}/v1/online/keys", params={"key": key}, timeout=_CALL_S)
    answer.raise_for_status()
    return int(answer.json()["keys"][key])


def nodes(fleet: Fleet) -> dict[str, dict[str, Any]]:
    """The live nodes that the REST interface lists, by ``host:port``."""
    answer = requests.get(f"{fleet.url}/v1/nodes", timeout=_CALL_S)
    answer.raise_for_status()
    return {node["grpc"]: node for node in answer.json()["nodes"]}


def metric(url: str, name: str, **labels: str) -> float:
    """One number of the /metrics at *url*; 0 while it has not been counted."""
    text = requests.get(f"{url}/metrics", timeout=_CALL_S).text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return float(sample.value)
    return 0.0


def fate(fleet: Fleet, name: str) -> int:
    """How many keys of pushes ended so, as the worker counts."""
    return int(metric(fleet.worker_url, "cloudpush_push_fates_total", fate=name))


def ready(url: str) -> tuple[int, dict[str, Any]]:
    """Status and body of a process' /health/ready."""
    answer = requests.get(f"{url}/health/ready", timeout=_CALL_S)
    return answer.status_code, answer.json()


def left_in_store(fleet: Fleet, node: str) -> list[str]:
    """What the store still holds of the incarnation *node*: names of Redis keys, with the field where it is one."""
    found: list[str] = []
    with redis.Redis.from_url(fleet.store_url, decode_responses=True, socket_timeout=_CALL_S) as client:
        for name in client.scan_iter(f"{fleet.namespace}:*", count=1000):
            kind = client.type(name)
            if name.endswith(f":{node}"):
                found.append(name)
            elif kind == "hash" and client.hexists(name, node):
                found.append(f"{name} → {node}")
            elif kind == "zset" and client.zscore(name, node) is not None:
                found.append(f"{name} ∋ {node}")
    return found


@contextmanager
def channel_to(broker_url: str) -> Iterator[amqp.Channel]:
    """An AMQP channel in confirm mode to the virtual host of *broker_url*."""
    host, _, vhost = broker_url.removeprefix("amqp://guest:guest@").partition("/")
    with (
        amqp.Connection(host=host, virtual_host=vhost or "/", confirm_publish=True, read_timeout=_CALL_S) as connection,
        connection.channel() as channel,
    ):
        yield channel


def dead_letters(fleet: Fleet, count: int, timeout_s: float = 20.0) -> list[tuple[dict[str, Any], Any]]:
    """Take *count* dead letters, each as its headers and its body: parsed, or bytes where it is not JSON."""
    taken: list[tuple[dict[str, Any], Any]] = []
    with channel_to(fleet.broker_url) as channel:

        def enough() -> bool:
            while (letter := channel.basic_get("cloudpush.dead", no_ack=True)) is not None:
                taken.append((letter.headers, _parsed(letter.body)))
            return len(taken) >= count

        until(enough, timeout_s, f"{count} dead letters")
    return taken


def waiting(fleet: Fleet, queues: Iterable[str] = ("high", "normal", "bulk")) -> int:
    """How many tasks wait on the broker for a worker (not those that a worker has taken)."""
    with channel_to(fleet.broker_url) as channel:
        return sum(channel.queue_declare(f"cloudpush.{name}", passive=True).message_count for name in queues)


def _parsed(body: str | bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body
