"""A worker whose machine has the wrong time goes by Redis' from its first task on."""

from pathlib import Path

import pytest

from store.receipts import State
from tests.parts.job import job_tier
from tests.parts.rabbitmq import RabbitMQ

pytestmark = pytest.mark.services

_ROOT = Path(__file__).parents[2]
_SOON_S = 10.0


@pytest.mark.parametrize("offset_s", [7200, -7200])
def test_the_first_tasks_of_a_worker_neither_expire_nor_wait_by_its_own_clock(
    private_rabbitmq: RabbitMQ, redis: str, tmp_path: Path, offset_s: int
) -> None:
    clock = tmp_path / "clock"
    clock.write_text(str(offset_s), encoding="ascii")
    settings = {
        "PYTHONPATH": f"{_ROOT}:{_ROOT / 'tests/soak/clock'}",
        "SOAK_CLOCK": str(clock),
        "CLOUDPUSH_RECONCILE_EVERY_S": "60",
    }
    with job_tier(tmp_path, private_rabbitmq.add_vhost(tmp_path.name), redis, workers=1, settings=settings) as job:
        job.worker.process.kill()  # it has declared the queues
        job.hold("a")
        now, due = job.make("a", durable=True), job.make("a", durable=True, delay_s=0.001)
        for each in (now, due):
            job.put(job.accept(each))
        job.start_worker()
        job.workers[1].process.until(
            lambda: [job.store.state(each.push_id, "a") for each in (now, due)] == [State.DISPATCHED] * 2,
            _SOON_S,
            "both are dispatched",
        )
