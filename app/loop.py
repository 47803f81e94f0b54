"""What waitress does with a request: a thread of its own, or the server's thread and a :class:`~app.turn.Turn`.

Refuses to read what a request asks for, but for its method, path and length.

Threads: everything here runs on the server's thread, but for two things.  ``add_task`` is also called by the threads
of waitress when one request of a connection is answered and the next has arrived already; and the publishing thread
says that a hand-over has ended.  Both append to a deque, which is safe, and wake the server's thread.

1. *A hand-over ends before the view has returned.*  Its turn is in the deque; the loop looks there only afterwards.
2. *The deadline passes while the confirm is told.*  The turn leaves the table of those that are held with whichever is
   looked at first; the other finds nothing there.
3. *The client hangs up while its push is held.*  The push stays promised or refused as it is; the answer goes nowhere.
4. *The server stops.*  A connection whose request is held is not idle, so the server waits for it, and the deadline of
   a confirm ends the wait.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from waitress.channel import HTTPChannel
from waitress.task import Task, ThreadedTaskDispatcher, WSGITask

from app.intake import HandOver
from app.turn import Turn

_MOST_BYTES = 16_384  # of a body that is parsed here; a longer one would keep the others waiting
# Requests that arrive together are handed over together, and so share a task.  Not more than these at a time: the other
# tiers may as well begin while this one goes on.
_TOGETHER = 16

log = structlog.get_logger(__name__)

Environ = dict[str, Any]


class _Answer(Task):  # type: ignore[misc]
    """An answer of the app, written at once or later."""

    complete = True
    body = b""

    def execute(self) -> None:
        """See waitress; head and body leave in one piece."""
        head = self.build_response_header()
        self.wrote_header = True
        self.channel.write_soon(head + self.body if self.has_body and self.request.command != "HEAD" else head)

    def start_response(self, status: str, headers: list[tuple[str, str]], _: Any = None) -> Callable[[bytes], object]:
        """See PEP 3333; whatever was said before is forgotten."""
        self.status, self.response_headers = status, list(headers)
        return self._write

    def _write(self, data: bytes) -> None:
        self.body += data


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection whose next answer may be there already."""

    ready: _Answer | None = None

    @staticmethod
    def task_class(channel: "Channel", request: Any) -> Task:
        """Give what serves *request*."""
        answer, channel.ready = channel.ready, None
        return answer or WSGITask(channel, request)


@dataclass(frozen=True, slots=True)
class Sorting:
    """Which requests go where, by method and path.

    Those that are *quick* are served on the server's thread; *begin* takes what they hand over.  Those that are *heavy*
    have a few threads of their own: a flood of batches leaves the other threads to everybody else.
    """

    quick: Callable[[str, str], bool] = lambda _method, _path: False
    heavy: Callable[[str, str], bool] = lambda _method, _path: False
    begin: Callable[[Sequence[HandOver]], None] = lambda _handovers: None


class Dispatcher(ThreadedTaskDispatcher):  # type: ignore[misc]
    """Serves requests that are quick on the thread that calls :meth:`turn`, all others on threads."""

    def __init__(
        self,
        app: Callable[..., Any],
        sorting: Sorting,
        wake: Callable[[], None],
        *,
        deadline_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._app = app
        self._sorting = sorting
        self._heavy = ThreadedTaskDispatcher()
        self._wake = wake
        self._deadline_s = deadline_s
        self._clock = clock
        self._arrived: deque[Channel] = deque()
        self._ended: deque[Turn] = deque()
        self._held: dict[Turn, tuple[Channel, _Answer, float]] = {}  # oldest first

    def set_thread_count(self, count: int) -> None:
        """See waitress; an eighth as many for what is heavy."""
        super().set_thread_count(count)
        self._heavy.set_thread_count(max(2, count // 8) if count else 0)

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:
        """See waitress."""
        self._heavy.shutdown(cancel_pending, timeout)
        return bool(super().shutdown(cancel_pending, timeout))

    @property
    def held(self) -> int:
        """How many requests wait for their confirm."""
        return len(self._held)

    def add_task(self, channel: Channel) -> None:
        """See waitress."""
        request = channel.requests[0]
        if request.error is not None:
            super().add_task(channel)
        elif self._sorting.heavy(request.command, request.path):
            self._heavy.add_task(channel)
        elif (
            request.content_length <= _MOST_BYTES
            and not request.chunked
            and self._sorting.quick(request.command, request.path)
        ):
            self._arrived.append(channel)
        else:
            super().add_task(channel)

    def idle_s(self, longest_s: float) -> float:
        """Give how long there is nothing to do here, at most *longest_s*."""
        if self._arrived or self._ended:
            return 0.0
        for _, _, until in self._held.values():
            return max(0.0, min(longest_s, until - self._clock()))
        return longest_s

    def turn(self) -> None:
        """Serve what has arrived; answer what has ended, or waits too long."""
        while self._ended:
            self._settle(self._ended.popleft())
        begun: list[HandOver] = []
        for _ in range(len(self._arrived)):  # what they make arrive waits for the next turn
            if (handover := self._serve(self._arrived.popleft())) is not None:
                begun.append(handover)
            if len(begun) == _TOGETHER:
                self._sorting.begin(begun)
                begun = []
        if begun:
            self._sorting.begin(begun)
        now = self._clock()
        for turn in [turn for turn, (_, _, until) in self._held.items() if until <= now]:
            self._settle(turn, late=True)

    def _serve(self, channel: Channel) -> HandOver | None:
        """Run the app; gives what is to be handed over."""
        request = channel.requests[0]
        turn, answer = Turn(self._note_end), _Answer(channel, request)
        self._run(turn, answer)
        if turn.declined:
            request.get_body_stream().seek(0)
            super().add_task(channel)
        elif turn.handover is not None:
            self._held[turn] = (channel, answer, self._clock() + self._deadline_s)
        else:
            self._answer(channel, answer)
        return turn.handover

    def _settle(self, turn: Turn, *, late: bool = False) -> None:
        if (held := self._held.pop(turn, None)) is None:
            return
        channel, answer, _ = held
        if not turn.settle(late=late):
            answer = _Answer(channel, answer.request)
            self._run(turn, answer)
        self._answer(channel, answer)

    def _run(self, turn: Turn, answer: _Answer) -> None:
        """Have the app make *answer*.  Flask answers its own errors; another is ours, and ends the connection."""
        try:
            environ: Environ = WSGITask(answer.channel, answer.request).get_environment()
            turn.put_into(environ)
            answer.body = b"".join(self._app(environ, answer.start_response))
            answer.content_length = len(answer.body)
        except Exception:
            log.exception("request_failed")
            answer.start_response("500 Internal Server Error", [])
            answer.body, answer.content_length = b"", 0
            answer.set_close_on_finish()

    def _answer(self, channel: Channel, answer: _Answer) -> None:
        channel.ready = answer
        channel.service()

    def _note_end(self, turn: Turn) -> None:
        first = not self._ended
        self._ended.append(turn)
        if first:
            self._wake()
