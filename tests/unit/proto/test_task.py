"""A task message made by hand is what Celery itself would have sent."""

from celery import Celery

from proto import queues, task
from proto.message import Message, Push

# What a worker reads before it runs the task, or Flower shows.
_NEEDED = (
    "lang",
    "task",
    "id",
    "root_id",
    "parent_id",
    "group",
    "argsrepr",
    "kwargsrepr",
    "retries",
    "timelimit",
    "eta",
    "expires",
    "ignore_result",
)


def test_headers_and_body_are_those_of_celery() -> None:
    payload = Push("01J", ("probe:127.0.0.1:9500",), Message(9, b"1.5")).to_payload()
    body, headers = task.message(queues.PUSH_TASK, "01J", [payload], "(a node's probe)")

    theirs = Celery("none", set_as_current=False).amqp.as_task_v2(
        "01J", queues.PUSH_TASK, args=(payload,), kwargs={}, argsrepr="(a node's probe)", ignore_result=True
    )

    assert body == [list(theirs.body[0]), *theirs.body[1:]]
    assert {name: headers[name] for name in _NEEDED} == {
        name: list(theirs.headers[name]) if name == "timelimit" else theirs.headers[name] for name in _NEEDED
    }
