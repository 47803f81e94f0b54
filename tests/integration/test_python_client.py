"""The Python client on a whole fleet: durable messages over a killed listener, fates, cancel, request_id, the inbox."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cloudpush import Client, FileStorage, Listener, MemoryStorage, Place, Problem
from tests.parts.fleet import Fleet
from tests.parts.process import until

pytestmark = pytest.mark.services

WAIT_S = 20.0
_ROOT = Path(__file__).parents[2]


@pytest.fixture
def client(fleet: Fleet) -> Iterator[Client]:
    with Client(fleet.url) as one:
        yield one


def command(fleet: Fleet, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command line, as a person does."""
    env = os.environ | {"PYTHONPATH": str(_ROOT / "clients/python"), "CLOUDPUSH_URL": fleet.url}
    return subprocess.run(
        [sys.executable, "-m", "cloudpush", *arguments],
        env=env,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_killed_listener_goes_on_where_it_was(
    fleet: Fleet, client: Client, name: Callable[[str], str], tmp_path: Path
) -> None:
    key, state, out = name("alice"), tmp_path / "state", tmp_path / "out"
    arguments = [sys.executable, "-m", "cloudpush", "listen", "--key", key, "--state", str(state), "--json"]
    env = os.environ | {"PYTHONPATH": str(_ROOT / "clients/python"), "CLOUDPUSH_URL": fleet.url}

    def heard() -> list[int]:
        return [json.loads(line)["msg"] for line in out.read_text().splitlines()]

    with out.open("w") as stdout, subprocess.Popen(arguments, env=env, stdout=stdout) as process:
        until(state.exists, WAIT_S, "the session to begin")
        for n in range(20):
            client.push(n, keys=[key], durable=True)
        until(lambda: len(heard()) == 20, WAIT_S, "the first messages")
        process.kill()
    for n in range(20, 40):
        client.push(n, keys=[key], durable=True)
    got: list[Any] = []
    with Listener(rest=client, key=key, storage=FileStorage(state), on_message=lambda message: got.append(message.msg)):
        client.push("end", keys=[key], durable=True)
        until(lambda: "end" in got, WAIT_S, "the last message")
    handled = [*heard(), *got]
    assert list(dict.fromkeys(handled)) == [*range(40), "end"]
    assert len(handled) <= 42  # the one at work when it was killed may come twice


def test_a_receipt_is_followed_from_accepted_to_acked(fleet: Fleet, client: Client, name: Callable[[str], str]) -> None:
    key = name("alice")
    with Listener(rest=client, key=key, on_message=lambda _: None) as listener:
        listener.wait_ready(WAIT_S)
        accepted = client.push({"n": 1}, keys=[key], durable=True)
        followed = command(fleet, "receipt", accepted.push_id, "--follow", "--timeout-s", "20")
    assert followed.returncode == 0, followed.stderr
    assert [line.split()[3] for line in followed.stdout.splitlines()] == ["accepted", "dispatched", "emitted", "acked"]
    receipt = client.receipt(accepted.push_id, wait="acked")
    one = receipt.keys[key]
    assert one.dispatched_at is not None
    assert one.emitted_at is not None
    assert one.acked_at is not None
    assert one.emitted_at <= one.acked_at  # of one node; the other times are by other processes' clocks
    assert (one.sessions, one.acks, one.offset) == (1, 1, 1)


def test_push_waits_until_it_is_acked(fleet: Fleet, client: Client, name: Callable[[str], str]) -> None:
    key = name("alice")
    with Listener(rest=client, key=key, on_message=lambda _: None) as listener:
        listener.wait_ready(WAIT_S)
        pushed = command(fleet, "push", "--key", key, "--durable", "--wait", "acked", "1")
    assert pushed.returncode == 0, pushed.stderr
    assert pushed.stdout.splitlines()[-1].split()[3:5] == ["acked", key]


def test_a_scheduled_push_is_cancelled_and_one_that_was_delivered_is_not(
    fleet: Fleet, client: Client, name: Callable[[str], str]
) -> None:
    key = name("alice")
    later = client.push(1, keys=[key], durable=True, deliver_at=datetime.now(UTC) + timedelta(hours=1))
    cancelled = command(fleet, "cancel", later.push_id)
    assert (cancelled.returncode, cancelled.stdout.split()) == (0, [key, "cancelled"])
    assert client.receipt(later.push_id).state == "cancelled"
    assert command(fleet, "receipt", later.push_id, "--follow").returncode == 3
    with Listener(rest=client, key=key, on_message=lambda _: None) as listener:
        listener.wait_ready(WAIT_S)
        now = client.push(2, keys=[key], durable=True)
        client.receipt(now.push_id, wait="acked")
        with pytest.raises(Problem) as late:
            client.cancel(now.push_id)
    assert late.value.status == 409


def test_the_same_request_id_is_one_push(client: Client, name: Callable[[str], str]) -> None:
    key, got = name("alice"), list[Any]()
    with Listener(rest=client, key=key, on_message=lambda message: got.append(message.msg)) as listener:
        listener.wait_ready(WAIT_S)
        sent = {client.push(1, keys=[key], durable=True, request_id=name("order")).push_id for _ in range(3)}
        client.push("end", keys=[key], durable=True)
        until(lambda: "end" in got, WAIT_S, "the last message")
        with pytest.raises(Problem) as other:
            client.push(2, keys=[key], durable=True, request_id=name("order"))
    assert (len(sent), got) == (1, [1, "end"])
    assert (other.value.status, other.value.type) == (409, "urn:cloudpush:request-id-reused")


def test_the_inbox_of_a_key_is_read_page_by_page(fleet: Fleet, client: Client, name: Callable[[str], str]) -> None:
    key = name("alice")
    for n in range(5):
        client.push(n, keys=[key], durable=True)
    first = client.messages(key, limit=3)
    rest = client.messages(key, after=first.messages[-1].offset)
    assert ([one.msg for one in first.messages], first.more, first.last) == ([0, 1, 2], True, 5)
    assert ([one.msg for one in rest.messages], rest.more) == ([3, 4], False)
    shown = command(fleet, "messages", key, "--after", "4")
    assert (shown.returncode, "offset=5" in shown.stdout) == (0, True)


def test_a_member_and_a_key_of_one_session_hear_a_push_to_both_once(client: Client, name: Callable[[str], str]) -> None:
    key, mid, got = name("alice"), name("42"), list[Any]()
    with Listener(rest=client, key=key, mid=mid, on_message=lambda message: got.append(message.msg)) as listener:
        listener.wait_ready(WAIT_S)
        both = client.push("both", keys=[key], mids=[mid], durable=True)
        client.push("end", keys=[key], durable=True)
        until(lambda: "end" in got, WAIT_S, "the last message")
        receipt = client.receipt(both.push_id, wait="acked", timeout_s=WAIT_S)
    assert got == ["both", "end"]
    assert receipt.delivered


def test_a_listener_that_was_away_hears_it_all_once_and_a_room_from_its_past(
    client: Client, name: Callable[[str], str]
) -> None:
    key, room, got, storage = name("alice"), name("live"), list[Any](), MemoryStorage()

    def listening(**asked: Any) -> Listener:
        return Listener(
            rest=client, key=key, storage=storage, on_message=lambda message: got.append(message.msg), **asked
        )

    for n in range(5):
        client.push(f"r{n}", rooms=[room], durable=True)
    with listening(rooms=[room], history=2):
        until(lambda: len(got) == 2, WAIT_S, "the room's last two")
    client.push("away", keys=[key], durable=True)
    client.push("r5", rooms=[room], durable=True)
    with listening(rooms=[room], history=2):
        until(lambda: len(got) == 4, WAIT_S, "what came meanwhile")
    assert got[:2] == ["r3", "r4"]
    assert sorted(got[2:]) == ["away", "r5"]
    assert storage.load().cursors[key] == Place(storage.load().cursors[key].epoch, 1)


def test_a_listener_finds_its_messages_on_another_node(
    fleet: Fleet, client: Client, name: Callable[[str], str]
) -> None:
    key, got = name("alice"), list[Any]()
    nodes = iter([fleet.nodes[0].url])
    with Listener(
        lambda: next(nodes, fleet.nodes[1].url), key=key, on_message=lambda message: got.append(message.msg)
    ) as listener:
        listener.wait_ready(WAIT_S)
        for n in range(3):
            client.push(n, keys=[key], durable=True)
        until(lambda: len(got) == 3, WAIT_S, "three messages")
        listener._connection().close()
        for n in range(3, 6):
            client.push(n, keys=[key], durable=True)
        until(lambda: len(got) == 6, WAIT_S, "six messages")
    assert got == list(range(6))
    assert not listener.counts().get("DROP")
