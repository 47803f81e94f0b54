"""A private Redis for tests, on a free loopback port."""

import signal
from pathlib import Path

import redis

from tests.parts.process import Child, free_port

_READY_S = 10.0


class RedisServer:
    """One redis-server with a data directory of its own, which a restart finds again."""

    def __init__(self, home: Path, *, appendonly: bool = True, fsync: str = "everysec", program: str = "") -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._data = data = home / "data"
        data.mkdir(parents=True, exist_ok=True)
        argv = [
            program or "redis-server",
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(data),
            "--save",
            "",
        ]
        argv += ["--appendonly", "yes" if appendonly else "no", "--appendfsync", fsync]
        self.child = Child("redis", argv, log=home / "redis.log")

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.child.start()
        self.child.until(self.answers, _READY_S, "an answer to PING")

    def stop(self) -> None:
        """End it gracefully: what it accepted is on disk if it appends."""
        self.child.terminate()

    def kill(self) -> None:
        """End it as a crash would."""
        self.child.kill()

    def freeze(self) -> None:
        """Keep its connections open, but answer nothing until :meth:`thaw`."""
        self.child.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after :meth:`freeze`."""
        self.child.signal(signal.SIGCONT)

    def wipe(self) -> None:
        """Forget all data, as a Redis without persistence does in a restart."""
        with self.client() as client:
            client.flushall()

    @property
    def log_bytes(self) -> int:
        """How long its append-only log is now."""
        return sum(part.stat().st_size for part in self._log_parts())

    def forget_after(self, log_bytes: int) -> None:
        """Lose what was appended after the log was *log_bytes* long, as in a power cut; it must not run."""
        *whole, last = self._log_parts()
        with last.open("r+b") as part:
            part.truncate(log_bytes - sum(one.stat().st_size for one in whole))

    def _log_parts(self) -> list[Path]:
        return sorted((self._data / "appendonlydir").glob("*.aof"))  # …base.rdb, if any, is no part of what grows

    def client(self) -> redis.Redis:
        """A client with deadlines; the caller closes it."""
        return redis.Redis.from_url(self.url, socket_timeout=2, socket_connect_timeout=2)

    def answers(self) -> bool:
        """Whether it answers PING now."""
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False
