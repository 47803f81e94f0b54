"""Going through the dead letters while some are taken out and others arrive, page after page."""

import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.dead_queue import OnRabbit, OnValkey


@dataclass
class _Valkey:
    """A list; the newest is at its left end."""

    letters: list[bytes] = field(default_factory=list)

    def llen(self, _name: str) -> int:
        return len(self.letters)

    def lrange(self, _name: str, first: int, last: int) -> list[bytes]:
        count = len(self.letters)
        return self.letters[max(0, first + count) : max(0, last + count + 1)]

    def lrem(self, _name: str, _from_the_right: int, value: bytes) -> None:
        at = len(self.letters) - 1 - self.letters[::-1].index(value)
        del self.letters[at]

    @property
    def client(self) -> "_Valkey":
        return self

    def Message(self, payload: dict[str, Any], **_: object) -> Any:
        return SimpleNamespace(headers={}, body=payload["body"])


@dataclass
class _Rabbit:
    """Gives the oldest that is not taken; *looks* is what RabbitMQ says of each."""

    letters: list[str]
    looks: int = 0
    acked: list[int] = field(default_factory=list)
    given: int = 0

    def queue_declare(self, _name: str, **_: object) -> Any:
        return SimpleNamespace(message_count=len(self.letters) - self.given)

    def basic_get(self, _name: str) -> Any:
        if self.given == len(self.letters):
            return None
        self.given += 1
        headers = {"x-delivery-count": self.looks}
        return SimpleNamespace(headers=headers, body=self.letters[self.given - 1], delivery_tag=self.given)

    def basic_ack(self, tag: int) -> None:
        self.acked.append(tag)


def _letter(number: int) -> bytes:
    return json.dumps({"body": f"{number}"}).encode()


def _rabbit(channel: _Rabbit, version: str = "3.10.8") -> OnRabbit:
    connection: Any = SimpleNamespace(connection=SimpleNamespace(server_properties={"version": version}))
    return OnRabbit(connection, channel)


@pytest.mark.parametrize("dropped", [range(350), range(0, 350, 3), range(0)], ids=["all", "some", "none"])
def test_each_letter_is_seen_once_whichever_are_taken_out_and_whatever_arrives(dropped: range) -> None:
    valkey = _Valkey([_letter(number) for number in reversed(range(350))])
    queue = OnValkey(valkey)
    seen: list[int] = []
    for found in queue.look(10_000):
        seen.append(int(found.body))
        valkey.letters.insert(0, _letter(1000 + len(seen)))
        if seen[-1] in dropped:
            queue.drop(found)
    assert seen == list(range(350))
    left = [int(json.loads(raw)["body"]) for raw in reversed(valkey.letters)]
    assert left[: -len(seen)] == [number for number in range(350) if number not in dropped]


def test_what_nobody_wrote_as_a_message_is_found_as_it_is() -> None:
    [found] = OnValkey(_Valkey([b"rubbish"])).look(1)
    assert (found.headers, found.body) == ({}, b"rubbish")


def test_what_dies_again_while_rabbitmq_is_looked_through_waits_for_the_next_look() -> None:
    channel = _Rabbit(["a", "b"])
    queue = _rabbit(channel)
    seen: list[str | bytes] = []
    for found in queue.look(10_000):
        seen.append(found.body)
        queue.drop(found)
        channel.letters.append(f"{found.body!r} again")
    assert (seen, channel.acked) == (["a", "b"], [1, 2])


@pytest.mark.parametrize(
    ("version", "looks", "warned"), [("3.10.8", 19, False), ("4.1.0", 3, False), ("4.1.0", 12, True)]
)
def test_a_rabbitmq_that_drops_what_is_looked_at_often_is_told_of_in_time(
    version: str, looks: int, warned: bool
) -> None:
    queue = _rabbit(_Rabbit(["a"], looks), version)
    assert len(list(queue.look(1))) == 1
    assert ("set_policy" in queue.warning()) == warned
