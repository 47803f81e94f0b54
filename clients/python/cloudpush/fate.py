"""``cloudpush receipt``, ``cancel`` and ``messages``: what became of pushes, and of what is stored for a key."""

import json
import time
from datetime import datetime
from typing import get_args

import click

from cloudpush.following import Step, exit_code, new_steps, next_milestone, step_line
from cloudpush.options import client_of, connection_options, errors_told
from cloudpush.rest import Client
from cloudpush.results import Milestone, Receipt
from cloudpush.show import one_line, print_json, table

_ASK_FOR_S = 5.0
_PAUSE_S = 0.5
WAITS = get_args(Milestone)


@click.command()
@click.argument("push_id", metavar="ID")
@click.option("--follow", is_flag=True, help="Print each change of state until it has ended, or Ctrl-C.")
@click.option("--timeout-s", type=click.FloatRange(min=0, min_open=True), help="With --follow: end after this long.")
@connection_options
def receipt(push_id: str, url: str, api_key: str | None, as_json: bool, follow: bool, timeout_s: float | None) -> None:
    """Tell what became of a push.

    Durable, traced and scheduled pushes have a receipt. Each line says when something happened, how long after the
    push was accepted, and to which key. With --follow the exit code says how it ended; a durable push that found
    nobody has not ended before it expires.

    \b
    Exit code: 0 delivered (every key acked; emitted if ephemeral),
    3 ended otherwise for a key, 4 still under way, 1 any error.
    \b
    Examples:
        cloudpush receipt 0198c0de-0000-7000-8000-000000000000
        cloudpush receipt 0198c0de-0000-7000-8000-000000000000 --follow
    """  # noqa: D301 - \b is click's mark for a block that is kept as it is
    with errors_told(), client_of(url, api_key) as client:
        told = Teller(as_json)
        try:
            last = told.tell(client.receipt(push_id))
            if follow:
                last = follow_on(client, last, told, timeout_s)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(130) from None
    raise click.exceptions.Exit(exit_code(last))


@click.command()
@click.argument("push_id", metavar="ID")
@connection_options
def cancel(push_id: str, url: str, api_key: str | None, as_json: bool) -> None:
    """Cancel a push, for the keys to which it was not emitted yet.

    \b
    Example:
        cloudpush cancel 0198c0de-0000-7000-8000-000000000000
    """  # noqa: D301
    with errors_told(), client_of(url, api_key) as client:
        answer = client.cancel(push_id)
    if as_json:
        print_json({"push_id": answer.push_id, "cancelled": list(answer.cancelled), "too_late": dict(answer.too_late)})
        return
    rows = [[key, "cancelled"] for key in answer.cancelled]
    rows += [[key, f"too late: {state}"] for key, state in answer.too_late.items()]
    click.echo(table(rows))


@click.command()
@click.argument("key", metavar="KEY")
@click.option("--after", type=click.IntRange(min=0), default=0, show_default=True, help="Those after this offset.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many.")
@connection_options
def messages(key: str, url: str, api_key: str | None, as_json: bool, after: int, limit: int) -> None:
    """List the durable messages that are stored for a key.

    KEY is a key as pushes see it: alice, mid:42, room:live://1000, all.

    \b
    Examples:
        cloudpush messages alice
        cloudpush messages mid:42 --after 17 --json
    """  # noqa: D301
    with errors_told(), client_of(url, api_key) as client:
        page = client.messages(key, after=after, limit=limit)
    if as_json:
        print_json(dict(page.raw))
        return
    if page.trimmed > after:
        click.echo(f"note: up to offset {page.trimmed} messages were dropped to keep the bound", err=True)
    for one in page.messages:
        click.echo(
            f"{_clock(one.accepted_at)}  offset={one.offset}  epoch={one_line(one.epoch)}  op={one.op}  "
            f"push_id={one_line(one.push_id)}  {one_line(json.dumps(one.msg, ensure_ascii=False))}"
        )
    if page.more:
        click.echo(f"more: cloudpush messages {one_line(key)} --after {page.messages[-1].offset}", err=True)
    elif not page.messages:
        click.echo(f"nothing after offset {after}; the last one given is {page.last}", err=True)


class Teller:
    """Prints the steps of one push that it has not printed yet, or with *as_json* each receipt that has changed."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._told: list[Step] = []
        self._shown: object = None

    def tell(self, receipt: Receipt) -> Receipt:
        """Print what is new, and give *receipt* back."""
        if self._as_json:
            if receipt.raw != self._shown:
                print_json(dict(receipt.raw))
        else:
            fresh = new_steps(receipt, self._told)
            for step in fresh:
                click.echo(one_line(step_line(step, receipt.accepted_at)))
            if (self._shown is None or fresh) and receipt.deliver_at is not None and receipt.state == "scheduled":
                click.echo(f"scheduled for {receipt.deliver_at.astimezone().isoformat(timespec='milliseconds')}")
            self._told += fresh
        self._shown = receipt.raw
        return receipt


def follow_on(
    client: Client, last: Receipt, told: Teller, timeout_s: float | None, until: Milestone | None = None
) -> Receipt:
    """Ask and tell until the push has ended (or every key has reached *until*), or *timeout_s* is over."""
    ends = None if timeout_s is None else time.monotonic() + timeout_s
    while not (last.ended or (until is not None and last.reached(until))):
        left_s = _ASK_FOR_S if ends is None else min(_ASK_FOR_S, ends - time.monotonic())
        if left_s <= 0:
            break
        before = last
        last = told.tell(client.receipt(last.push_id, wait=next_milestone(last), timeout_s=left_s))
        if last == before:
            time.sleep(min(_PAUSE_S, left_s))  # a server that has nothing to wait for answers at once
    return last


def _clock(when: datetime) -> str:
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
