"""``cloudpush receipt``, ``cancel``, ``messages`` and ``push --wait``: what they show and how they end."""

import json
import re
from typing import Any

import pytest
from click.testing import CliRunner, Result

import cloudpush.fate
from cloudpush.cli import main
from tests.unit.client.stand_in import StandIn

_TIMES = {"dispatched_at": ".010", "emitted_at": ".020", "acked_at": ".050", "ended_at": ".060"}


def key(state: str, **more: Any) -> dict[str, Any]:
    """A key's receipt whose times are those of the steps up to *state*."""
    steps = {"accepted": 0, "dispatched": 1, "emitted": 2, "acked": 3}
    times = list(_TIMES)[: steps.get(state, 0)] if state in steps else ["ended_at"]
    return {"state": state, "sessions": 1, "acks": 1} | {name: at(_TIMES[name]) for name in times} | more


def at(fraction: str) -> str:
    return f"2026-01-02T03:04:05{fraction}Z"


def receipt(state: str, durable: bool = True, **keys: dict[str, Any]) -> dict[str, Any]:
    return {
        "push_id": "p1", "state": state, "op": 9, "priority": "normal", "durable": durable, "trace": False,
        "accepted_at": at(".000"), "expires_at": at(".900"), "keys": keys,
    }  # fmt: skip


def run(server: StandIn, *arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, env={"CLOUDPUSH_URL": server.url})


def shown(result: Result) -> list[str]:
    """The lines without their clock."""
    return [re.sub(r"^\d\d:\d\d:\d\d\.\d\d\d  +", "", line) for line in result.stdout.splitlines()]


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloudpush.fate, "_PAUSE_S", 0.0)


def test_a_receipt_shows_each_step_with_its_time(server: StandIn) -> None:
    server.will(200, receipt("acked", alice=key("acked", offset=7, epoch="e1"), bob=key("failed", reason="no\nnode")))
    result = run(server, "receipt", "p1")
    assert shown(result) == [
        "+0 ms  accepted",
        "+10 ms  dispatched  alice",
        "+20 ms  emitted     alice  sessions=1  offset=7 epoch=e1",
        "+50 ms  acked       alice  acks=1",
        "+60 ms  failed      bob  (no\\u000anode)",
    ]
    assert result.exit_code == 3


def test_steps_are_in_order_though_clocks_are_some_ms_apart(server: StandIn) -> None:
    server.will(200, receipt("acked", alice=key("acked", emitted_at=at(".008")), bob=key("dispatched")))
    assert [line.split()[2:4] for line in shown(run(server, "receipt", "p1"))] == [
        ["accepted"],
        ["dispatched", "alice"],
        ["emitted", "alice"],
        ["dispatched", "bob"],
        ["acked", "alice"],
    ]


def test_a_receipt_as_json_is_the_servers(server: StandIn) -> None:
    said = receipt("acked", alice=key("acked")) | {"new": "field"}
    server.will(200, said)
    result = run(server, "receipt", "p1", "--json")
    assert (json.loads(result.stdout), result.exit_code) == (said, 0)


def test_follow_prints_each_change_once_until_it_has_ended(server: StandIn) -> None:
    for alice, bob in [("accepted", "accepted"), ("dispatched", "accepted"), ("dispatched", "emitted"),
                       ("dispatched", "emitted"), ("acked", "emitted"), ("acked", "acked")]:  # fmt: skip
        server.will(200, receipt("emitted", alice=key(alice), bob=key(bob)))
    result = run(server, "receipt", "p1", "--follow")
    names = [line.split()[2:4] for line in shown(result)]
    assert names == [
        ["accepted"],
        ["dispatched", "alice"],
        ["dispatched", "bob"],
        ["emitted", "bob"],
        ["emitted", "alice"],
        ["acked", "alice"],
        ["acked", "bob"],
    ]
    assert result.exit_code == 0
    waits = [asked.path.partition("?")[2].partition("&")[0] for asked in server.asked]
    assert waits == ["", "wait=dispatched", "wait=dispatched", "wait=emitted", "wait=emitted", "wait=acked"]


@pytest.mark.parametrize(
    ("durable", "state", "code"),
    [
        (True, "acked", 0),
        (False, "emitted", 0),
        (False, "offline", 3),
        (True, "expired", 3),
        (True, "cancelled", 3),
        (True, "failed", 3),
        (True, "offline", 4),
        (True, "emitted", 4),
    ],
)
def test_the_exit_code_says_how_it_ended(server: StandIn, durable: bool, state: str, code: int) -> None:
    server.will(200, receipt(state, durable, alice=key(state)))
    assert run(server, "receipt", "p1", "--follow", "--timeout-s", "0.1").exit_code == code


def test_follow_ends_with_ctrl_c(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    server.will(200, receipt("offline", alice=key("offline")))
    monkeypatch.setattr("cloudpush.fate.time.sleep", interrupted)
    result = run(server, "receipt", "p1", "--follow")
    assert (result.exit_code, result.stderr) == (130, "")


def test_no_receipt_is_one_line(server: StandIn) -> None:
    server.will(404, {"title": "Not Found", "detail": "ephemeral pushes without trace leave no receipt"})
    result = run(server, "receipt", "p/1")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "ephemeral pushes without trace leave no receipt" in result.stderr
    assert server.asked[0].path == "/v1/pushes/p%2F1"


def test_a_scheduled_push_says_until_when(server: StandIn) -> None:
    server.will(200, receipt("scheduled", alice=key("scheduled")) | {"deliver_at": "2030-01-01T00:00:00.000Z"})
    result = run(server, "receipt", "p1")
    assert result.exit_code == 4
    assert "scheduled for 2030-01-01T00:00:00.000+00:00" in result.stdout or "scheduled for 20" in result.stdout


@pytest.mark.parametrize(
    ("states", "code"),
    [(["dispatched", "acked"], 0), (["dispatched", "expired"], 3), (["dispatched"], 4)],
    ids=["there", "ended otherwise", "not in time"],
)
def test_push_waits_and_shows_each_step(server: StandIn, states: list[str], code: int) -> None:
    server.will(202, {"push_id": "p1", "status": "accepted", "href": "/v1/pushes/p1"})
    for state in states:
        server.will(200, receipt(state, alice=key(state)))
    result = run(server, "push", "--key", "alice", "--durable", "--wait", "acked", "--wait-s", "1", "1")
    assert result.exit_code == code
    assert shown(result)[:3] == ["accepted push_id=p1", "+0 ms  accepted", "+10 ms  dispatched  alice"]


def test_waiting_for_an_ephemeral_push_traces_it(server: StandIn) -> None:
    server.will(202, {"push_id": "p1", "status": "accepted", "href": "/v1/pushes/p1"})
    server.will(200, receipt("emitted", durable=False, alice=key("emitted")))
    assert run(server, "push", "--key", "alice", "--wait", "emitted", "1").exit_code == 0
    assert server.asked[0].body["trace"] is True


def test_cancel_shows_what_was_and_what_was_too_late(server: StandIn) -> None:
    said = {"push_id": "p1", "cancelled": ["a"], "too_late": {"bob": "emitted"}}
    server.will(200, said)
    result = run(server, "cancel", "p1")
    assert (result.exit_code, result.stdout) == (0, "a    cancelled\nbob  too late: emitted\n")
    assert json.loads(run(server, "cancel", "p1", "--json").stdout) == said


def test_messages_shows_offsets_and_where_to_go_on(server: StandIn) -> None:
    one = {
        "offset": 8,
        "epoch": "e",
        "push_id": "p",
        "op": 9,
        "msg": "x\ny",
        "accepted_at": at(""),
        "expires_at": at(""),
    }
    said = {"key": "a", "epoch": "e", "last": 9, "trimmed": 7, "messages": [one], "more": True}
    server.will(200, said)
    result = run(server, "messages", "a", "--after", "3", "--limit", "1")
    assert 'offset=8  epoch=e  op=9  push_id=p  "x\\ny"' in result.stdout
    assert result.stderr == (
        "note: up to offset 7 messages were dropped to keep the bound\nmore: cloudpush messages a --after 8\n"
    )
    assert json.loads(run(server, "messages", "a", "--json").stdout) == said


def test_no_messages_says_how_far_the_inbox_goes(server: StandIn) -> None:
    server.will(200, {"key": "a", "epoch": "e", "last": 9, "trimmed": 0, "messages": [], "more": False})
    result = run(server, "messages", "a", "--after", "9")
    assert (result.stdout, result.stderr) == ("", "nothing after offset 9; the last one given is 9\n")
