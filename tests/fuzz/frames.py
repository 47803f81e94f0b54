"""Fuzzes what reads the bytes of strangers: websocket frames, the opening handshake, Socket.IO packets.

    python -m tests.fuzz.frames SECONDS [SEED]

With atheris installed (``pip install atheris``: libFuzzer, led by coverage of our code) it leads; else a seeded loop
edits the same seeds blindly.  The first line says which.  Ends after SECONDS with executions, distinct outcomes and
crashes, each crash with an input that ``tests.fuzz.wire_inputs.run`` can be given; exits 1 when there is one.
Refuses to stop at the first crash: it counts each kind once and goes on.
"""

import contextlib
import importlib
import os
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

_MAX_LENGTH = 4096


class Tally:
    """Runs inputs and counts what becomes of them."""

    def __init__(self, run: Callable[[bytes], str], seconds: float) -> None:
        self._run = run
        self._begin = time.monotonic()
        self._end = self._begin + seconds
        self.executions = 0
        self.outcomes: Counter[str] = Counter()
        self.crashes: dict[str, tuple[bytes, str]] = {}

    def take(self, data: bytes) -> bool:
        """Run one input; gives whether there is time for more."""
        self.executions += 1
        try:
            self.outcomes[self._run(data)] += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what we look for
            place = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
            self.outcomes[f"CRASH {kind}"] += 1
            self.crashes.setdefault(kind, (data, "".join(traceback.format_exception(error))))
        return time.monotonic() < self._end

    def report(self) -> int:
        """Print all; gives the exit status."""
        for outcome, times in self.outcomes.most_common():
            print(f"{times:>12,}  {outcome}")
        for kind, (data, trace) in self.crashes.items():
            print(f"\ncrash: {kind}\ninput: bytes.fromhex({data.hex()!r})\n{trace}")
        seconds = time.monotonic() - self._begin
        print(
            f"executions: {self.executions:,} in {seconds:.0f} s; distinct outcomes: {len(self.outcomes)}; "
            f"crashes: {len(self.crashes)}",
            flush=True,
        )
        return 1 if self.crashes else 0


def edited(data: bytes, dice: random.Random, others: list[bytes]) -> bytes:
    """Give *data* after one to four edits."""
    for _ in range(dice.randint(1, 4)):
        at = dice.randint(0, len(data))
        to = min(len(data), at + dice.choice((0, 1, 1, 2, 8, 64)))
        instead = dice.choice((b"", dice.randbytes(1), dice.randbytes(4), data[at:to] * 2, dice.choice(others)[at:]))
        data = data[:at] + instead + data[to:]
    return data[:_MAX_LENGTH]


def blindly(seconds: float, seed: int) -> int:
    """Edit seeds, and what came of them when the outcome was new."""
    from tests.fuzz import wire_inputs

    print(f"fuzzing with a seeded loop (seed {seed}) for {seconds:.0f} s: atheris is not installed", flush=True)
    tally, dice, pool = Tally(wire_inputs.run, seconds), random.Random(seed), list(wire_inputs.SEEDS)
    goes_on = [tally.take(each) for each in pool][-1]
    while goes_on:
        known = len(tally.outcomes)
        data = edited(dice.choice(pool), dice, pool)
        goes_on = tally.take(data)
        if len(tally.outcomes) > known:
            pool.append(data)
    return tally.report()


def led(atheris: Any, seconds: float, seed: int) -> None:
    """Let libFuzzer choose the inputs; it never gives control back, so the process ends here."""
    with atheris.instrument_imports(include=["cloud_node.wire", "socketio.packet"]):
        from tests.fuzz import wire_inputs
    print(f"fuzzing with atheris (seed {seed}) for {seconds:.0f} s", flush=True)
    tally = Tally(wire_inputs.run, seconds)
    with tempfile.TemporaryDirectory() as corpus:
        for number, each in enumerate(wire_inputs.SEEDS):
            Path(corpus, str(number)).write_bytes(each)

        def take(data: bytes) -> None:
            if not tally.take(data):
                status = tally.report()
                for each in Path(corpus).iterdir():
                    each.unlink()
                Path(corpus).rmdir()
                os._exit(status)

        atheris.Setup([sys.argv[0], corpus, f"-seed={seed}", f"-max_len={_MAX_LENGTH}", "-verbosity=0"], take)
        atheris.Fuzz()


def main(arguments: list[str]) -> int:
    """Fuzz for the seconds given."""
    seconds, seed = float(arguments[0]), int(arguments[1]) if len(arguments) > 1 else 1
    atheris = None
    with contextlib.suppress(ModuleNotFoundError):
        atheris = importlib.import_module("atheris")
    if atheris is not None:
        led(atheris, seconds, seed)
    return blindly(seconds, seed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
