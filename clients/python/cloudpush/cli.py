"""The command line: ``cloudpush push / listen / online / nodes / receipt``.

Every error is one line that says what to do next, with exit code 1; never a traceback.
"""

import json
import sys
from typing import Any

import click

from cloudpush.listen import listen
from cloudpush.options import connection_options, errors_told
from cloudpush.rest import Client
from cloudpush.show import one_line, table

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
    Where cloudpush is: --url or CLOUDPUSH_URL; needed when REST is not on port
    8000 of this machine (`make run` with CLOUDPUSH_WEB_PORT set, say):
        export CLOUDPUSH_URL=http://127.0.0.1:8001
    """  # noqa: D301 - \b is click's mark for a block that is kept as it is


main.add_command(listen)


@main.command()
@click.argument("message", metavar="MSG")
@click.option("--key", "keys", multiple=True, help="To the sessions of this key; repeat for more.")
@click.option("--mid", "mids", multiple=True, help="To every session of this member; repeat for more.")
@click.option("--room", "rooms", multiple=True, help="To every session in this room; repeat for more.")
@click.option("--all", "everyone", is_flag=True, help="To every session.")
@click.option("--op", type=int, help="Operation number of the message; 9 if not given.")
@click.option("--priority", type=click.Choice(_PRIORITIES), help="Which queue it takes; normal if not given.")
@click.option("--ttl-s", type=int, help="Seconds after which it is not worth delivering any more.")
@click.option("--server", help="Straight to this node (host:port or host:port#boot), without asking the directory.")
@connection_options
def push(message: str, url: str, api_key: str | None, as_json: bool, **asked: Any) -> None:
    """Push one message.

    MSG is JSON, or plain text, which is sent as a JSON string; - reads it from stdin.

    \b
    Examples:
        cloudpush push --key alice '{"hello": "world"}'
        cloudpush push --room live://1000 --op 9 --priority high 'a plain text'
        date | cloudpush push --all -
    """  # noqa: D301
    body = push_body(message if message != "-" else sys.stdin.read(), **asked)
    if not any(name in body for name in ("keys", "mids", "rooms", "all")):
        raise click.ClickException("to whom? Give at least one of --key, --mid, --room, --all.")
    with errors_told(), Client(url, api_key=api_key) as client:
        accepted = client.push(body)
    if as_json:
        _print_json({"push_id": accepted.push_id, "status": accepted.status, "href": accepted.href})
    else:
        click.echo(f"{accepted.status} push_id={accepted.push_id}")


def push_body(message: str, *, everyone: bool, **asked: Any) -> dict[str, Any]:
    """Form the body of ``POST /v1/pushes`` from the options that were given."""
    body = {name: list(value) if isinstance(value, tuple) else value for name, value in asked.items()}
    body = {name: value for name, value in body.items() if value not in (None, [])}
    if everyone:
        body["all"] = True
    try:
        body["msg"] = json.loads(message)
    except ValueError:
        body["msg"] = message.rstrip("\n")
        click.echo("note: not JSON, so it is sent as a JSON string", err=True)
    return body


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
    with errors_told(), Client(url, api_key=api_key) as client:
        answer: dict[str, Any]
        if keys:
            counts = client.online_keys(keys)
            rows, answer = [[key, str(count)] for key, count in counts.items()], {"keys": counts}
        elif room is not None:
            sessions = client.online_room(room)
            rows, answer = [[room, str(sessions)]], {"room": room, "sessions": sessions}
        elif rooms:
            top = client.online_rooms()
            rows, answer = [[one["room"], str(one["sessions"])] for one in top], {"rooms": top}
        else:
            answer = client.online()
            rows = [[name, str(value)] for name, value in answer.items()]
    if as_json:
        _print_json(answer)
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
    with errors_told(), Client(url, api_key=api_key) as client:
        live = client.nodes()
    if as_json:
        _print_json({"nodes": live})
        return
    head = ["NODE", "URL", "GRPC", "SESSIONS", "STATE", "PROBE"]
    rows = [
        [
            node["node"],
            node["url"],
            node["grpc"],
            str(node["sessions"]),
            "draining" if node["draining"] else "live",
            "never" if node.get("probe_age_ms") is None else f"{node['probe_age_ms']} ms",
        ]
        for node in live
    ]
    click.echo(table([head, *rows]) if rows else "no node is live: `make run` starts two")


@main.command()
@click.argument("push_id", metavar="ID")
@connection_options
def receipt(push_id: str, url: str, api_key: str | None, as_json: bool) -> None:
    """Not supported yet: tell what became of a push.

    No server keeps receipts yet, so this ends with an error for every push.

    \b
    Example, once there are receipts:
        cloudpush receipt 0198c0de-0000-7000-8000-000000000000
    """  # noqa: D301
    with errors_told(), Client(url, api_key=api_key) as client:
        told = client.receipt(push_id)
    if as_json:
        _print_json(told)
    else:
        click.echo(table([[name, one_line(json.dumps(value, ensure_ascii=False))] for name, value in told.items()]))


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))
