"""Looks into the queues of a broker, as an operator would.

Refuses to leave a queue other than it found it, dead letters that it was asked for excepted.
"""

import json
from typing import Any

import kombu

from proto.queues import DEAD_QUEUE
from tests.parts.process import until

_WAIT_S = 10.0


def waiting_pushes(broker_url: str, queue: str) -> list[str]:
    """The push_ids of the tasks that wait in *queue*; they stay there, in their order."""
    with kombu.Connection(broker_url) as connection:
        channel = connection.channel()
        got = []
        while (message := channel.basic_get(queue)) is not None:
            got.append(message)
        for message in reversed(got):
            channel.basic_reject(message.delivery_tag, requeue=True)
        return [json.loads(message.body)[0][0]["push_id"] for message in got]


def dead_letter(broker_url: str, push_id: str) -> dict[str, Any]:
    """Wait for the dead letter of a push, and take it."""
    found: list[dict[str, Any]] = []

    def arrived() -> bool:
        with kombu.Connection(broker_url) as connection:
            channel = connection.channel()
            while (message := channel.basic_get(DEAD_QUEUE)) is not None:
                letter = json.loads(message.body)
                if letter["payload"].get("push_id") == push_id:
                    channel.basic_ack(message.delivery_tag)
                    found.append(letter)
                    return True
        return False  # what was not acknowledged goes back when the connection closes

    until(arrived, _WAIT_S, f"a dead letter of {push_id}")
    return found[0]
