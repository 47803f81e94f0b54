"""What a worker itself puts on the broker: later attempts, and dead letters.  Always confirmed.

A task is acknowledged only after what follows from it is on the broker.  Where the broker will not take that, the
task is rejected back onto its queue, so nothing is lost; a task that comes back too often ends, by the queue's
delivery limit, among the dead letters.

A delay is the broker's to keep, and by its own clock: the task says nothing of when it may run, since Celery would
hold what seems to be early in the memory of a worker, by that worker's clock.  The embedded broker keeps no delays;
there a worker has to.

Later attempts of one priority and delay share tasks, as they did before, within the same bounds.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any
from uuid import uuid4

import orjson
from celery import Celery
from celery.exceptions import Reject
from kombu.transport.native_delayed_delivery import MAX_LEVEL, calculate_routing_key, level_name

import celeryconfig
from proto import queues, task
from proto.message import Push
from tasks import turns

PUBLISH_DEADLINE_S = 5


def describe(*pushes: Push) -> str:
    """Say in Flower and in logs which pushes a task carries; never their bodies."""
    if len(pushes) == 1:
        (push,) = pushes
        return f"({push.push_id}: {len(push.keys)} keys, op {push.message.op}, attempt {push.attempt})"
    keys = sum(len(push.keys) for push in pushes)
    return f"({len(pushes)} pushes, {pushes[0].push_id} to {pushes[-1].push_id}: {keys} keys)"


def again(app: Celery, later: Iterable[tuple[Push, int]]) -> None:
    """Put pushes on their queues again, each in so many seconds: held by the broker, not by this worker's memory."""
    with _confirmed(app) as producer:
        for pushes, payloads, delay_s in _shared(later):
            _put(producer, queues.PUSH_TASK, payloads, describe(*pushes), pushes[0].priority, delay_s)


def apart(app: Celery, pushes: Iterable[Push]) -> None:
    """Put each push on its queue in a task of its own, as it is."""
    with _confirmed(app) as producer:
        for push in pushes:
            put_push(producer, push.to_payload(), push)


def disconnect_again(app: Celery, keys: Sequence[str], attempt: int, delay_s: int) -> None:
    """Have the sessions of *keys* ended in *delay_s* seconds; *attempt* counts those that failed."""
    with _confirmed(app) as producer:
        put_disconnect(producer, keys, attempt, delay_s)


def dead_letter(app: Celery, payload: Mapping[str, Any], reason: str, details: str) -> None:
    """Keep *payload* for a person: *reason* is one of a few words, *details* the full story."""
    with _confirmed(app) as producer:
        put_dead_letter(producer, payload, reason, details)


def put_push(producer: Any, payload: Mapping[str, Any], push: Push, delay_s: int = 0) -> None:
    """Publish the task of *push*, whose argument is *payload*, through a producer of the caller's."""
    _put(producer, queues.PUSH_TASK, [payload], describe(push), push.priority, delay_s)


def put_disconnect(producer: Any, keys: Sequence[str], attempt: int = 0, delay_s: int = 0) -> None:
    """Publish a task that ends the sessions of *keys*."""
    shown = f"({len(keys)} keys, attempt {attempt})"
    _put(producer, queues.DISCONNECT_TASK, [list(keys), attempt], shown, queues.Priority.HIGH, delay_s)


def put_dead_letter(producer: Any, payload: Any, reason: str, details: str) -> None:
    """Publish a dead letter."""
    producer.publish(
        {"payload": payload, "reason": reason, "details": details, "at_ms": time.time_ns() // 1_000_000},
        # On the embedded broker a fanout exchange reaches only those who listen just then; the queue has to be named.
        exchange=queues.DEAD_EXCHANGE if celeryconfig.settings.on_rabbitmq else "",
        routing_key=queues.DEAD_QUEUE,
        declare=[celeryconfig.dead_queue],
        serializer="json",
        headers={"reason": reason},
        delivery_mode=2,
        retry=False,
        confirm_timeout=PUBLISH_DEADLINE_S,
    )


def _put(producer: Any, name: str, args: list[Any], shown: str, priority: queues.Priority, delay_s: int) -> None:
    body, headers = task.message(name, task_id := str(uuid4()), args, shown)
    exchange, routing_key = queues.EXCHANGE, priority.queue
    if delay_s and celeryconfig.settings.on_rabbitmq:
        exchange = level_name(MAX_LEVEL)  # workers have declared it
        routing_key = calculate_routing_key(delay_s, routing_key)
    elif delay_s:
        headers["eta"] = (datetime.now(UTC) + timedelta(seconds=delay_s)).isoformat()
    producer.publish(
        body,
        exchange=exchange,
        routing_key=routing_key,
        declare=[celeryconfig.push_queues[priority]],
        serializer="json",
        headers=headers,
        correlation_id=task_id,
        delivery_mode=2,
        retry=False,
        confirm_timeout=PUBLISH_DEADLINE_S,
    )


def _shared(later: Iterable[tuple[Push, int]]) -> Iterator[tuple[list[Push], list[dict[str, Any]], int]]:
    """Group pushes by queue and delay, within the bounds of a task; a push that is larger goes alone."""
    groups: dict[tuple[queues.Priority, int], list[tuple[Push, dict[str, Any], int]]] = {}
    for push, delay_s in later:
        payload = push.to_payload()
        groups.setdefault((push.priority, delay_s), []).append((push, payload, len(orjson.dumps(payload))))
    for (_, delay_s), group in groups.items():
        begin = 0
        while begin < len(group):
            sizes = accumulate([size for _, _, size in group[begin : begin + task.MOST_PUSHES]])
            count = max(1, sum(size <= task.MOST_BYTES for size in sizes))
            some = group[begin : begin + count]
            yield [push for push, _, _ in some], [payload for _, payload, _ in some], delay_s
            begin += count


@contextmanager
def _confirmed(app: Celery) -> Iterator[Any]:
    try:
        with turns.away(), app.producer_pool.acquire(block=True, timeout=PUBLISH_DEADLINE_S) as producer:
            try:
                yield producer
            except BaseException:
                # A late confirm on this channel would be taken for the next publish's.
                producer.__connection__.collect()
                raise
    except Exception as error:
        raise Reject(f"the broker did not take what follows from this task: {error!r}", requeue=True) from error
