"""A batch on a whole fleet: pushes reach the sessions of their keys under the ids of their results."""

import json
from collections.abc import Callable, Iterator

import pytest

from cloudpush import Accepted, Client, Problem
from tests.integration.conftest import Connect
from tests.integration.test_python_client import command
from tests.parts.fleet import Fleet

pytestmark = pytest.mark.services

Name = Callable[[str], str]
_SESSIONS = 20


@pytest.fixture
def client(fleet: Fleet) -> Iterator[Client]:
    with Client(fleet.url) as one:
        yield one


def _ids(results: list[object]) -> list[str]:
    assert all(isinstance(result, Accepted) for result in results), results
    return [result.push_id for result in results if isinstance(result, Accepted)]


def test_a_thousand_pushes_to_many_keys_reach_each_session_once_under_the_ids_of_their_results(
    fleet: Fleet, client: Client, connect: Connect, name: Name
) -> None:
    keys = [name(f"key{n}") for n in range(_SESSIONS)]
    sessions = [connect(fleet.nodes[n % 2], key=key) for n, key in enumerate(keys)]
    pushes = [{"keys": [keys[n % _SESSIONS]], "msg": n, "request_id": None} for n in range(1000)]
    ids = _ids(list(client.push_many(pushes)))
    for at, session in enumerate(sessions):
        expected = set(range(at, 1000, _SESSIONS))
        found = [session.next_push() for _ in expected]
        assert {push["msg"]: push["push_id"] for push in found} == {n: ids[n] for n in expected}
        assert session.pushes_so_far() == []


def test_durable_pushes_of_a_batch_are_delivered_in_its_order_beside_what_is_refused(
    fleet: Fleet, client: Client, connect: Connect, name: Name
) -> None:
    alice = connect(fleet.nodes[0], key=name("alice"), mid=name("42"))
    targets = ({"keys": [name("alice")]}, {"mids": [name("42")]})
    pushes = [{**targets[n % 2], "msg": n, "durable": True} for n in range(200)]
    results = client.push_many([*pushes[:100], {"keys": ["mid:no"], "msg": "refused"}, *pushes[100:]])
    refused = results.pop(100)
    assert isinstance(refused, Problem)
    assert refused.errors[0].field == "keys[0]"
    ids = _ids(list(results))
    found = [alice.next_push() for _ in range(200)]
    for at, key in enumerate((name("alice"), f"mid:{name('42')}")):
        its = [push for push in found if push["key"] == key]
        assert [push["msg"] for push in its] == list(range(at, 200, 2))
        assert [push["push_id"] for push in its] == ids[at::2]
        assert [push["offset"] for push in its] == list(range(1, 101))


def test_a_batch_that_is_sent_again_is_delivered_once(
    fleet: Fleet, client: Client, connect: Connect, name: Name
) -> None:
    alice = connect(fleet.nodes[1], key=name("alice"))
    pushes = [{"keys": [name("alice")], "msg": n, "request_id": name(f"r{n}")} for n in range(50)]
    first, again = (_ids(list(client.push_many(pushes))) for _ in range(2))
    assert first == again
    last = client.push("last", keys=[name("alice")]).push_id
    found = [alice.next_push()["push_id"] for _ in range(51)]
    assert sorted(found) == sorted([*first, last])
    assert alice.pushes_so_far() == []


def test_lines_on_the_command_line_are_pushes(fleet: Fleet, connect: Connect, name: Name) -> None:
    alice = connect(fleet.nodes[0], key=name("alice"))
    done = command(
        fleet, "push-many", stdin="".join(json.dumps({"keys": [name("alice")], "msg": n}) + "\n" for n in range(3))
    )
    assert (done.returncode, done.stdout.count("accepted push_id=")) == (0, 3), done.stderr
    assert {alice.next_msg() for _ in range(3)} == {0, 1, 2}
