"""``cloudpush push-many``: a push a line, a result a line."""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple, TextIO

import click

from cloudpush.bodies import body_of
from cloudpush.errors import CloudpushError
from cloudpush.many import MOST_PUSHES, Result
from cloudpush.options import client_of, connection_options
from cloudpush.rest import Client
from cloudpush.show import one_line, print_json


class Line(NamedTuple):
    """One line of the input, from 1: the push that it asks for, or what is wrong with it."""

    number: int
    push: Mapping[str, Any] | None
    flaw: str = ""


@click.command("push-many")
@click.argument("file", type=click.File(), default="-")
@connection_options
def push_many(file: TextIO, url: str, api_key: str | None, as_json: bool) -> None:
    """Push a message for each line of FILE, or of stdin.

    Each line is a JSON object as POST /v1/pushes takes it; empty lines are skipped. A result is printed for each, in
    their order; of those that are not accepted on stderr, with the number of the line.

    \b
    Exit code: 0 all were accepted, 1 some were not.
    \b
    Example:
        cloudpush push-many <<END
        {"keys": ["alice"], "msg": "hello"}
        {"rooms": ["live://1000"], "msg": {"n": 1}, "durable": true}
        END
    """  # noqa: D301 - \b is click's mark for a block that is kept as it is
    failed = False
    with client_of(url, api_key) as client:
        lines = _lines(file)
        while chunk := list(islice(lines, MOST_PUSHES)):
            for line, result in _pushed(client, chunk):
                failed |= not _told(line, result, as_json)
    raise click.exceptions.Exit(1 if failed else 0)


def _lines(file: Iterable[str]) -> Iterator[Line]:
    for number, text in enumerate(file, 1):
        if not text.strip():
            continue
        try:
            push = json.loads(text)
            if not isinstance(push, dict):
                raise TypeError("it is not a JSON object")
            body_of(push)
        except (ValueError, TypeError) as error:
            yield Line(number, None, str(error))
        else:
            yield Line(number, push)


def _pushed(client: Client, chunk: list[Line]) -> Iterator[tuple[Line, Result | None]]:
    results = iter(client.push_many([line.push for line in chunk if line.push is not None]))
    for line in chunk:
        yield line, None if line.push is None else next(results)


def _told(line: Line, result: Result | None, as_json: bool) -> bool:
    """Print what became of *line*; tell whether it was accepted."""
    if result is None or isinstance(result, CloudpushError):
        flaw = line.flaw if result is None else str(result)
        if as_json:
            print_json({"line": line.number, "error": flaw})
        click.echo(one_line(f"line {line.number}: {flaw}"), err=True)
        return False
    if as_json:
        print_json({"line": line.number, "push_id": result.push_id, "status": result.status, "href": result.href})
    else:
        click.echo(one_line(f"{result.status} push_id={result.push_id}"))
    return True
