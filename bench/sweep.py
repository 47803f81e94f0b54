"""Offers more and more deliveries a second to a peer, until it falls behind.

Each level lasts two seconds; messages come over a connection, whether the peer keeps up or not, and say when they were
due.  A peer is behind when it delivers less than 95 % of what is offered a second, or p99 is over 1 s.
"""

import json
import subprocess
from dataclasses import dataclass
from typing import Any

from bench.crowd import Crowd, Heard
from bench.stand import Peer

LEVELS = (10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 1_500_000)  # deliveries a second
OFFER_S = 2.0
_SOON_S = 0.5
_UNDER_WAY_S = 0.1  # of a server that keeps up, when the last message is due
_DRAIN_S = 5.0
_STUCK_S = 15.0
_BEHIND_SHARE = 0.95
_BEHIND_P99_MS = 1000.0


@dataclass(frozen=True, slots=True)
class Level:
    """One level and what became of it."""

    offered: int  # deliveries a second
    delivered: float  # likewise
    heard: Heard
    flaw: str  # "" when every message arrived, once and in order
    cpu_s: float  # of the server, per 100,000 deliveries
    behind: bool


def levels(peer: Peer, crowd: Crowd, sessions: int, first: int) -> list[Level]:
    """Raise the load from *first* until the peer falls behind, or the levels end."""
    found = []
    for rate in LEVELS:
        if rate >= first:
            found.append(_level(peer, crowd, sessions, rate))
            if found[-1].behind:
                break
    return found


def _level(peer: Peer, crowd: Crowd, sessions: int, rate: int) -> Level:
    count = int(rate * OFFER_S / sessions)
    crowd.reset()
    cpu_s = peer.cpu_s
    in_time = _offer(peer.offer(count, int(1e9 * sessions / rate)))
    heard = crowd.wait(count * sessions, _SOON_S)
    cpu_s = peer.cpu_s - cpu_s
    delivered = heard.received / max(OFFER_S, heard.seconds - _UNDER_WAY_S)
    behind = not in_time or delivered < _BEHIND_SHARE * rate or heard.p99_ms > _BEHIND_P99_MS
    if not heard.in_time and not behind:
        heard = crowd.wait(count * sessions, _DRAIN_S)
    return Level(
        offered=rate,
        delivered=delivered,
        heard=heard,
        flaw=heard.flaw(count * sessions),
        cpu_s=cpu_s * 1e5 / max(1, heard.received),
        behind=behind,
    )


def _offer(command: list[str]) -> bool:
    """Run the program that offers; gives whether it could say all that it had to."""
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            told, _ = process.communicate(timeout=OFFER_S + _STUCK_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return False
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    answer: dict[str, Any] = json.loads(told)
    return bool(answer["sent"] == answer.get("delivered", answer["sent"]))
