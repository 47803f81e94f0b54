"""One call of PushStream, driven by events: nothing waits here, and no thread is kept.

The only file that reaches below gRPC's public interface, for what that saves.  A public stream has two threads, one
that sends what an iterator gives and one that asks for answers, and hands everything over between them: a push to a
node and its answer woke six threads where they now wake two, and took 0.3 ms more, nearly half of the whole.  What is
used here (``IntegratedCall.operate`` and the operations) is what ``grpc/_channel.py`` itself is made of.  Where a
release of gRPC has it no longer, :func:`open_wire` raises NoWire, and pushes go one by one; a test says so, too.

Threads: any may send, one message at a time; events come on one thread of gRPC's for each channel, in their order,
with no lock held.  That thread ends when no call of its channel expects an event, and closing a channel waits for all
that is expected: so each operation is counted, and the last event of a call, and no other, says that it was the last.
"""

import threading
from collections.abc import Sequence
from typing import Any, Protocol

import grpc
import structlog

try:
    from grpc._cython import cygrpc
except ImportError:  # pragma: no cover
    cygrpc = None

_METHOD = "/im.cloud.Cloud/PushStream"
_NO_FLAGS = 0

log = structlog.get_logger()


class NoWire(Exception):
    """The release of gRPC that is installed is made otherwise."""


class Events(Protocol):
    """Told of one call, on gRPC's thread; must not wait."""

    def sent(self) -> None:
        """The message is on its way: the next may be sent."""

    def answered(self, data: bytes) -> None:
        """An answer came; an exception ends the call, and is the reason in :meth:`ended`."""

    def ended(self, code: grpc.StatusCode, details: str) -> None:
        """The call is over; nothing comes after this."""


class Wire:
    """The call.  Make it with :func:`open_wire`."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._error = ""
        self._lock = threading.Lock()
        self._expected = 0
        self._call: Any = None

    def begin(self, channel: Any, metadata: Sequence[tuple[str, str]]) -> None:
        """Begin the call; raises ValueError when the channel is closed."""
        method = channel.stream_stream(_METHOD)
        operations = (
            (
                cygrpc.SendInitialMetadataOperation(metadata, _NO_FLAGS),
                cygrpc.ReceiveStatusOnClientOperation(_NO_FLAGS),
            ),
            (cygrpc.ReceiveInitialMetadataOperation(_NO_FLAGS),),
        )
        self._expected = len(operations)
        self._call = method._managed_call(
            cygrpc.PropagationConstants.GRPC_PROPAGATE_DEFAULTS,
            method._method,
            None,  # host
            None,  # deadline: callers have theirs
            metadata,
            None,  # credentials
            operations,
            self._on_status,
            method._context,
            method._registered_call_handle,
        )
        self._operate(cygrpc.ReceiveMessageOperation(_NO_FLAGS), self._on_message)

    def send(self, data: bytes) -> None:
        """Send a message; only before the first or after :meth:`Events.sent`."""
        self._operate(cygrpc.SendMessageOperation(data, _NO_FLAGS), self._on_sent)

    def cancel(self) -> None:
        """End the call."""
        if self._call is not None:
            self._call.cancel(cygrpc.StatusCode.cancelled, "ended by its caller")

    def _operate(self, operation: Any, then: Any) -> None:
        with (
            self._lock
        ):  # also over gRPC's part: were the last event counted meanwhile, nobody would say it was the last
            if self._call.operate((operation,), then):  # False: the call is over
                self._expected += 1

    def _done(self) -> bool:
        """Count an event that has come; tells whether it was the last."""
        with self._lock:
            self._expected -= 1
            return not self._expected

    def _on_sent(self, event: Any) -> bool:
        if event.success:
            self._tell(self._events.sent)
        return self._done()

    def _on_message(self, event: Any) -> bool:
        message = event.batch_operations[0].message()
        if message is not None:
            self._tell(self._events.answered, message)
            self._operate(cygrpc.ReceiveMessageOperation(_NO_FLAGS), self._on_message)
        return self._done()

    def _on_status(self, event: Any) -> bool:
        for operation in event.batch_operations:
            if operation.type() == cygrpc.OperationType.receive_status_on_client:
                details = self._error or _text(operation.details())
                self._tell(self._events.ended, _status(operation.code()), details)
        return self._done()

    def _tell(self, event: Any, *arguments: Any) -> None:
        try:
            event(*arguments)
        except Exception as error:  # noqa: BLE001 - it would end gRPC's thread, and with it all streams of the channel
            log.error("ended a stream to a node", reason=repr(error))
            self._error = str(error)
            self.cancel()


def open_wire(channel: Any, metadata: Sequence[tuple[str, str]], events: Events) -> Wire:
    """Begin a call of PushStream; raises ValueError when the channel is closed, NoWire when it cannot be done."""
    wire = Wire(events)
    try:
        wire.begin(channel, metadata)
    except (AttributeError, TypeError) as error:
        log.error(
            "no streams with this release of gRPC: pushes go one by one", version=grpc.__version__, reason=str(error)
        )
        raise NoWire(str(error)) from error
    return wire


def _status(code: int) -> grpc.StatusCode:
    return next((status for status in grpc.StatusCode if status.value[0] == code), grpc.StatusCode.UNKNOWN)


def _text(details: Any) -> str:
    return details.decode("utf-8", "replace") if isinstance(details, bytes) else str(details)
