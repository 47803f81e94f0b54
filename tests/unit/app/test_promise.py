"""Pushes that leave something in the store: what is written when, and what is left after each failure."""

import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from typing import Any

import pytest

from store.receipts import State
from store.requests import ClaimKind
from tests.fakes.memory_records import EPOCH
from tests.parts.web import Web, make_web

_DURABLE = {"keys": ["alice", "bob"], "msg": "hi", "durable": True}
_TRACED = {"keys": ["alice"], "msg": "hi", "trace": True}
_LATER = {"keys": ["alice"], "msg": "hi", "delay_s": 10.2}


def _accepted(web: Web, body: dict[str, Any]) -> str:
    response = web.post(body)
    assert response.status_code == 202, response.json
    push_id: str = response.json["push_id"]
    return push_id


def test_a_durable_push_is_pending_recorded_and_in_each_inbox_before_its_task_in_one_round_trip() -> None:
    web = make_web()
    _accepted(web, {"keys": ["alice"], "msg": 0, "durable": True})
    push_id = _accepted(web, _DURABLE)
    assert web.memory.round_trips == 2
    assert web.memory.log[-4:] == ["pending", "create", "append alice", "append bob"]
    payload = web.kept.payloads[1]
    assert payload["places"] == {"alice": [EPOCH, 2], "bob": [EPOCH, 1]}
    assert (payload["durable"], payload["recorded"]) == (True, True)
    assert web.memory.pending[push_id] == web.memory.now_ms + 15_000
    assert web.memory.receipts[push_id].state is State.ACCEPTED
    assert "cloudpush_durable_pushes_accepted_total 2.0" in web.get("/metrics").text


def test_the_times_of_a_durable_push_are_those_that_the_inbox_gave_it() -> None:
    web = make_web()
    store, clock = web.memory, web.memory.now_ms
    store.fail = lambda _trip: setattr(store, "now_ms", clock + 70)
    _accepted(web, {**_DURABLE, "ttl_s": 5})
    payload = web.kept.payloads[0]
    assert (payload["accepted_ms"], payload["expires_ms"]) == (clock + 70, clock + 5070)


def test_a_traced_push_has_a_receipt_and_nobody_would_publish_it_again() -> None:
    web = make_web()
    push_id = _accepted(web, _TRACED)
    assert (web.memory.log, web.memory.pending) == (["create"], {})
    assert web.memory.receipts[push_id].traced
    assert "places" not in web.kept.payloads[0]


def test_a_scheduled_push_waits_on_the_broker_for_whole_seconds_and_in_no_inbox() -> None:
    web = make_web()
    push_id = _accepted(web, {**_LATER, "durable": True})
    (message,), store = web.kept.messages, web.memory
    assert message.delay_s == 11
    assert message.headers["eta"] is None
    assert (store.log, store.receipts[push_id].state) == (["pending", "create"], State.SCHEDULED)
    assert store.pending[push_id] == store.now_ms + 10_200 + 15_000
    assert store.receipts[push_id].expires_ms == store.now_ms + 10_200 + 86_400_000


def test_where_the_broker_keeps_nothing_back_the_store_has_the_push_until_it_is_due() -> None:
    web = make_web(broker_delays=False)
    push_id = _accepted(web, _LATER)
    assert (web.kept.messages, web.memory.pending) == ([], {push_id: web.memory.now_ms + 10_200})
    assert 'cloudpush_pushes_accepted_total{priority="normal"} 1.0' in web.get("/metrics").text
    _accepted(web, _DURABLE)
    assert len(web.kept.messages) == 1


@pytest.mark.parametrize("body", [_DURABLE, _TRACED, _LATER, {**_DURABLE, "request_id": "r"}])
def test_with_the_broker_or_the_store_known_to_be_away_nothing_is_begun(body: dict[str, Any]) -> None:
    web = make_web()
    web.kept.down = "the broker cannot be reached"
    assert web.post(body).status_code == 503
    web.kept.down, web.store.down = "", True
    assert web.post(body).status_code == 503
    assert (web.memory.round_trips, web.kept.messages) == (0, [])


@pytest.mark.parametrize("body", [_DURABLE, _TRACED, _LATER])
def test_what_the_broker_does_not_take_is_withdrawn(body: dict[str, Any]) -> None:
    web = make_web()
    web.kept.silent = "the broker did not confirm within 1.5 s"
    response = web.post(body)
    assert (response.status_code, response.json["type"]) == (503, "urn:cloudpush:broker-unavailable")
    assert web.memory.empty
    assert 'cloudpush_push_withdrawals_total{result="done"} 1.0' in web.get("/metrics").text


@pytest.mark.parametrize("done", [0, 1, 2, 3, 4])
def test_what_the_store_did_before_it_failed_is_withdrawn(done: int) -> None:
    web = make_web()
    web.memory.lose(1, done=done)
    response = web.post(_DURABLE)
    assert (response.status_code, response.json["type"]) == (503, "urn:cloudpush:store-unavailable")
    assert (web.memory.empty, web.kept.messages) == (True, [])


@pytest.mark.parametrize("done", [1, 2, 3, 4])
def test_where_even_that_fails_every_message_left_is_pending_too(done: int) -> None:
    web = make_web()
    web.memory.lose(1, 2, done=done)
    web.memory.fail = {1: done, 2: 0}.get
    assert web.post(_DURABLE).status_code == 503
    assert len(web.memory.pending) == 1
    assert 'cloudpush_push_withdrawals_total{result="failed"} 1.0' in web.get("/metrics").text


def test_a_repeated_call_is_the_same_push_and_no_second_task() -> None:
    web = make_web()
    body = {**_DURABLE, "request_id": "order-7"}
    push_id = _accepted(web, body)
    assert _accepted(web, dict(reversed(body.items()))) == push_id
    (payload,) = web.kept.payloads
    assert (payload["request_id"], payload["claim"]) == ("order-7", f"{push_id}.1")
    assert "cloudpush_request_id_repeats_total 1.0" in web.get("/metrics").text


def test_a_named_request_that_is_not_recorded_leaves_nothing_but_its_name() -> None:
    web = make_web()
    push_id = _accepted(web, {"keys": ["alice"], "msg": 1, "request_id": "r"})
    assert (web.memory.empty, web.memory.log) == (True, ["done"])
    assert "recorded" not in web.kept.payloads[0]
    assert _accepted(web, {"keys": ["alice"], "msg": 1, "request_id": "r"}) == push_id


def test_a_request_id_for_another_body_is_a_conflict() -> None:
    web = make_web()
    _accepted(web, {**_DURABLE, "request_id": "r"})
    response = web.post({**_DURABLE, "op": 7, "request_id": "r"})
    assert (response.status_code, response.json["type"]) == (409, "urn:cloudpush:request-id-reused")
    assert len(web.kept.messages) == 1


def test_a_call_whose_twin_is_under_way_waits_and_is_then_asked_to_come_again() -> None:
    web = make_web(confirm_deadline_s=0.1)
    push_id = _accepted(web, {**_DURABLE, "request_id": "r"})
    web.memory.requests["r"].pop("done")
    response = web.post({**_DURABLE, "request_id": "r"})
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert response.json["type"] == "urn:cloudpush:request-under-way"
    looks, trips = [], web.memory.round_trips

    def end(trip: int) -> None:
        looks.append(trip)
        if len(looks) == 3:
            web.memory.requests["r"]["done"] = True

    web.memory.fail = end
    assert _accepted(web, {**_DURABLE, "request_id": "r"}) == push_id
    assert web.memory.round_trips == trips + 3


@pytest.mark.parametrize("fault", ["broker", "store in 2", "store half way in 2"])
def test_a_request_that_failed_goes_on_with_its_push_id_and_its_places(fault: str) -> None:
    web = make_web()
    body = {**_DURABLE, "request_id": "r"}
    if fault == "broker":
        web.kept.silent = "gone"
    else:
        web.memory.lose(2, done=3 if "half" in fault else 0)
    assert web.post(body).status_code == 503
    begun = web.memory.requests["r"]["push"]
    _accepted(web, {"keys": ["alice"], "msg": "between", "durable": True}) if fault != "broker" else None
    web.kept.silent = ""
    if fault != "broker":  # what was sent to the store may yet be done: nobody may go on before the claim is over
        assert web.post(body).status_code == 503
        web.memory.requests["r"].pop("open")
    assert _accepted(web, body) == begun
    for key in ("alice", "bob"):
        assert [kept.push_id for kept in web.memory.inboxes[key]].count(begun) == 1
    payload = web.kept.payloads[-1]
    (place,) = (kept.offset for kept in web.memory.inboxes["alice"] if kept.push_id == begun)
    assert (payload["claim"], payload["places"]["alice"]) == (f"{begun}.2", [EPOCH, place])


@pytest.mark.parametrize("steps", [1, 2, 3], ids=["before its claim", "before it writes", "before it closes"])
def test_a_process_that_dies_leaves_what_a_retry_finds(steps: int) -> None:
    web = make_web()
    body = {**_DURABLE, "request_id": "r"}

    class Died(BaseException):
        """No handler runs after it."""

    def die(trip: int) -> None:
        if trip == steps:
            raise Died

    web.memory.fail = die
    with pytest.raises(Died):
        web.post(body)
    web.memory.fail = lambda _trip: None
    if "r" in web.memory.requests:
        web.memory.requests["r"].pop("open", None)  # 3 s go by
    push_id = _accepted(web, body)
    assert {key: len(kept) for key, kept in web.memory.inboxes.items()} == {"alice": 1, "bob": 1}
    assert {payload["push_id"] for payload in web.kept.payloads} == {push_id}
    claims = [payload["claim"] for payload in web.kept.payloads]
    assert len(set(claims)) == len(claims) == (2 if steps == 3 else 1)


def test_a_claim_that_cannot_be_closed_spoils_no_accepted_push() -> None:
    web = make_web()
    web.memory.lose(3)
    push_id = _accepted(web, {**_DURABLE, "request_id": "r"})
    assert web.memory.records().requests.claim("r", web.memory.requests["r"]["digest"], "P").kind is ClaimKind.BUSY
    assert web.memory.requests["r"]["push"] == push_id


def test_repeats_of_a_call_that_hangs_take_no_more_threads_than_may_wait() -> None:
    stopping = threading.Event()
    web = make_web(stopping=stopping, web_threads=8)
    body = {**_DURABLE, "request_id": "r"}
    _accepted(web, body)
    web.memory.requests["r"].pop("done")  # its holder hangs
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(web.post, body) for _ in range(4)]
        refused = {done.result().json["type"] for done in islice(as_completed(calls), 2)}
        waiting = sum(not call.done() for call in calls)
        stopping.set()
    assert refused == {"urn:cloudpush:too-many-waiting"}
    assert waiting == 2
