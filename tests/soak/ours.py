"""A cloudpush to break: RabbitMQ, Redis, web, two workers and two nodes, and what stands between them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.parts.rabbitmq import RabbitMQ
from tests.parts.redis import RedisServer
from tests.soak.stand import QUICK, GuardedFleet, Stand, make_stand


@contextmanager
def our_stand(home: Path, *, fsync: str = "always", settings: Mapping[str, str] = QUICK) -> Iterator[Stand]:
    """Run it, ready for pushes."""
    rabbitmq, redis = RabbitMQ(home / "rabbitmq"), RedisServer(home / "redis", fsync=fsync)
    try:
        redis.start()
        rabbitmq.start()
        with guarded(home, rabbitmq, redis, rabbitmq.url, settings) as stand:
            yield stand
    finally:
        redis.kill()
        rabbitmq.close()


@contextmanager
def guarded(
    home: Path, rabbitmq: RabbitMQ, redis: RedisServer, broker_url: str, settings: Mapping[str, str] = QUICK
) -> Iterator[Stand]:
    """Run all but broker and store."""
    fleet = GuardedFleet(home / "fleet", broker_url, redis.url, workers_count=2, settings=settings)
    try:
        fleet.start()
        yield make_stand(fleet, rabbitmq, redis)
    finally:
        fleet.kill()
