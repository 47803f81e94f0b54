"""cloudpush for programs and terminals: push over REST, listen over Socket.IO.

>>> from cloudpush import Client
>>> Client("http://127.0.0.1:8000").push({"keys": ["alice"], "msg": "hello"})  # doctest: +SKIP
Accepted(push_id='…', status='accepted', href='/v1/pushes/…')
"""

from cloudpush.errors import CloudpushError, Ended, Problem, Refused, Unreachable
from cloudpush.listener import Listener, Message, Ready
from cloudpush.rest import Accepted, Client

__all__ = [
    "Accepted",
    "Client",
    "CloudpushError",
    "Ended",
    "Listener",
    "Message",
    "Problem",
    "Ready",
    "Refused",
    "Unreachable",
]
