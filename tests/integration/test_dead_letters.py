"""The dead letters command on both brokers: looking loses nothing, replay sends again, discard throws away."""

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kombu
import pytest

from proto import cloud_pb2, queues
from proto.message import Push
from store.receipts import State
from tests.parts import journal
from tests.parts.job import Job, delivers, job_tier
from tests.parts.process import free_port, until
from tests.parts.rabbitmq import RabbitMQ

pytestmark = pytest.mark.services

Name = Callable[[str], str]
_SOON_S = 15.0
_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=["rabbitmq", "valkey"])
def job(
    request: pytest.FixtureRequest, private_rabbitmq: RabbitMQ, redis: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Job]:
    """A tier that has few attempts; both brokers, the embedded one by TCP."""
    home = tmp_path_factory.mktemp(f"letters-{request.param}")
    # A database of its own, as the embedded Valkey has for the broker.
    broker = private_rabbitmq.add_vhost(home.name) if request.param == "rabbitmq" else redis.rpartition("/")[0] + "/7"
    with job_tier(home, broker, redis, settings={"CLOUDPUSH_MAX_ATTEMPTS": "1"}) as job:
        yield job


@pytest.fixture(autouse=True)
def _nothing_left(job: Job) -> Iterator[None]:
    yield
    with kombu.Connection(job.broker_url) as connection:
        connection.channel().queue_purge(queues.DEAD_QUEUE)
    job.node.on_push = delivers


def run(job: Job, *words: str, code: int | None = 0) -> str:
    """Run the command; gives what it printed."""
    argv = [sys.executable, "-m", "tasks.dead_letters", *words]
    done = subprocess.run(argv, env=job.env, cwd=_ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert code is None or done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def listed(job: Job) -> list[dict[str, Any]]:
    """What `list --json` shows."""
    return [json.loads(line) for line in run(job, "list", "--limit", "1000", "--json").splitlines()]


def refuse(request: cloud_pb2.PushMsgReq, _context: Any) -> cloud_pb2.PushMsgReply:
    """Answer what no worker takes for an answer."""
    return cloud_pb2.PushMsgReply(outcomes=[cloud_pb2.OUTCOME_DELIVERED] * (len(request.keys) + 1))


def refused(job: Job, *keys: str, **fields: Any) -> Push:
    """Have a push refused by the node, and wait until it is a dead letter."""

    job.hold(*keys)
    job.node.on_push = refuse
    it = job.accept(job.make(*keys, **fields))
    job.put(it)
    journal.until_line(job.worker.process, event="dead letter", push_id=it.push_id)
    journal.until_line(job.worker.process, event="dispatched", push_id=it.push_id)
    job.node.on_push = delivers
    return it


def rubbish(job: Job, body: str) -> None:
    """Put what is no letter among the dead letters."""
    with kombu.Connection(job.broker_url) as connection:
        connection.Producer().publish(body, routing_key=queues.DEAD_QUEUE, content_type="text/plain", delivery_mode=2)


def test_looking_again_and_again_shows_the_same_letters_in_the_same_order(job: Job, name: Name) -> None:
    pushes = [refused(job, name("a")) for _ in range(4)]
    ids = [it.push_id for it in pushes]
    for limit in ("2", "3", "1000"):
        shown = [json.loads(line) for line in run(job, "list", "--limit", limit, "--json").splitlines()]
        assert [letter["push_id"] for letter in shown] == ids[: int(limit)]
    told = run(job, "list", "--limit", "2")
    assert "2 of 4 dead letters; all of them: --limit 4" in told
    assert "node_refused" in told
    assert "hello" not in told, "bodies are not shown"
    assert listed(job)[0]["keys"] == [name("a")]


def test_one_push_is_replayed_and_the_others_stay_in_their_order(job: Job, name: Name) -> None:
    before, it, after = (refused(job, name("a")) for _ in range(3))
    assert job.store.state(it.push_id, name("a")) is State.FAILED
    assert "replayed 1 of 3" in run(job, "replay", "--push-id", it.push_id)
    until(lambda: len(job.sent(it)) == 2, _SOON_S, "the push at the node a second time")
    until(lambda: job.store.state(it.push_id, name("a")) is State.DISPATCHED, _SOON_S, "the receipt")
    assert [letter["push_id"] for letter in listed(job)] == [before.push_id, after.push_id]


def test_a_replay_by_reason_takes_so_many_and_no_more(job: Job, name: Name) -> None:
    pushes = [refused(job, name("a")) for _ in range(3)]
    run(job, "replay", "--reason", "unreachable", code=1)
    assert "replayed 2 of 3" in run(job, "replay", "--reason", "node_refused", "--limit", "2")
    assert [letter["push_id"] for letter in listed(job)] == [pushes[2].push_id]


def test_a_push_out_of_time_stays_until_it_is_given_more(job: Job, name: Name) -> None:
    it = refused(job, name("a"), ttl_s=2)
    until(lambda: job.store.clock.now_ms() > it.expires_ms, _SOON_S, "its time over")
    assert "1 are out of time, and stay" in run(job, "replay", "--all")
    assert len(listed(job)) == 1
    run(job, "replay", "--all", "--ttl-s", "60")
    until(lambda: len(job.sent(it)) == 2, _SOON_S, "the push at the node a second time")
    assert job.sent(it)[1].expires_ms > it.expires_ms
    assert listed(job) == []


def test_what_can_be_read_by_nobody_is_listed_not_replayed_and_can_be_discarded(job: Job, name: Name) -> None:
    it = refused(job, name("a"))
    for body in ("no JSON {", "[1, 2]", '"text"'):
        rubbish(job, body)
    assert [letter["kind"] for letter in listed(job)] == ["push", "malformed", "malformed", "malformed"]
    told = run(job, "replay", "--all")
    assert "replayed 1 of 4" in told
    assert "3 are malformed" in told
    until(lambda: len(job.sent(it)) == 2, _SOON_S, "the push at the node a second time")
    assert "discarded 3 of 3" in run(job, "discard", "--reason", "malformed")
    assert listed(job) == []


def test_without_a_choice_nothing_is_sent_and_nothing_thrown_away(job: Job, name: Name) -> None:
    refused(job, name("a"))
    for command in ("replay", "discard"):
        assert "say which letters" in run(job, command, code=2)
    assert "no such letter" in run(job, "discard", "--push-id", "01J0", code=1)
    assert len(listed(job)) == 1


def test_a_letter_that_dies_again_in_a_replay_is_not_replayed_for_ever(job: Job, name: Name) -> None:
    it = refused(job, name("a"))
    job.node.on_push = refuse
    assert "replayed 1 of 1" in run(job, "replay", "--all")
    until(lambda: [letter["push_id"] for letter in listed(job)] == [it.push_id], _SOON_S, "the letter, again")


def test_a_broker_that_is_away_is_named_with_what_to_do(job: Job) -> None:
    away = f"amqp://guest:secret@127.0.0.1:{free_port()}//"
    if not job.broker_url.startswith("amqp"):
        away = f"redis://:secret@127.0.0.1:{free_port()}/0"
    argv = [sys.executable, "-m", "tasks.dead_letters", "list"]
    env = {**job.env, "RABBITMQ_URL": away}
    done = subprocess.run(argv, env=env, cwd=_ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "set RABBITMQ_URL" in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("job", ["rabbitmq"], indirect=True)  # the embedded broker has no dead-letter exchange
def test_a_task_of_nobodys_ends_among_the_letters_with_rabbitmqs_reason(job: Job) -> None:
    task_id = uuid.uuid4().hex
    with kombu.Connection(job.broker_url) as connection:
        connection.Producer().publish(
            [[], {}, {}],
            exchange=queues.EXCHANGE,
            routing_key=queues.Priority.NORMAL.queue,
            headers={"task": "nobody.knows", "id": task_id},
            serializer="json",
        )
    until(lambda: [letter["reason"] for letter in listed(job)] == ["no_task"], _SOON_S, "the letter")
    [letter] = listed(job)
    assert letter["kind"] == "malformed"
    assert "nobody.knows" in letter["details"]
    assert letter["died_at"]
