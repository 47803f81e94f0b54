"""``python -m tasks.dead_letters``: shows what was given up, sends it again, or throws it away.

A letter is taken out only once what follows from it is on the broker, confirmed.  So an interrupted replay loses
nothing; at worst the letter it was at is sent twice, and nodes drop what they have had.  Refuses to show bodies.
"""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click
from kombu import Connection

import celeryconfig
from proto.errors import BrokerUnavailable, StoreUnavailable
from store.clock import StoreClock
from store.connection import connect
from store.settings import StoreSettings
from tasks import letters, requeue
from tasks.celery import app
from tasks.dead_queue import DeadQueue, dead_queue
from tasks.letters import Letter
from tasks.outlet import Outlet

_ALL = sys.maxsize
_NEWS_S = 1.0
_DETAILS_SHOWN = 100
_HELP = """Dead letters: pushes that were given up, and messages that are no tasks.

\b
They are read from the broker that the workers use: RABBITMQ_URL (or CLOUDPUSH_BROKER_URL).
With `make run` and no RabbitMQ, that is the embedded one:
    env $(cat .cloudpush/environment) python -m tasks.dead_letters list

\b
    python -m tasks.dead_letters list                       the oldest 20
    python -m tasks.dead_letters list --limit 1000 --json   one JSON object a line
    python -m tasks.dead_letters replay --push-id 01J…      send one again
    python -m tasks.dead_letters replay --reason unreachable --ttl-s 60
    python -m tasks.dead_letters discard --reason malformed

\b
Reasons: unreachable, node_refused, unknown_server, disconnect_failed, malformed (a worker gave it up);
no_task, delivery_limit (the broker did: no task of ours; its worker died of it again and again).
"""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which letters are meant."""

    push_id: str | None
    reason: str | None
    every: bool

    def takes(self, letter: Letter) -> bool:
        """Tell whether *letter* is among them."""
        if self.push_id is not None and letter.push_id != self.push_id:
            return False
        return self.reason is None or self.reason == letter.reason or self.reason == letter.kind == letters.MALFORMED


def _choosing(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--limit", type=click.IntRange(1), default=_ALL, show_default="all", help="Stop after so many."),
        click.option("--all", "every", is_flag=True, help="All letters."),
        click.option("--reason", help="Letters that died of this; `malformed`: all that cannot be sent again."),
        click.option("--push-id", help="The letters of this push."),
    ):
        command = option(command)
    return command


@click.group(help=_HELP)
def main() -> None:
    """See _HELP."""


@main.command("list")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Show so many, oldest first.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def show(limit: int, as_json: bool) -> None:
    """Show the oldest letters.  They stay where they are, in their order."""
    with _opened() as (queue, _):
        count, shown = queue.count(), 0
        for found in queue.look(limit):
            letter = letters.read(found.headers, found.body)
            _say(json.dumps(letter.shown(), ensure_ascii=False) if as_json else _line(letter))
            shown += 1
        if not as_json:
            _say(f"{shown:,} of {count:,} dead letters" + (f"; all of them: --limit {count}" if shown < count else ""))


@main.command()
@_choosing
@click.option(
    "--ttl-s",
    type=click.IntRange(1),
    help="Give each push so many seconds from now; without it, one whose time is over stays where it is.",
)
def replay(push_id: str | None, reason: str | None, every: bool, limit: int, ttl_s: int | None) -> None:
    """Send letters again, each on its own queue, as on the first attempt."""
    choice = _choice(push_id, reason, every)
    ttl_ms = None if ttl_s is None else ttl_s * 1000
    clock = _clock()
    with _opened() as (queue, producer):

        def send(letter: Letter) -> str:
            if letter.push is not None:
                payload = letters.argument(letter.push, clock.now_ms(), ttl_ms)
                if payload is None:
                    return "out of time, and stay: give them more with --ttl-s 60"
                requeue.put_push(producer, payload, letter.push)
            elif letter.keys:
                requeue.put_disconnect(producer, letter.keys)
            else:
                return "malformed, and stay: throw them away with `discard --reason malformed`"
            return ""

        _go_through(queue, choice, limit, send, "replayed")


@main.command()
@_choosing
def discard(push_id: str | None, reason: str | None, every: bool, limit: int) -> None:
    """Throw letters away for good."""
    choice = _choice(push_id, reason, every)
    with _opened() as (queue, _):
        _go_through(queue, choice, limit, lambda _: "", "discarded")


def _go_through(queue: DeadQueue, choice: Choice, limit: int, act: Callable[[Letter], str], done: str) -> None:
    """Drop each chosen letter on which *act* succeeded; what it says instead is why a letter stays."""
    count, seen, dropped, stay = queue.count(), 0, 0, Counter[str]()
    news_at = time.monotonic() + _NEWS_S
    try:
        for found in queue.look(_ALL):
            seen += 1
            letter = letters.read(found.headers, found.body)
            if not choice.takes(letter):
                continue
            if why := act(letter):
                stay[why] += 1
            else:
                queue.drop(found)
                dropped += 1
            if dropped >= limit:
                break
            if time.monotonic() >= news_at:
                click.echo(f"… {done} {dropped:,}; looked at {seen:,} of {count:,}", err=True)
                news_at = time.monotonic() + _NEWS_S
    finally:
        _say(f"{done} {dropped:,} of {count:,} dead letters")
        for why, number in stay.items():
            _say(f"{number:,} are {why}")
    if not dropped and not stay:
        raise click.ClickException("no such letter: `list` shows what is there")


def _choice(push_id: str | None, reason: str | None, every: bool) -> Choice:
    if every == bool(push_id or reason):
        raise click.UsageError("say which letters: --push-id ID, --reason REASON or --all")
    return Choice(push_id, reason, every)


@contextmanager
def _opened() -> Iterator[tuple[DeadQueue, Any]]:
    outlet = Outlet(app)
    try:
        with outlet.open() as producer:
            queue = dead_queue(outlet.connection)
            yield queue, producer
            if warning := queue.warning():
                click.echo(f"warning: {warning}", err=True)
    except BrokerUnavailable as error:
        address = Connection(celeryconfig.broker_url).as_uri()
        raise click.ClickException(
            f"{error}\nthe broker is {address}: start it, or set RABBITMQ_URL to another, and run the same command "
            "again; letters that were not reported as done are where they were"
        ) from error
    finally:
        outlet.close()


def _clock() -> StoreClock:
    """Give the time of the store, by which workers judge; this machine's where the store does not answer."""
    clock = StoreClock()
    try:
        with connect(StoreSettings()) as client:
            clock.ask(client)
    except StoreUnavailable as error:
        click.echo(f"this machine's clock has to do: {error}", err=True)
    return clock


def _say(line: str) -> None:
    try:
        click.echo(line)
    except BrokenPipeError:  # `… | head` has seen enough; it must not be taken for the broker's
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise click.exceptions.Exit(1) from None


def _line(letter: Letter) -> str:
    when = letters.instant(letter.at_ms) if letter.at_ms else "-" * 20
    what = letter.push_id or letter.kind
    keys: Sequence[str] = letter.push.keys if letter.push is not None else letter.keys
    details = " ".join(letter.details.split())[:_DETAILS_SHOWN]
    return f"{when}  {letter.reason:<17}  {what:<26}  {len(keys)} keys  {details}"


if __name__ == "__main__":
    main(prog_name="python -m tasks.dead_letters")
