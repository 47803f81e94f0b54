"""What can go wrong, as one tree.

::

    CloudpushError
    ├── Unreachable     nobody answers at that address (or not in time)
    ├── Problem         the server answered with an error: RFC 9457 fields
    ├── Refused         a node refused the session, or something that it asked for: code and field
    ├── Ended           the server ended the session for good
    └── StorageFailed   a listener's cursors cannot be read or kept
"""

from dataclasses import dataclass


class CloudpushError(Exception):
    """Any error of this package; its text is one line for a person."""


class Unreachable(CloudpushError):
    """Nobody answered at *url* before the deadline."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"no answer from {url}: {reason}")
        self.url = url
        self.reason = reason


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field at fault, and why."""

    field: str
    message: str


class Problem(CloudpushError):
    """The server said no.

    *type* names the kind of problem (RFC 9457; "about:blank" when only *status*, HTTP's, says it); *retry_after_s* is
    None when trying again would not help; *after_loss*: an attempt before this one had no answer, so it may have been
    carried out.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str = "",
        errors: tuple[FieldError, ...] = (),
        retry_after_s: float | None = None,
        type: str = "about:blank",
    ) -> None:
        fields = "; ".join(f"{error.field}: {error.message}" for error in errors)
        # The detail of a field error repeats the fields: one of both is enough.
        said = ": ".join(part for part in (title, fields or detail) if part)
        super().__init__(f"{status} {said}")
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = errors
        self.retry_after_s = retry_after_s
        self.type = type
        self.after_loss = False


class Refused(CloudpushError):
    """A node did not take the session, or what it asked for.

    *code* is for programs; *field* is the part of the auth at fault, if any.
    """

    def __init__(self, message: str, code: str, field: str | None = None) -> None:
        super().__init__(f"refused: {message} ({code})")
        self.code = code
        self.field = field


class Ended(CloudpushError):
    """The server ended the session and does not want it back."""

    def __init__(self) -> None:
        super().__init__("the server ended this session")


class StorageFailed(CloudpushError):
    """Where a listener keeps its cursors cannot be read or written; *where* names it."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.where = where
        self.reason = reason
