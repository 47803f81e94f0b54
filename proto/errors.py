"""Every failure that crosses a boundary of ours, as one tree.

::

    CloudpushError                 .retryable: may the same call succeed later, unchanged?
    ├── InvalidPush                the caller's fault; .problems names each field
    ├── Refused                    not allowed (.code, .field): identity said no
    ├── BrokerUnavailable          retryable; nothing was promised
    ├── StoreUnavailable           retryable; Redis did not answer in time
    ├── UnknownServer              an explicit server that holds no lease
    └── NodeError                  .node
        ├── NodeUnreachable        retryable: no connection, or no answer before the deadline
        ├── NodeBusy               retryable: the node's bounded queue is full
        └── NodeRefused            the node will never take this request (token, malformed)

Errors carry data; texts for people are made from the data, here, once.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One field of a request and what is wrong with it; *field* is a path like ``keys[3]``."""

    field: str
    message: str


class CloudpushError(Exception):
    """Root of the tree."""

    retryable = False


class InvalidPush(CloudpushError):
    """The request can never be accepted as it is."""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{p.field}: {p.message}" if p.field else p.message for p in self.problems))


class Refused(CloudpushError):
    """Identity says no.  *code* is stable and for programs, *field* is the part of the request at fault."""

    def __init__(self, code: str, message: str, field: str = "") -> None:
        self.code = code
        self.message = message
        self.field = field
        super().__init__(message)


class BrokerUnavailable(CloudpushError):
    """The broker did not confirm in time; the push was not accepted."""

    retryable = True


class StoreUnavailable(CloudpushError):
    """The store did not answer in time."""

    retryable = True


class UnknownServer(CloudpushError):
    """No live node goes by the name that the caller gave as *server*; *retryable* when one did a moment ago."""

    def __init__(self, server: str, *, retryable: bool = False) -> None:
        self.server = server
        self.retryable = retryable
        super().__init__(f"no live node is called {server!r}")


class NodeError(CloudpushError):
    """A node did not do what it was asked to; *reason* is for logs."""

    def __init__(self, node: str, reason: str) -> None:
        self.node = node
        self.reason = reason
        super().__init__(f"{node}: {reason}")


class NodeUnreachable(NodeError):
    """No connection, or no answer before the deadline: the node may or may not have acted."""

    retryable = True


class NodeBusy(NodeError):
    """The node's queue is full; it did not act."""

    retryable = True


class NodeRefused(NodeError):
    """The node refused for a reason that time does not mend."""
