"""Where a listener keeps its cursors for a restart.

:class:`MemoryStorage` (the default) forgets with the process.  :class:`FileStorage` writes after each durable message.

Its file is a line with the whole state, then a line for each change since, so that a message costs one small write.
The whole state is written first, and anew after a thousand changes: beside the file, fsynced, and then it takes the
file's name.  Whenever the process is killed, the file is whole; a last line that was cut, by a crash of the machine, is
left out.  Changes are fsynced at most once in *fsync_every_s*, and at the end: a process that dies loses nothing; a
machine that dies may go back by that long, and then those messages come again.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Protocol

from cloudpush.cursors import SEEN_KEPT, Place, State
from cloudpush.errors import StorageFailed

try:
    import fcntl
except ImportError:  # not on Windows: there, two processes with one file are not noticed
    fcntl = None  # type: ignore[assignment]

_VERSION = 1
_MOST_LINES = 1000


class Storage(Protocol):
    """Keeps one :class:`State`.  Called from one thread at a time; each call may raise StorageFailed."""

    def load(self) -> State:
        """Give what was saved last; an empty State if nothing was."""

    def save(self, state: State) -> None:
        """Keep *state* in place of the one before: either is there afterwards, never a part."""

    def close(self) -> None:
        """Make the last one as safe as it will be, and let go."""


class MemoryStorage:
    """Keeps it as long as this object lives: over reconnects and new listeners, not over a restart."""

    def __init__(self) -> None:
        self._state = State()

    def load(self) -> State:
        """Give what was saved last."""
        return self._state

    def save(self, state: State) -> None:
        """Keep *state*."""
        self._state = state

    def close(self) -> None:
        """Do nothing: the next listener may go on."""


class FileStorage:
    """Keeps it in the file *path*, for one process at a time; a second one is told so (StorageFailed)."""

    def __init__(
        self, path: str | os.PathLike[str], *, fsync_every_s: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.path = Path(path)
        self._fsync_every_s = fsync_every_s
        self._clock = clock
        self._synced_at = 0.0
        self._unsynced = False
        self._last = State()
        self._file: IO[bytes] | None = None
        self._lines = 0
        self._lock: IO[str] | None = None

    def load(self) -> State:
        """Give what was saved last, and hold the file until :meth:`close`."""
        try:
            self._hold()
            lines = self.path.read_bytes().split(b"\n") if self.path.exists() else [b""]
        except OSError as error:
            raise StorageFailed(str(self.path), str(error)) from error
        if lines == [b""]:
            return State()
        try:
            return read(lines[:-1])  # what is behind the last end of a line was cut
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"not a listener's state ({error!r}); move it away to begin anew"
            raise StorageFailed(str(self.path), reason) from error

    def save(self, state: State) -> None:
        """Write what has changed, or the whole."""
        try:
            if self._file is None or self._lines >= _MOST_LINES or self._last.key != state.key:
                self._write_whole(state)
            elif change := _change(self._last, state):
                _write(self._file, _line(change))
                self._lines += 1
                self._unsynced = True
            if self._clock() - self._synced_at >= self._fsync_every_s:
                self._sync()
        except OSError as error:
            self._lines = _MOST_LINES  # its last line may be half a one: begin anew, if anybody goes on
            raise StorageFailed(str(self.path), str(error)) from error
        self._last = state

    def close(self) -> None:
        """Fsync what was not, and let another process have the file."""
        try:
            self._sync()
        except OSError as error:
            raise StorageFailed(str(self.path), str(error)) from error
        finally:
            for file in (self._file, self._lock):
                if file is not None:
                    file.close()
            self._file = self._lock = None

    def _write_whole(self, state: State) -> None:
        beside = self.path.with_name(self.path.name + ".new")
        file = beside.open("wb", buffering=0)
        try:
            _write(file, _line(_whole(state)))
            os.fsync(file.fileno())
            beside.replace(self.path)
            if os.name == "posix":
                _fsync_directory(self.path.parent)
        except OSError:
            file.close()
            raise
        if self._file is not None:
            self._file.close()
        self._file, self._lines = file, 0
        self._unsynced, self._synced_at = False, self._clock()

    def _sync(self) -> None:
        if self._file is not None and self._unsynced:
            os.fsync(self._file.fileno())
            self._unsynced, self._synced_at = False, self._clock()

    def _hold(self) -> None:
        if self._lock is not None or fcntl is None:
            return
        lock = self.path.with_name(self.path.name + ".lock").open("w", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise StorageFailed(str(self.path), "another listener has it: give each a file of its own") from None
        self._lock = lock


def read(lines: list[bytes]) -> State:
    """Read a file's whole lines; KeyError, TypeError, ValueError or AttributeError if they are none of ours."""
    first = json.loads(lines[0] if lines else b"")
    if first["version"] != _VERSION:
        raise ValueError(f"version {first['version']!r}")
    cursors = _places(first["cursors"])
    seen = [str(push_id) for push_id in first["seen"]]
    for line in lines[1:]:
        change = json.loads(line)
        for key, place in _places(change["cursors"]).items():
            cursors.pop(key, None)  # those that moved last are the last ones
            cursors[key] = place
        for key in change.get("gone", ()):
            cursors.pop(key, None)
        seen += [str(push_id) for push_id in change["seen"]]
    return State(cursors, tuple(seen[-SEEN_KEPT:]), first.get("key"))


def _whole(state: State) -> dict[str, Any]:
    named = {} if state.key is None else {"key": state.key}
    return {"version": _VERSION, "cursors": state.cursors, "seen": state.seen, **named}


def _change(before: State, after: State) -> dict[str, Any]:
    """Say what *after* has and *before* has not; empty if that is nothing."""
    moved = {key: place for key, place in after.cursors.items() if before.cursors.get(key) != place}
    gone = [key for key in before.cursors if key not in after.cursors]
    known = set(before.seen)
    seen = [push_id for push_id in after.seen if push_id not in known]
    if not (moved or gone or seen):
        return {}
    return {"cursors": moved, "seen": seen, **({"gone": gone} if gone else {})}


def _line(said: Mapping[str, Any]) -> bytes:
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _places(said: Mapping[str, Any]) -> dict[str, Place]:
    return {str(key): Place(str(epoch), int(offset)) for key, (epoch, offset) in said.items()}


def _write(file: IO[bytes], line: bytes) -> None:
    if file.write(line) != len(line):
        raise OSError("written only in part: no space left?")


def _fsync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
