"""Offers messages to a node through gRPC, as a worker would: over one PushStream, with a bounded window of batches.

    python -m bench.grpc_offer PORT fanout COUNT INTERVAL_NS      one key that all sessions hold, at a fixed rate
    python -m bench.grpc_offer PORT single COUNT SESSIONS BATCH   one key a message, each session in turn, at full speed

Messages say when they were due: what waits here, because the window is full, counts as late.  Prints one JSON object.
"""

import json
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import grpc

from bench.peers.bodies import ALL, body, size_within
from proto import cloud_pb2
from proto.message import RAW_OP

_WINDOW = 32  # batches without an answer yet
_MOST = 500  # messages of one batch
_HEAD_START_NS = 50_000_000
_DEADLINE_S = 60.0


class Offer:
    """One PushStream."""

    def __init__(self, port: int) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        grpc.channel_ready_future(self._channel).result(_DEADLINE_S)
        self._free = threading.BoundedSemaphore(_WINDOW)
        self.latest_ns = 0

    def run(self, batches: Iterable[bytes]) -> dict[str, Any]:
        """Send all *batches*, count what became of their messages."""
        call = self._channel.stream_stream("/im.cloud.Cloud/PushStream")
        answers = []
        began_ns = time.monotonic_ns()
        for answer in call(self._within_window(batches), timeout=_DEADLINE_S):
            answers.append(answer)
            self._free.release()
        ended_ns = time.monotonic_ns()
        outcomes = [
            outcome
            for answer in answers
            for reply in cloud_pb2.PushBatchReply.FromString(answer).replies
            for outcome in reply.outcomes
        ]
        return {
            "sent": len(outcomes),
            "delivered": outcomes.count(cloud_pb2.OUTCOME_DELIVERED),
            "began_ns": began_ns,
            "ended_ns": ended_ns,
            "latest_ms": self.latest_ns / 1e6,
            "cpu_s": time.process_time(),
        }

    def due(self, count: int, interval_ns: int) -> Iterator[bytes]:
        """Give batches of the messages that are due by then, to all sessions."""
        size = size_within(ALL)
        number, began_ns = 0, time.monotonic_ns() + _HEAD_START_NS
        while number < count:
            next_ns = began_ns + number * interval_ns
            if (early_ns := next_ns - time.monotonic_ns()) > 0:
                time.sleep(early_ns / 1e9)
            now_ns = time.monotonic_ns()
            self.latest_ns = max(self.latest_ns, now_ns - next_ns)
            end = min(count, number + _MOST, (now_ns - began_ns) // interval_ns + 1)
            yield batch([push(ALL, body(i, size, began_ns + i * interval_ns)) for i in range(number, end)], number)
            number = end

    def _within_window(self, batches: Iterable[bytes]) -> Iterator[bytes]:
        for it in batches:
            if not self._free.acquire(timeout=_DEADLINE_S):
                raise TimeoutError("the node answers no more")
            yield it


def push(key: str, content: bytes) -> cloud_pb2.PushMsgReq:
    """Give one message."""
    return cloud_pb2.PushMsgReq(keys=[key], proto=cloud_pb2.Proto(ver=1, op=RAW_OP, body=content))


def batch(pushes: list[cloud_pb2.PushMsgReq], number: int) -> bytes:
    """Give one message of the stream."""
    return cloud_pb2.PushBatch(seq=number, pushes=pushes).SerializeToString()


def single(count: int, sessions: int, size: int) -> list[bytes]:
    """Give *count* messages in batches of *size*, made before the clock starts."""
    keys = [f"s{i}" for i in range(sessions)]
    pushes = [push(key := keys[i % sessions], body(i // sessions, size_within(key))) for i in range(count)]
    return [batch(pushes[first : first + size], first) for first in range(0, count, size)]


def main() -> None:
    """Do what the arguments say."""
    form, *numbers = sys.argv[2:]
    offer = Offer(int(sys.argv[1]))
    batches = offer.due(*map(int, numbers)) if form == "fanout" else single(*map(int, numbers))
    print(json.dumps(offer.run(batches)))


main()
