"""cloudpush.connection: how a connection ends."""

import os
import subprocess
import sys
import threading
from typing import Any

import pytest

from cloudpush import Ended
from cloudpush.connection import Connection
from tests.fakes.scripted_node import scripted_node
from tests.parts.process import until

WAIT_S = 10.0

LEAVE = """
import os, sys
from cloudpush import Listener
listener = Listener(sys.argv[1], on_message=print, polling=sys.argv[2] == "polling").start()
listener.wait_ready(10)
listener.close()
os._exit(0)
"""


def test_what_the_node_said_last_counts_even_if_the_transport_has_ended_since() -> None:
    go, busy = threading.Event(), threading.Event()

    def on_event(_connection: Connection, event: str, _said: Any) -> None:
        if event == "push":
            busy.set()
            assert go.wait(WAIT_S)

    with scripted_node() as node:
        connection = Connection(node.url, {"key": "alice"}, ["websocket"], on_event)
        connection.open()
        node.store("alice", 1)
        assert busy.wait(WAIT_S)
        node.kick()
        arrived = connection._sio.eio.arrived
        until(lambda: arrived.qsize() == 2, WAIT_S, "the DISCONNECT and the end to wait behind the message")
        assert connection.failure is None
        go.set()
        until(lambda: not connection.alive, WAIT_S, "the end")
        assert isinstance(connection.failure, Ended)
        connection.close()


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_a_process_that_ends_right_after_close_has_left(transport: str) -> None:
    with scripted_node() as node:
        arguments = [sys.executable, "-c", LEAVE, node.url, transport]
        subprocess.run(arguments, env=os.environ | {"PYTHONPATH": "clients/python"}, check=True, timeout=30)
        assert len(node.auths) == 1
        until(lambda: not node.sids, 3.0, "the session to be gone, before any ping")
