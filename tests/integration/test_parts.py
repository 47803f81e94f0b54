"""The parts that other suites stand on keep what they promise."""

import subprocess
from pathlib import Path

import amqp
import pytest
import redis

from tests.parts.process import Child, NotInTime, listens
from tests.parts.rabbitmq import RabbitMQ
from tests.parts.redis import RedisServer

pytestmark = pytest.mark.services


_QUORUM = {"x-queue-type": "quorum"}


def _connection(server: RabbitMQ, vhost: str) -> amqp.Connection:
    host = f"127.0.0.1:{server.port}"
    return amqp.Connection(host=host, virtual_host=vhost, confirm_publish=True, connect_timeout=5, read_timeout=5)


def _publish(server: RabbitMQ, vhost: str, body: str) -> None:
    with _connection(server, vhost) as connection, connection.channel() as channel:
        channel.queue_declare("kept", durable=True, auto_delete=False, arguments=_QUORUM)
        channel.basic_publish_confirm(amqp.Message(body, delivery_mode=2), routing_key="kept", timeout=5)


def _take(server: RabbitMQ, vhost: str) -> str:
    with _connection(server, vhost) as connection, connection.channel() as channel:
        taken: list[amqp.Message] = []

        def arrived() -> bool:
            taken.extend(filter(None, [channel.basic_get("kept", no_ack=True)]))
            return bool(taken)

        server.child.until(arrived, 10, "the message from its queue")
        return str(taken[0].body)


def test_rabbitmq_keeps_a_confirmed_message_over_stop_and_kill(own_rabbitmq: RabbitMQ) -> None:
    own_url = own_rabbitmq.add_vhost("apart")
    assert own_url.endswith("/apart")
    _publish(own_rabbitmq, "/", "first")
    _publish(own_rabbitmq, "apart", "second")

    own_rabbitmq.stop()
    assert not own_rabbitmq.answers()
    assert own_rabbitmq.child.returncode == 0
    own_rabbitmq.start()
    assert _take(own_rabbitmq, "/") == "first"

    own_rabbitmq.kill()
    own_rabbitmq.start()
    assert _take(own_rabbitmq, "apart") == "second"

    own_rabbitmq.close()
    assert _processes_naming(own_rabbitmq.node) == [], "an Erlang process outlived its test"
    assert not listens(own_rabbitmq.epmd_port), "an epmd outlived its test"


def _processes_naming(word: str) -> list[str]:
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True, timeout=10).stdout
    return [line for line in listed.splitlines() if word in line]


def test_redis_keeps_data_over_a_kill_and_forgets_it_when_wiped(own_redis: RedisServer) -> None:
    with own_redis.client() as client:
        client.set("kept", "yes")
    own_redis.stop()
    own_redis.start()
    with own_redis.client() as client:
        assert client.get("kept") == b"yes"
        own_redis.wipe()
        assert client.get("kept") is None


def test_a_frozen_redis_keeps_connections_but_answers_nothing(own_redis: RedisServer) -> None:
    with own_redis.client() as client:
        client.ping()
        own_redis.freeze()
        with pytest.raises(redis.TimeoutError):
            client.get("any")
        own_redis.thaw()
        own_redis.child.until(own_redis.answers, 5, "an answer after the thaw")


def test_a_child_that_ends_early_shows_its_last_lines(tmp_path: Path) -> None:
    child = Child("early", ["sh", "-c", "echo the reason; exit 3"], log=tmp_path / "log")
    child.start()
    with pytest.raises(NotInTime, match=r"(?s)early: ended with 3 before: a miracle.*the reason"):
        child.until(lambda: False, 5, "a miracle")
