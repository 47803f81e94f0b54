"""One way to open the store, and one way in which it fails.

A call that Redis does not answer within ``store_timeout_s`` raises :class:`StoreUnavailable`; a connection that the
server closed while idle (a restart, say) is opened again, silently.  A call is never sent twice: one whose answer was
lost may have been done, and only its caller knows whether it may be repeated.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from proto.errors import StoreUnavailable
from store.settings import StoreSettings

# What a store that is down, starting, failing over or full answers; any other error is a fault of ours.
_UNAVAILABLE = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.TryAgainError,
)
# The same, where the client has no class for it: full disk, lost replicas, a script that hogs it.  In a pipeline the
# client puts words of its own before the answer.
_CANNOT_SERVE = re.compile(r"(^|caused error: )(MISCONF|NOREPLICAS|BUSY) ")


def connect(settings: StoreSettings) -> redis.Redis:
    """Make a thread-safe client; connects at the first call, not here."""
    return redis.Redis.from_url(
        settings.redis_url.get_secret_value(),
        decode_responses=True,
        socket_timeout=settings.store_timeout_s,
        socket_connect_timeout=settings.store_timeout_s,
        health_check_interval=0,
        retry=Retry(NoBackoff(), 0),  # the pool by itself notices connections that were closed while idle
    )


@contextmanager
def answering() -> Iterator[None]:
    """Run store calls; raise StoreUnavailable where Redis cannot serve them now."""
    try:
        yield
    except redis.RedisError as error:
        if (ours := error_of(error)) is error:
            raise
        raise ours from error


def error_of(error: redis.RedisError) -> Exception:
    """Give StoreUnavailable if *error* says that Redis cannot serve now, else *error* itself."""
    if not isinstance(error, _UNAVAILABLE) and not _CANNOT_SERVE.search(str(error)):
        return error
    ours = StoreUnavailable(f"the store cannot serve this now: {error}")
    ours.__cause__ = error
    return ours


def ping(client: redis.Redis) -> None:
    """Return when the store answers; raise StoreUnavailable when it does not in time."""
    with answering():
        client.ping()
