"""Many pushes that leave something in the store: few round trips, one order, and a fate of its own for each."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from tests.fakes.memory_records import EPOCH
from tests.parts.process import until
from tests.parts.web import Web, make_web

_PATH = "/v1/pushes:batch"


def _durable(n: int, *keys: str, **more: Any) -> dict[str, Any]:
    return {"keys": list(keys) or ["alice"], "msg": n, "durable": True, **more}


def _named(n: int, request_id: str = "r", **more: Any) -> dict[str, Any]:
    return {"keys": ["alice"], "msg": n, "request_id": request_id, **more}


@dataclass
class Ended:
    """How each push of a call ended: its id, or the slug of its error."""

    ends: list[str]

    @property
    def accepted(self) -> list[bool]:
        return [len(end) == 26 and end.isupper() for end in self.ends]


def _post(web: Web, *pushes: dict[str, Any]) -> Ended:
    response = web.post({"pushes": pushes}, _PATH)
    if response.status_code != 202:
        return Ended([response.json["type"].rpartition(":")[2]] * len(pushes))
    return Ended([one.get("push_id") or one["error"]["type"].rpartition(":")[2] for one in response.json["results"]])


def test_durable_pushes_are_written_in_one_round_trip_in_the_order_of_the_call() -> None:
    web = make_web()
    ended = _post(web, *(_durable(n, "alice", "bob") for n in range(50)))
    assert web.memory.round_trips == 1
    for key in ("alice", "bob"):
        assert [kept.push_id for kept in web.memory.inboxes[key]] == ended.ends
    assert [payload["places"]["alice"] for payload in web.kept.payloads] == [[EPOCH, n] for n in range(1, 51)]
    assert web.memory.log[:4] == ["pending", "create", "append alice", "append bob"]
    assert set(web.memory.pending) == set(web.memory.receipts) == set(ended.ends)


def test_traced_scheduled_and_plain_pushes_each_leave_what_they_would_alone() -> None:
    web = make_web(broker_delays=False)
    plain, traced, later, durable = _post(
        web,
        {"keys": ["a"], "msg": 1},
        {"keys": ["a"], "msg": 2, "trace": True},
        {"keys": ["a"], "msg": 3, "delay_s": 10},
        _durable(4, "a"),
    ).ends
    assert set(web.memory.receipts) == {traced, later, durable}
    assert web.memory.receipts[traced].traced
    assert set(web.memory.pending) == {later, durable}
    assert [payload["push_id"] for payload in web.kept.payloads] == [plain, traced, durable]


def test_a_broker_that_keeps_back_is_told_for_how_long_each() -> None:
    web = make_web()
    _post(web, _durable(1, delay_s=3), _durable(2), {"keys": ["a"], "msg": 3, "delay_s": 7.5})
    assert [message.delay_s for message in web.kept.messages] == [3, 0, 8]


def test_named_pushes_are_claimed_and_closed_in_one_round_trip_each() -> None:
    web = make_web()
    ended = _post(web, *(_named(n, f"r{n}", durable=n % 2 == 0) for n in range(20)))
    assert (web.memory.round_trips, all(ended.accepted)) == (3, True)
    assert [web.memory.requests[f"r{n}"]["push"] for n in range(20)] == ended.ends
    assert all("done" in web.memory.requests[f"r{n}"] for n in range(20))
    again = _post(web, *(_named(n, f"r{n}", durable=n % 2 == 0) for n in range(20)))
    assert (again.ends, len(web.kept.messages)) == (ended.ends, 20)
    assert "cloudpush_request_id_repeats_total 20.0" in web.get("/metrics").text


def test_the_same_call_alone_and_in_a_batch_is_one_push() -> None:
    web = make_web()
    alone = web.post(_named(1, durable=True)).json["push_id"]
    assert _post(web, dict(reversed(_named(1, durable=True).items()))).ends == [alone]
    assert len(web.kept.messages) == 1


def test_of_two_with_one_request_id_the_second_is_a_repeat_or_a_conflict() -> None:
    web = make_web()
    ended = _post(web, _named(1), _named(2, "s"), _named(1), _named(3), _named(1))
    first, other, repeat, conflict, last = ended.ends
    assert (first == repeat == last, conflict) == (True, "request-id-reused")
    assert [payload["push_id"] for payload in web.kept.payloads] == [first, other]
    assert "cloudpush_request_id_repeats_total 2.0" in web.get("/metrics").text
    assert web.memory.round_trips == 2, "nobody waited for what the call itself was at"


def test_a_repeat_of_what_fails_fails_with_it() -> None:
    web = make_web()
    web.kept.silent = "gone"
    assert _post(web, _named(1), _named(1)).ends == ["broker-unavailable"] * 2
    web.kept.silent = ""
    first, second = _post(web, _named(1), _named(1)).ends
    assert first == second == web.memory.requests["r"]["push"]


@pytest.mark.parametrize("named", [False, True])
def test_what_the_broker_refuses_is_withdrawn_or_left_for_the_next_call(named: bool) -> None:
    web = make_web()
    refuse = web.kept.commit_all

    def every_second(calls: Any, timeout_s: float) -> list[Any]:
        web.kept.silent = "gone"
        with pytest.raises(Exception, match="gone") as caught:
            refuse(calls, timeout_s)
        web.kept.silent = ""
        refuse(calls[::2], timeout_s)
        return [caught.value if at % 2 else None for at in range(len(calls))]

    web.kept.commit_all = every_second  # type: ignore[method-assign]
    ended = _post(web, *(_durable(n, **({"request_id": f"r{n}"} if named else {})) for n in range(6)))
    assert ended.accepted == [True, False] * 3
    accepted = ended.ends[::2]
    left = [kept.push_id for kept in web.memory.inboxes["alice"]]
    if not named:
        assert left == accepted == list(web.memory.receipts) == list(web.memory.pending)
        assert 'cloudpush_push_withdrawals_total{result="done"} 3.0' in web.get("/metrics").text
        return
    assert (left[::2], len(left)) == (accepted, 6)
    assert [("done" in kept, "open" in kept) for kept in web.memory.requests.values()] == [
        (True, True),
        (False, False),
    ] * 3


@pytest.mark.parametrize("done", [0, 1, 4, 7, 12])
def test_what_the_store_did_before_it_failed_is_withdrawn_and_plain_pushes_were_taken(done: int) -> None:
    web = make_web()
    web.memory.lose(1, done=done)
    ended = _post(web, _durable(1, "a", "b"), {"keys": ["a"], "msg": 2}, _durable(3, "a"), _durable(4, "b", "c"))
    assert ended.accepted == [False, True, False, False]
    assert (web.memory.empty, len(web.kept.messages)) == (True, 1)


def test_one_push_that_the_store_refuses_spoils_no_other_of_its_round_trip() -> None:
    web = make_web()
    web.memory.refuse = "append bad"
    ended = _post(web, _durable(1, "a"), _durable(2, "bad", "a"), _durable(3, "a"))
    assert ended.accepted == [True, False, True]
    assert [kept.push_id for kept in web.memory.inboxes["a"]] == [ended.ends[0], ended.ends[2]]
    assert len(web.kept.messages) == len(web.memory.receipts) == 2


def test_a_claim_that_the_store_failed_under_stays_and_the_others_are_closed() -> None:
    web = make_web()
    web.memory.refuse = "append bad"
    _post(web, _named(1, "r1", durable=True), {**_named(2, "r2", durable=True), "keys": ["bad"]})
    assert "done" in web.memory.requests["r1"]
    assert "open" in web.memory.requests["r2"]


def test_what_another_call_is_at_is_waited_for_after_all_others_are_done() -> None:
    web = make_web()
    begun = _post(web, _named(1, "busy", durable=True)).ends[0]
    kept = web.memory.requests["busy"]
    kept.pop("done")
    looks: list[int] = []

    def end(trip: int) -> None:
        looks.append(len(web.kept.messages))
        if len(looks) == 5:  # claim, write, close; and then the second look
            kept["done"] = True

    web.memory.fail = end
    ended = _post(web, _named(1, "busy", durable=True), _durable(2), _named(3, "free"))
    assert (ended.ends[0], all(ended.accepted)) == (begun, True)
    assert looks[3:] == [3, 3], "the others' tasks were there before it was waited for"


def test_what_is_given_back_while_it_is_waited_for_is_carried_out_here() -> None:
    web = make_web()
    begun = _post(web, _named(1, "busy", durable=True)).ends[0]
    kept, looks = web.memory.requests["busy"], []
    kept.pop("done")

    def give_back(trip: int) -> None:
        looks.append(trip)
        if len(looks) == 4:
            kept.pop("open")

    web.memory.fail = give_back
    ended = _post(web, _named(1, "busy", durable=True), _durable(2))
    assert ended.ends[0] == begun
    assert [payload.get("claim", "") for payload in web.kept.payloads] == [f"{begun}.1", "", f"{begun}.2"]
    assert [one.push_id for one in web.memory.inboxes["alice"]] == ended.ends, "its place is the one it had"
    assert kept["done"] == f"{begun}.2"


def test_what_is_given_back_is_carried_out_before_the_rest_is_waited_for() -> None:
    web = make_web()
    first, second = _post(web, _named(1, "a"), _named(2, "b")).ends
    requests = web.memory.requests
    requests["a"].pop("done"), requests["b"].pop("done")

    def end(trip: int) -> None:
        if trip == 5:
            requests["a"].pop("open")
        elif len(web.kept.messages) == 3:  # the task of what was given back
            requests["b"]["done"] = True

    web.memory.fail = end
    assert _post(web, _named(1, "a"), _named(2, "b")).ends == [first, second]
    assert web.memory.round_trips == 7, "claim and close; claim, two looks, close, and a look"


def test_what_stays_busy_is_to_be_sent_again_when_the_patience_of_the_call_is_over() -> None:
    web = make_web(confirm_deadline_s=0.1)
    _post(web, _named(1, "a"), _named(2, "b"))
    for kept in web.memory.requests.values():
        kept.pop("done")
    response = web.post({"pushes": [_named(1, "a"), _named(3, "c"), _named(2, "b")]}, _PATH)
    ends = [one.get("error", {}).get("type") for one in response.json["results"]]
    assert ends == ["urn:cloudpush:request-under-way", None, "urn:cloudpush:request-under-way"]


def test_repeats_of_a_batch_that_hangs_take_no_more_threads_than_may_wait() -> None:
    stopping = threading.Event()
    web = make_web(stopping=stopping, web_threads=8)
    _post(web, _named(1))
    web.memory.requests["r"].pop("done")  # its holder hangs
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(_post, web, _named(1)) for _ in range(2)]
        gauge = "cloudpush_receipt_waiters 2.0"
        until(lambda: gauge in web.get("/metrics").text, 10, "both to wait")
        assert _post(web, _named(1), _named(2, "s")).ends[0] == "too-many-waiting"
        stopping.set()
        assert [call.result(10).ends for call in waiting] == [["request-under-way"]] * 2


@pytest.mark.parametrize("steps", [1, 2, 3], ids=["before it claims", "before it writes", "before it closes"])
def test_a_process_that_dies_leaves_what_a_retry_finds(steps: int) -> None:
    web = make_web()
    pushes = [_named(n, f"r{n}", durable=True) for n in range(3)]

    class Died(BaseException):
        """No handler runs after it."""

    def die(trip: int) -> None:
        if trip == steps:
            raise Died

    web.memory.fail = die
    with pytest.raises(Died):
        _post(web, *pushes)
    web.memory.fail = lambda _trip: None
    for kept in web.memory.requests.values():
        kept.pop("open", None)  # 3 s go by
    ended = _post(web, *pushes)
    assert all(ended.accepted)
    assert [kept.push_id for kept in web.memory.inboxes["alice"]] == ended.ends
    claims = [payload["claim"] for payload in web.kept.payloads]
    assert len(set(claims)) == len(claims) == (6 if steps == 3 else 3)
