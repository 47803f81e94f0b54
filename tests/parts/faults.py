"""What goes wrong, as context managers: the fault begins with the block and is over, repaired, at its end.

Refuses to leave a process stopped or a part down, whatever the block raises.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from tests.parts.process import Child
from tests.parts.rabbitmq import RabbitMQ
from tests.parts.redis import RedisServer


@contextmanager
def frozen(child: Child) -> Iterator[None]:
    """Stop the process in its tracks (SIGSTOP): its sockets stay open, and nobody answers."""
    child.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        if child.running:
            child.signal(signal.SIGCONT)


@contextmanager
def stopped(part: RabbitMQ | RedisServer | Child) -> Iterator[None]:
    """End it gracefully, and start it again on the data that it kept."""
    part.terminate() if isinstance(part, Child) else part.stop()
    try:
        yield
    finally:
        part.start()


@contextmanager
def killed(part: RabbitMQ | RedisServer | Child) -> Iterator[None]:
    """End it as a crash would, and start it again on the data that it kept."""
    part.kill()
    try:
        yield
    finally:
        part.start()


@contextmanager
def emptied(server: RedisServer) -> Iterator[None]:
    """End the store, and start it again with nothing in it, as one without persistence."""
    server.wipe()
    with stopped(server):
        yield
