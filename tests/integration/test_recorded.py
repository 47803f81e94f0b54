"""Web process, RabbitMQ and Redis, and no worker: what a 202 has put where, and what can be asked of it."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
import requests

from proto.message import Place
from store.receipts import Owner, State, Step
from tests.integration.sending import CALL_S, get, push
from tests.parts import queued
from tests.parts.fleet import Fleet, is_ready
from tests.parts.kept import Kept, open_kept
from tests.parts.process import until
from tests.parts.rabbitmq import RabbitMQ

pytestmark = pytest.mark.services

_START_S = 45.0
_TRIES = 100


@pytest.fixture(scope="module")
def web(private_rabbitmq: RabbitMQ, redis: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A web process alone."""
    alone = Fleet(tmp_path_factory.mktemp("recorded"), private_rabbitmq.add_vhost("recorded"), redis, count=0)
    alone.web.start()
    try:
        alone.web.until(lambda: is_ready(alone.url), _START_S, "a web process that is ready")
        yield alone
    finally:
        alone.kill()


@pytest.fixture
def kept(web: Fleet) -> Iterator[Kept]:
    """What that process keeps in Redis; no task of an earlier test is left."""
    queued.take(web.broker_url)
    opened = open_kept(web.store_url, store_namespace=web.namespace)
    yield opened
    opened.client.close()


def test_an_accepted_durable_push_is_in_inboxes_receipt_and_queue_with_the_same_places(
    web: Fleet, kept: Kept, name: Callable[[str], str]
) -> None:
    keys = [name("alice"), name("bob")]
    push(web, "before", keys=keys[:1], durable=True)
    push_id = push(web, {"n": 1}, keys=keys, durable=True, op=7)
    pages = kept.inbox.read(dict.fromkeys(keys, 0), 10)
    places = {key: Place(page.position.end.epoch, page.messages[-1].offset) for key, page in pages.items()}
    assert [place.offset for place in places.values()] == [2, 1]
    assert {page.messages[-1].push_id for page in pages.values()} == {push_id}
    task = queued.take(web.broker_url)[-1]
    assert (task["push_id"], task["durable"], task["recorded"]) == (push_id, True, True)
    assert {key: Place(*place) for key, place in task["places"].items()} == places
    last = max((page.messages[-1] for page in pages.values()), key=lambda one: one.accepted_ms)  # 1 ms may lie between
    assert (task["accepted_ms"], task["expires_ms"]) == (last.accepted_ms, last.expires_ms)
    receipt = kept.receipt(push_id)
    assert (receipt.state, receipt.durable, sorted(receipt.keys)) == (State.ACCEPTED, True, sorted(keys))
    payload = kept.receipts.payload(push_id)
    assert payload is not None
    assert payload["keys"] == keys


def test_members_rooms_and_everybody_have_inboxes_too(web: Fleet, name: Callable[[str], str]) -> None:
    mid, room = name("m"), f"live://{name('r')}"
    push_id = push(web, 1, mids=[mid], rooms=[room], all=True, durable=True)
    for key in (f"mid:{mid}", f"room:{room}", "all"):
        page = get(web, f"/v1/keys/{key}/messages?limit=1000")
        assert page["messages"][-1]["push_id"] == push_id
        assert page["messages"][-1]["offset"] == page["last"]


def test_an_inbox_is_read_in_order_and_in_pages(web: Fleet, name: Callable[[str], str]) -> None:
    key = name("alice")
    ids = [push(web, {"n": number}, keys=[key], durable=True, op=number) for number in range(5)]
    first = get(web, f"/v1/keys/{key}/messages?limit=3")
    assert (first["key"], first["last"], first["trimmed"], first["more"]) == (key, 5, 0, True)
    rest = get(web, f"/v1/keys/{key}/messages?after=3&limit=3")
    assert rest["more"] is False
    messages = first["messages"] + rest["messages"]
    assert [(one["offset"], one["push_id"], one["op"], one["msg"]["n"]) for one in messages] == [
        (number + 1, push_id, number, number) for number, push_id in enumerate(ids)
    ]
    assert {one["epoch"] for one in messages} == {first["epoch"]}


def test_twenty_concurrent_calls_with_one_request_id_are_one_push(
    web: Fleet, kept: Kept, name: Callable[[str], str]
) -> None:
    together = threading.Barrier(20)

    def call(body: dict[str, Any]) -> str:
        """Send it until it is accepted: no more may wait for their twin than may wait for receipts."""
        with requests.Session() as session:
            session.get(f"{web.url}/health/live", timeout=CALL_S)  # the connection is open
            together.wait(CALL_S)
            for _ in range(_TRIES):
                answer = session.post(f"{web.url}/v1/pushes", json=body, timeout=CALL_S)
                if answer.status_code == 202:
                    return str(answer.json()["push_id"])
                assert answer.json()["type"] == "urn:cloudpush:too-many-waiting", answer.text
        raise AssertionError("never accepted")

    with ThreadPoolExecutor(20) as pool:
        for _ in range(5):
            key = name("alice")
            body = {"keys": [key], "msg": 1, "durable": True, "request_id": uuid4().hex}
            (push_id,) = set(pool.map(call, [body] * 20))
            assert [task["push_id"] for task in queued.take(web.broker_url)] == [push_id]
            assert kept.inbox.read({key: 0}, 30)[key].messages[-1].push_id == push_id
            assert web.push(dict(reversed(body.items()))).json()["push_id"] == push_id
    assert [one.offset for one in kept.inbox.read({key: 0}, 30)[key].messages] == [1, 2, 3, 4, 5]
    assert queued.take(web.broker_url) == []


def test_a_request_id_with_another_body_is_a_conflict_that_leaves_nothing(
    web: Fleet, kept: Kept, name: Callable[[str], str]
) -> None:
    request_id, other = name("order"), name("other")
    push_id = push(web, 1, keys=[name("alice")], request_id=request_id)
    answer = web.push({"msg": 1, "keys": [other], "durable": True, "request_id": request_id})
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:cloudpush:request-id-reused")
    assert kept.inbox.read({other: 0}, 1)[other].messages == ()
    (task,) = queued.take(web.broker_url)
    assert (task["push_id"], task["request_id"]) == (push_id, request_id)
    assert kept.requests.take(request_id, task["claim"])


def test_a_cancelled_push_is_gone_from_the_inbox_and_is_not_dispatched(
    web: Fleet, kept: Kept, name: Callable[[str], str]
) -> None:
    keys = [name("alice"), name("bob")]
    push_id = push(web, 1, keys=keys, durable=True)
    (task,) = queued.take(web.broker_url)
    at = kept.now_ms()
    kept.advance(push_id, Owner.JOB, Step(keys[0], State.DISPATCHED, at))
    kept.advance(push_id, Owner.CLOUD, Step(keys[0], State.EMITTED, at, 1))
    answer = requests.delete(f"{web.url}/v1/pushes/{push_id}", timeout=CALL_S)
    assert answer.status_code == 200
    assert answer.json() == {"push_id": push_id, "cancelled": [keys[1]], "too_late": {keys[0]: "emitted"}}
    assert get(web, f"/v1/keys/{keys[1]}/messages")["messages"] == []
    assert len(get(web, f"/v1/keys/{keys[0]}/messages")["messages"]) == 1
    assert kept.receipts.dispatch(kept.push(task["push_id"], *keys), at).ended == {keys[1]: State.CANCELLED}
    assert requests.delete(f"{web.url}/v1/pushes/{push_id}", timeout=CALL_S).status_code == 200


def test_a_push_that_was_emitted_everywhere_cannot_be_cancelled(
    web: Fleet, kept: Kept, name: Callable[[str], str]
) -> None:
    key = name("alice")
    push_id = push(web, 1, keys=[key], trace=True)
    kept.advance(push_id, Owner.JOB, Step(key, State.DISPATCHED, kept.now_ms()))
    kept.advance(push_id, Owner.CLOUD, Step(key, State.EMITTED, kept.now_ms(), 1))
    answer = requests.delete(f"{web.url}/v1/pushes/{push_id}", timeout=CALL_S)
    assert (answer.status_code, answer.json()["errors"]) == (409, [{"field": key, "message": "is emitted"}])


def test_a_receipt_is_waited_for_and_tells_every_step(web: Fleet, kept: Kept, name: Callable[[str], str]) -> None:
    key = name("alice")
    push_id = push(web, 1, keys=[key], durable=True)
    (place,) = queued.take(web.broker_url)[-1]["places"].values()

    def waiters() -> float:
        text = requests.get(f"{web.url}/metrics", timeout=CALL_S).text
        return float(
            next(line for line in text.splitlines() if line.startswith("cloudpush_receipt_waiters")).split()[1]
        )

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(get, web, f"/v1/pushes/{push_id}?wait=acked&timeout_s=4")
        until(lambda: waiters() == 1, 3, "a waiter")
        at = kept.now_ms()
        kept.advance(push_id, Owner.JOB, Step(key, State.DISPATCHED, at, place=Place(*place)))
        kept.advance(push_id, Owner.CLOUD, Step(key, State.EMITTED, at + 1, 2))
        kept.advance(push_id, Owner.CLOUD, Step(key, State.ACKED, at + 2, 1))
        shown: dict[str, Any] = waiting.result()
    fate = shown["keys"][key]
    assert (shown["state"], fate["sessions"], fate["acks"]) == ("acked", 2, 1)
    assert (fate["epoch"], fate["offset"]) == tuple(place)
    assert shown["accepted_at"] < fate["dispatched_at"] < fate["emitted_at"] < fate["acked_at"] < shown["expires_at"]


def test_an_ephemeral_push_leaves_no_receipt_and_one_with_trace_does(web: Fleet, name: Callable[[str], str]) -> None:
    push_id = push(web, 1, keys=[name("alice")])
    assert requests.get(f"{web.url}/v1/pushes/{push_id}", timeout=CALL_S).status_code == 404
    traced = get(web, f"/v1/pushes/{push(web, 1, keys=[name('alice')], trace=True)}")
    assert (traced["trace"], traced["durable"], traced["state"]) == (True, False, "accepted")
