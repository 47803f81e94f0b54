"""The plain pipeline's Celery app: a task a push, one unary gRPC call a task.

Settings are what Celery's documentation recommends for work that must not be lost: quorum queue, publisher confirms,
late acknowledgement, no results; and for short tasks: a large prefetch.  The broker's URL comes from the command line.
"""

from typing import Any

import grpc
import orjson
from celery import Celery

from proto import cloud_pb2, cloud_pb2_grpc

_CALL_S = 2.0
RETRY = {"max_retries": 100, "interval_max": 2}

app = Celery("plain")
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_pool_limit=32,  # a connection for each thread of the web process
    broker_transport_options={"confirm_publish": True},
    task_default_queue="plain",
    task_default_queue_type="quorum",
    worker_detect_quorum_queues=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=64,
)

_stubs: dict[str, Any] = {}


@app.task(name="plain.push")  # type: ignore[untyped-decorator]
def push(node: str, key: str, op: int, msg: Any) -> None:
    """Have *node* emit to the sessions of *key*."""
    if node not in _stubs:  # not before the fork
        _stubs[node] = cloud_pb2_grpc.CloudStub(grpc.insecure_channel(node))  # type: ignore[no-untyped-call]
    body = cloud_pb2.Proto(op=op, body=orjson.dumps(msg))
    _stubs[node].PushMsg(cloud_pb2.PushMsgReq(keys=[key], proto=body, protoOp=op), timeout=_CALL_S)
