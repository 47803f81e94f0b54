"""The command line: what it sends, what it shows, and how it fails."""

import json
from datetime import datetime

import pytest
from click.testing import CliRunner, Result

from cloudpush.cli import main
from cloudpush.events import Message
from cloudpush.listen import message_line
from tests.parts.process import free_port
from tests.unit.client.stand_in import StandIn

_ACCEPTED = {"push_id": "p1", "status": "accepted", "href": "/v1/pushes/p1"}


def run(server: StandIn, *arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, arguments, input=stdin, env={"CLOUDPUSH_URL": server.url})


def test_push_sends_exactly_what_was_asked(server: StandIn) -> None:
    server.will(202, _ACCEPTED)
    options = "--key a --key b --mid 42 --room live://1000 --all --op 7 --priority high --ttl-s 60 --server h:1"
    options += " --durable --delay 2h --trace --request-id mine"
    result = run(server, "push", *options.split(), '{"n": [1, null]}')
    assert (result.exit_code, result.output) == (0, "accepted push_id=p1\n")
    assert server.asked[0].body == {
        "keys": ["a", "b"],
        "mids": ["42"],
        "rooms": ["live://1000"],
        "all": True,
        "op": 7,
        "priority": "high",
        "ttl_s": 60,
        "server": "h:1",
        "durable": True,
        "delay_s": 7200,
        "trace": True,
        "request_id": "mine",
        "msg": {"n": [1, None]},
    }


def test_push_leaves_out_what_was_not_asked(server: StandIn) -> None:
    server.will(202, _ACCEPTED)
    result = run(server, "push", "--key", "a", "0")
    assert result.exit_code == 0
    body = server.asked[0].body
    assert len(body.pop("request_id")) == 32
    assert body == {"keys": ["a"], "msg": 0}


def test_plain_text_is_sent_as_a_string_with_a_note(server: StandIn) -> None:
    server.will(202, _ACCEPTED)
    result = run(server, "push", "--key", "a", "-", "--json", stdin="hello you\n")
    assert json.loads(result.stdout) == _ACCEPTED
    assert result.stderr == "note: not JSON, so it is sent as a JSON string\n"
    assert server.asked[0].body["msg"] == "hello you"


def test_push_to_nobody_asks_to_whom(server: StandIn) -> None:
    result = run(server, "push", "1")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: to whom?")
    assert server.asked == []


def test_a_servers_refusal_is_one_line_with_the_fields(server: StandIn) -> None:
    server.will(422, {"title": "At fault", "errors": [{"field": "op", "message": "too\nsmall"}]})
    result = run(server, "push", "--all", "1")
    assert (result.exit_code, result.stderr) == (1, "Error: 422 At fault: op: too\\u000asmall\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["push", "--all", "1"],
        ["online"],
        ["nodes"],
        ["receipt", "p1"],
        ["cancel", "p1"],
        ["messages", "a"],
        ["listen", "--key", "a"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_every_command_says_what_to_do_when_nobody_answers(arguments: list[str]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    result = CliRunner().invoke(main, [*arguments, "--url", url])
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: no answer from {url}: no connection - is it running? Start it with `make run`, "
        "or say where it is with --url.\n"
    )


@pytest.mark.parametrize("arguments", [["nodes", "--url"], ["listen", "--node"]], ids=["--url", "--node"])
@pytest.mark.parametrize(
    ("url", "flaw"),
    [
        ("foo", "it must start with http:// or https://"),
        ("localhost:8000", "it must start with http:// or https://"),
        ("ftp://h", "it must start with http:// or https://"),
        ("http://", "no host"),
        ("http://h:abc", "Port could not be cast to integer value as 'abc'"),
    ],
)
def test_what_is_no_url_is_told_in_one_line(arguments: list[str], url: str, flaw: str) -> None:
    result = CliRunner().invoke(main, [*arguments, url])
    assert result.exit_code == 1
    assert result.stderr == f"Error: {arguments[1]} {url}: {flaw}. Give a URL like http://127.0.0.1:8000.\n"


@pytest.mark.parametrize(
    ("option", "reason"), [("--url", "TLS failed"), ("--node", "Connection error")], ids=["--url", "--node"]
)
def test_tls_to_a_server_without_it_is_told(server: StandIn, option: str, reason: str) -> None:
    url = server.url.replace("http:", "https:")
    result = CliRunner().invoke(main, ["listen", option, url])
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: no answer from {url}: {reason} - is it running, and does it speak TLS? "
        "Without TLS, its URL starts with http://.\n",
    )


def test_help_tells_where_cloudpush_is() -> None:
    assert "CLOUDPUSH_URL" in CliRunner().invoke(main, ["--help"]).output


def test_a_missing_api_key_is_named(server: StandIn) -> None:
    server.will(401, {"title": "An API key is needed"})
    result = run(server, "nodes")
    assert (result.exit_code, "give the right key with --api-key or CLOUDPUSH_API_KEY" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "answer", "path", "shown"),
    [
        ([], {"sessions": 3, "nodes": 2}, "/v1/online", "sessions  3\nnodes     2\n"),
        (
            ["--key", "a", "--key", "bob"],
            {"keys": {"a": 2, "bob": 0}},
            "/v1/online/keys?key=a&key=bob",
            "a    2\nbob  0\n",
        ),
        (["--room", "r"], {"room": "r", "sessions": 4}, "/v1/online/rooms/r", "r  4\n"),
        (["--rooms"], {"rooms": [{"room": "r", "sessions": 4}]}, "/v1/online/rooms?limit=10", "r  4\n"),
        (["--rooms"], {"rooms": []}, "/v1/online/rooms?limit=10", "nobody\n"),
    ],
)
def test_online_asks_and_shows(server: StandIn, arguments: list[str], answer: object, path: str, shown: str) -> None:
    server.will(200, answer)
    result = run(server, "online", *arguments)
    assert (result.exit_code, result.output) == (0, shown)
    assert server.asked[0].path == path
    assert json.loads(run(server, "online", *arguments, "--json").output) == answer


def test_online_answers_one_question_at_a_time(server: StandIn) -> None:
    result = run(server, "online", "--rooms", "--key", "a")
    assert (result.exit_code, server.asked) == (1, [])


def test_nodes_are_lined_up(server: StandIn) -> None:
    node = {"node": "h:1#b", "url": "http://h:9", "grpc": "h:1", "sessions": 5, "draining": True, "probe_age_ms": None}
    server.will(200, {"nodes": [node]})
    assert run(server, "nodes").output == (
        "NODE   URL         GRPC  SESSIONS  STATE     PROBE\nh:1#b  http://h:9  h:1   5         draining  never\n"
    )


def test_every_help_shows_an_example() -> None:
    for name in main.commands:
        assert f"  cloudpush {name}" in CliRunner().invoke(main, [name, "--help"]).output


def test_a_message_cannot_control_the_terminal() -> None:
    message = Message(9, {"m": "\x1b[2J\n\x9b\u202eé"}, "k", "p")
    assert message_line(message, datetime(2026, 1, 2, 3, 4, 5, 678_000)) == (  # noqa: DTZ001 - shown as it is
        '03:04:05.678  op=9  key=k  push_id=p  {"m": "\\u001b[2J\\n\\u009b\\u202eé"}'
    )


def test_a_durable_message_shows_its_place() -> None:
    message = Message(9, 1, "k", "p", 7, "e\n1")
    assert message_line(message, datetime(2026, 1, 2, 3, 4, 5)) == (  # noqa: DTZ001 - shown as it is
        "03:04:05.000  op=9  key=k  push_id=p  offset=7  epoch=e\\u000a1  1"
    )


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("7d", 604_800)])
def test_times_have_units(server: StandIn, text: str, seconds: int) -> None:
    server.will(202, _ACCEPTED)
    run(server, "push", "--all", "--ttl", text, "1")
    assert server.asked[0].body["ttl_s"] == seconds


def test_what_is_no_time_is_told(server: StandIn) -> None:
    result = run(server, "push", "--all", "--ttl", "soon", "1")
    assert (result.exit_code, "give seconds, or a number with s, m, h or d" in result.stderr) == (2, True)


def test_only_a_durable_push_can_be_waited_for_until_it_is_acked(server: StandIn) -> None:
    result = run(server, "push", "--all", "--wait", "acked", "1")
    assert (result.exit_code, result.stderr) == (
        1,
        "Error: only durable messages are acked: add --durable, or give --wait emitted.\n",
    )
    assert server.asked == []
