"""cloudpush for Python services and terminals: push over REST, listen over Socket.IO.

>>> from cloudpush import Client
>>> Client("http://127.0.0.1:8000").push("hello", keys=["alice"], durable=True)  # doctest: +SKIP
Accepted(push_id='…', status='accepted', href='/v1/pushes/…', request_id='…')
"""

from cloudpush.cursors import Place, State
from cloudpush.errors import CloudpushError, Ended, FieldError, Problem, Refused, StorageFailed, Unreachable
from cloudpush.events import Gap, Message, Ready
from cloudpush.listener import Listener
from cloudpush.rest import Client
from cloudpush.results import (
    Accepted,
    BestNode,
    Cancelled,
    Inbox,
    KeyReceipt,
    Node,
    Online,
    Receipt,
    RoomCount,
    Stored,
)
from cloudpush.storage import FileStorage, MemoryStorage, Storage

__all__ = [
    "Accepted",
    "BestNode",
    "Cancelled",
    "Client",
    "CloudpushError",
    "Ended",
    "FieldError",
    "FileStorage",
    "Gap",
    "Inbox",
    "KeyReceipt",
    "Listener",
    "MemoryStorage",
    "Message",
    "Node",
    "Online",
    "Place",
    "Problem",
    "Ready",
    "Receipt",
    "Refused",
    "RoomCount",
    "State",
    "Storage",
    "StorageFailed",
    "Stored",
    "Unreachable",
]
