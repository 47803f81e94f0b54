"""The command line: ``cloudpush push / push-many / listen / receipt / cancel / messages / online / nodes``.

Every error is one line that says what to do next, with exit code 1; never a traceback.
"""

import json
import sys
from dataclasses import asdict
from typing import Any

import click

from cloudpush.durations import Seconds
from cloudpush.fate import WAITS, Teller, cancel, follow_on, messages, receipt
from cloudpush.following import DELIVERED, UNDELIVERED, UNDER_WAY
from cloudpush.lines import push_many
from cloudpush.listen import listen
from cloudpush.options import client_of, connection_options, errors_told
from cloudpush.results import Milestone
from cloudpush.show import print_json, table

_PRIORITIES = ("high", "normal", "bulk")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cloudpush")
def main() -> None:
    """Push messages to browsers, and watch what happens.

    \b
    Try it, in two terminals:
        cloudpush listen --key alice
        cloudpush push --key alice '{"hello": "world"}'
    \b
    Keep it until alice is back, and see what became of it:
        cloudpush push --key alice --durable '{"hello": "again"}'
        cloudpush receipt ID --follow
    \b
    Where cloudpush is: --url or CLOUDPUSH_URL; needed when REST is not on port
    8000 of this machine (`make run` with CLOUDPUSH_WEB_PORT set, say):
        export CLOUDPUSH_URL=http://127.0.0.1:8001
    """  # noqa: D301 - \b is click's mark for a block that is kept as it is


for command in (push_many, listen, receipt, cancel, messages):
    main.add_command(command)


@main.command()
@click.argument("message", metavar="MSG")
@click.option("--key", "keys", multiple=True, help="To the sessions of this key; repeat for more.")
@click.option("--mid", "mids", multiple=True, help="To every session of this member; repeat for more.")
@click.option("--room", "rooms", multiple=True, help="To every session in this room; repeat for more.")
@click.option("--all", "everyone", is_flag=True, help="To every session.")
@click.option("--op", type=int, help="Operation number of the message; 9 if not given.")
@click.option("--durable", is_flag=True, help="Store it first: sessions that are away get it when they come back.")
@click.option("--ttl", "--ttl-s", "ttl_s", type=Seconds(), help="How long it is worth delivering: 90, 15m, 2h, 7d.")
@click.option("--delay", "delay_s", type=Seconds(), help="Deliver it this much later.")
@click.option("--deliver-at", help="Deliver it at this time: 2030-01-31T12:00:00Z.")
@click.option("--priority", type=click.Choice(_PRIORITIES), help="Which queue it takes; normal if not given.")
@click.option("--request-id", help="The same id and push are delivered once, in 24 h; made up if not given.")
@click.option("--trace", is_flag=True, help="Keep a receipt, for a push that has none otherwise.")
@click.option("--wait", type=click.Choice(WAITS), help="Print each step until every key is there (implies --trace).")
@click.option("--wait-s", type=click.FloatRange(min=1), default=30.0, show_default=True, help="How long to --wait.")
@click.option("--server", help="Straight to this node (host:port or host:port#boot), without asking the directory.")
@click.option("--speed", type=click.IntRange(min=1), help="With --all: to so many sessions of each node a second.")
@connection_options
def push(
    message: str,
    url: str,
    api_key: str | None,
    as_json: bool,
    everyone: bool,
    wait: Milestone | None,
    wait_s: float,
    **asked: Any,
) -> None:
    """Push one message.

    MSG is JSON, or plain text, which is sent as a JSON string; - reads it from stdin.

    With --wait the exit code is 0 if every key got there, 3 if one ended otherwise, 4 if the time was over before.

    \b
    Examples:
        cloudpush push --key alice '{"hello": "world"}'
        cloudpush push --room live://1000 --op 9 --priority high 'a plain text'
        cloudpush push --mid 42 --durable --ttl 7d --wait acked '"read me"'
        date | cloudpush push --all -
    """  # noqa: D301
    if not (everyone or asked["keys"] or asked["mids"] or asked["rooms"]):
        raise click.ClickException("to whom? Give at least one of --key, --mid, --room, --all.")
    if wait == "acked" and not asked["durable"]:
        raise click.ClickException("only durable messages are acked: add --durable, or give --wait emitted.")
    if asked["request_id"] is None:
        del asked["request_id"]
    asked["trace"] = asked["trace"] or (wait is not None and not asked["durable"])
    msg = message_of(message if message != "-" else sys.stdin.read())
    with errors_told(), client_of(url, api_key) as client:
        accepted = client.push(msg, all=everyone, **asked)
        if as_json:
            print_json({"push_id": accepted.push_id, "status": accepted.status, "href": accepted.href})
        else:
            click.echo(f"{accepted.status} push_id={accepted.push_id}")
        if wait is None:
            return
        told = Teller(as_json)
        last = follow_on(client, told.tell(client.receipt(accepted.push_id)), told, wait_s, wait)
    there = all(one.reached(wait) for one in last.keys.values())
    raise click.exceptions.Exit(DELIVERED if there else UNDELIVERED if last.reached(wait) else UNDER_WAY)


def message_of(text: str) -> Any:
    """Read MSG: JSON, or else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        click.echo("note: not JSON, so it is sent as a JSON string", err=True)
        return text.rstrip("\n")


@main.command()
@click.option("--key", "keys", multiple=True, help="Sessions of this key; repeat for more.")
@click.option("--room", help="Sessions in this room.")
@click.option("--rooms", is_flag=True, help="The largest rooms.")
@connection_options
def online(keys: tuple[str, ...], room: str | None, rooms: bool, url: str, api_key: str | None, as_json: bool) -> None:
    """Count sessions: all, of keys, or in rooms.

    \b
    Examples:
        cloudpush online
        cloudpush online --key alice --key bob
        cloudpush online --rooms
    """  # noqa: D301
    if sum((bool(keys), room is not None, rooms)) > 1:
        raise click.ClickException("one question at a time: give --key, --room or --rooms.")
    with errors_told(), client_of(url, api_key) as client:
        answer: dict[str, Any]
        if keys:
            counts = client.online_keys(keys)
            rows, answer = [[key, str(count)] for key, count in counts.items()], {"keys": counts}
        elif room is not None:
            sessions = client.online_room(room)
            rows, answer = [[room, str(sessions)]], {"room": room, "sessions": sessions}
        elif rooms:
            top = client.online_rooms()
            rows, answer = [[one.room, str(one.sessions)] for one in top], {"rooms": [asdict(one) for one in top]}
        else:
            answer = asdict(client.online())
            rows = [[name, str(value)] for name, value in answer.items()]
    if as_json:
        print_json(answer)
    else:
        click.echo(table(rows) if rows else "nobody")


@main.command()
@connection_options
def nodes(url: str, api_key: str | None, as_json: bool) -> None:
    """List the live cloud nodes.

    PROBE is how long ago a push of the node's own last came back to it.

    \b
    Example:
        cloudpush nodes
    """  # noqa: D301
    with errors_told(), client_of(url, api_key) as client:
        live = client.nodes()
    if as_json:
        print_json({"nodes": [dict(node.raw) for node in live]})
        return
    head = ["NODE", "URL", "GRPC", "SESSIONS", "STATE", "PROBE"]
    rows = [
        [
            node.node,
            node.url,
            node.grpc,
            str(node.sessions),
            "draining" if node.draining else "live",
            "never" if node.probe_age_ms is None else f"{node.probe_age_ms} ms",
        ]
        for node in live
    ]
    click.echo(table([head, *rows]) if rows else "no node is live: `make run` starts two")
