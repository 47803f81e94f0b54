"""``cloudpush listen``: one session in a terminal, a line a message.

What comes goes to stdout, what happens to the session to stderr, so that the output can be piped.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from cloudpush.events import Gap, Message, Ready
from cloudpush.listener import Listener
from cloudpush.options import a_url, client_of, connection_options, errors_told
from cloudpush.show import one_line
from cloudpush.storage import FileStorage


@click.command()
@click.option("--key", help="Listen under this key; the node makes one up if not given.")
@click.option("--mid", help="Also as this member.")
@click.option("--room", "rooms", multiple=True, help="Also in this room; repeat for more.")
@click.option("--accept", "accepts", type=int, multiple=True, help="Only messages of this op; repeat for more.")
@click.option("--node", callback=a_url, help="URL of a node; without it, the least loaded one.")
@click.option("--token", envvar="CLOUDPUSH_TOKEN", help="Client token (JWT) [env: CLOUDPUSH_TOKEN].")
@click.option("--state", type=click.Path(dir_okay=False), help="Keep cursors in this file, and go on from there.")
@click.option("--history", type=click.IntRange(0, 1000), default=0, help="The last so many messages of each --room.")
@click.option("--count", type=click.IntRange(min=1), help="End after this many messages.")
@click.option(
    "--timeout-s",
    type=click.FloatRange(min=0, min_open=True),
    help="End after this long: with exit code 1 if --count is not reached, else 0.",
)
@click.option("--polling", is_flag=True, help="HTTP long-polling instead of a websocket.")
@connection_options
def listen(
    *,
    url: str,
    api_key: str | None,
    as_json: bool,
    node: str | None,
    count: int | None,
    timeout_s: float | None,
    polling: bool,
    accepts: tuple[int, ...],
    state: str | None,
    **asked: Any,
) -> None:
    """Listen as a browser does.

    Prints one line a message; Ctrl-C ends it. A durable message shows its offset and epoch, and is acknowledged once
    it is printed. With --state, the next start goes on after the last one printed, with what came meanwhile.

    \b
    Examples:
        cloudpush listen --key alice
        cloudpush listen --key bob --mid 42 --room live://1000 --history 20
        cloudpush listen --key carol --count 1 --json
        cloudpush listen --key dave --state dave.json
    """  # noqa: D301
    with errors_told(), client_of(url, api_key) as client:
        printer = _Printer(as_json, count, lambda: listener.stop())  # noqa: PLW0108 - made below
        listener = Listener(
            node,
            # Asked anew for every connection: after a node's end, another one takes the session.
            rest=None if node else client,
            accepts=accepts or None,
            platform="cli",
            storage=FileStorage(state) if state else None,
            on_message=printer.show,
            on_ready=_say_ready,
            on_gap=_say_gap,
            on_lost=lambda reason: click.echo(f"lost ({one_line(reason)}); connecting again", err=True),
            polling=polling,
            **asked,
        )
        try:
            in_time = listener.run(timeout_s)
        except KeyboardInterrupt:
            return
    if not in_time and count is not None:
        raise click.ClickException(f"not {count} messages within {timeout_s:g} s, but {printer.seen}.")


def message_line(message: Message, now: datetime) -> str:
    """Show one message on one line."""
    body = one_line(json.dumps(message.msg, ensure_ascii=False))
    clock = now.strftime("%H:%M:%S.%f")[:-3]
    place = f"  offset={message.offset}  epoch={one_line(str(message.epoch))}" if message.durable else ""
    return f"{clock}  op={message.op}  key={one_line(message.key)}  push_id={one_line(message.push_id)}{place}  {body}"


class _Printer:
    """Prints messages, and calls *stop* after the last one that is wanted, or when nobody reads us any more."""

    def __init__(self, as_json: bool, count: int | None, stop: Callable[[], None]) -> None:
        self._as_json = as_json
        self._count = count
        self._stop = stop
        self.seen = 0

    def show(self, message: Message) -> None:
        self.seen += 1
        now = datetime.now(UTC).astimezone()
        line = json.dumps(dict(message.raw), ensure_ascii=False) if self._as_json else message_line(message, now)
        try:
            click.echo(line)
        except BrokenPipeError:
            self._stop()
        if self.seen == self._count:
            self._stop()


def _say_ready(ready: Ready) -> None:
    click.echo(f"ready key={one_line(ready.key)} node={ready.node} session={ready.session}", err=True)


def _say_gap(gap: Gap) -> None:
    place = f"offset={gap.place.offset} epoch={one_line(gap.place.epoch)}"
    click.echo(f"gap ({one_line(gap.reason)}) key={one_line(gap.key)}: messages were lost; on after {place}", err=True)
