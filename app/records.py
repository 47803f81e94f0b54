"""What the store keeps about pushes, as the logic tier has it at hand."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Self

import redis

from store.batch import Batch
from store.clock import StoreClock
from store.inbox import Inbox
from store.pending import Pending
from store.receipts import Receipts
from store.requests import Requests
from store.settings import StoreSettings


@dataclass(frozen=True, slots=True)
class Records:
    """The parts; *batch* begins a round trip that they can share."""

    batch: Callable[[], Batch]
    inbox: Inbox
    receipts: Receipts
    requests: Requests
    pending: Pending

    @classmethod
    def on(cls, client: redis.Redis, settings: StoreSettings, clock: StoreClock) -> Self:
        """Make them all; sends nothing."""
        return cls(
            batch=partial(Batch, client),
            inbox=Inbox(client, settings, clock),
            receipts=Receipts(client, settings, clock),
            requests=Requests(client, settings),
            pending=Pending(client, settings),
        )
