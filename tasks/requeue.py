"""What a worker itself puts on the broker: later attempts, and dead letters.  Always confirmed.

A task is acknowledged only after what follows from it is on the broker.  Where the broker will not take that, the
task is rejected back onto its queue, so nothing is lost; a task that comes back too often ends, by the queue's
delivery limit, among the dead letters.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from celery import Celery
from celery.exceptions import Reject

import celeryconfig
from proto import queues
from proto.message import Push

_PUBLISH_DEADLINE_S = 5


def describe(push: Push) -> str:
    """Say in Flower and in logs which push a task carries; never its body."""
    return f"({push.push_id}: {len(push.keys)} keys, op {push.message.op}, attempt {push.attempt})"


def again(app: Celery, push: Push, delay_s: int) -> None:
    """Put *push* on its queue again in *delay_s* seconds: held by the broker, not by this worker's memory."""
    _later(app, queues.PUSH_TASK, (push.to_payload(),), describe(push), push.priority, delay_s)


def disconnect_again(app: Celery, keys: Sequence[str], attempt: int, delay_s: int) -> None:
    """Have the sessions of *keys* ended in *delay_s* seconds; *attempt* counts those that failed."""
    shown = f"({len(keys)} keys, attempt {attempt})"
    _later(app, queues.DISCONNECT_TASK, (list(keys), attempt), shown, queues.Priority.HIGH, delay_s)


def dead_letter(app: Celery, payload: Mapping[str, Any], reason: str, details: str) -> None:
    """Keep *payload* for a person: *reason* is one of a few words, *details* the full story."""
    with _confirmed(app) as producer:
        producer.publish(
            {"payload": payload, "reason": reason, "details": details},
            exchange=queues.DEAD_EXCHANGE,
            routing_key=queues.DEAD_QUEUE,
            declare=[celeryconfig.dead_queue],
            serializer="json",
            headers={"reason": reason},
            delivery_mode=2,
            retry=False,
            confirm_timeout=_PUBLISH_DEADLINE_S,
        )


def _later(app: Celery, task: str, args: tuple[Any, ...], shown: str, priority: queues.Priority, delay_s: int) -> None:
    with _confirmed(app) as producer:
        app.send_task(
            task,
            args=args,
            argsrepr=shown,
            countdown=delay_s,
            queue=celeryconfig.push_queues[priority],
            producer=producer,
            retry=False,
            confirm_timeout=_PUBLISH_DEADLINE_S,
        )


@contextmanager
def _confirmed(app: Celery) -> Iterator[Any]:
    try:
        with app.producer_pool.acquire(block=True, timeout=_PUBLISH_DEADLINE_S) as producer:
            try:
                yield producer
            except BaseException:
                # A late confirm on this channel would be taken for the next publish's.
                producer.__connection__.collect()
                raise
    except Exception as error:
        raise Reject(f"the broker did not take what follows from this task: {error!r}", requeue=True) from error
