"""What every command has: where the server is, and errors as one line that says what to do next."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import click

from cloudpush.errors import CloudpushError, Problem, Refused, Unreachable
from cloudpush.rest import Client
from cloudpush.show import one_line

DEFAULT_URL = "http://127.0.0.1:8000"

_PATIENCE_S = 2.0
_SCHEMES = ("http", "https")

Command = Callable[..., None]


def a_url(_context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Let an option's value through if it is a URL that can be called; one line on what is wrong with it if not."""
    if value is None:
        return None
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - raises when it is no number
    except ValueError as error:
        flaw = str(error)
    else:
        if parts.scheme in _SCHEMES and parts.hostname:
            return value
        flaw = "no host" if parts.scheme in _SCHEMES else "it must start with http:// or https://"
    raise click.ClickException(f"{option.opts[0]} {one_line(value)}: {flaw}. Give a URL like {DEFAULT_URL}.")


def connection_options(command: Command) -> Command:
    """Give a command the options that all have."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs."),
        click.option("--api-key", envvar="CLOUDPUSH_API_KEY", help="The server's API key [env: CLOUDPUSH_API_KEY]."),
        click.option(
            "--url",
            envvar="CLOUDPUSH_URL",
            default=DEFAULT_URL,
            show_default=True,
            callback=a_url,
            help="Where cloudpush is [env: CLOUDPUSH_URL].",
        ),
    ):
        command = option(command)
    return command


def client_of(url: str, api_key: str | None) -> Client:
    """Make a client that is as patient as a person who waits."""
    return Client(url, api_key=api_key, patience_s=_PATIENCE_S)


@contextmanager
def errors_told() -> Iterator[None]:
    """Turn our errors into one line on stderr and exit code 1."""
    try:
        yield
    except CloudpushError as error:
        raise click.ClickException(f"{one_line(str(error))} {_next_step(error)}".rstrip()) from None


def _next_step(error: CloudpushError) -> str:
    match error:
        case Unreachable(url=url) if url.startswith("https://"):
            return "- is it running, and does it speak TLS? Without TLS, its URL starts with http://."
        case Unreachable():
            return "- is it running? Start it with `make run`, or say where it is with --url."
        case Problem(status=401 | 403):
            return "- give the right key with --api-key or CLOUDPUSH_API_KEY."
        case Problem(retry_after_s=float()):
            return "- try again later; `cloudpush nodes` shows what is up."
        case Refused(code=code) if "token" in code:
            return "- give a token with --token."
    return ""
