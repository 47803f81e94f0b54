"""A valid push on its way to its promise, and how it ended: what app/promise.py and its parts hand around."""

from dataclasses import dataclass
from typing import NamedTuple

from proto.message import Push
from store.requests import Claim


class Asked(NamedTuple):
    """One push that a caller asks for.

    *digest* stands for the body of a call with a request_id; *traced*: the caller asked for a receipt.
    """

    push: Push
    digest: str = ""
    traced: bool = False


# The id of the push that is promised, which is an earlier one's if the call is a repeated one; or why nothing is.
Ending = str | Exception


@dataclass(slots=True)
class Attempt:
    """A push that is being carried out, under its *claim* if it has a request_id; *error*: why it cannot be."""

    push: Push
    traced: bool
    claim: Claim | None = None
    error: Exception | None = None
