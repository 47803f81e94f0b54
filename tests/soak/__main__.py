"""Random faults under load, and the account of what became of each accepted push.

    python -m tests.soak --seconds 600 --seed 7 [--faults kill,freeze] [--target stock] [--fsync everysec]

Prints the seed first: the same seed gives the same schedule of faults.  Writes bench/results/soak.json (a stock target:
soak-stock.json).  Ends with 1 when anything that was accepted is lost, doubled or out of order.
"""

import argparse
import random
import sys
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path

from tests.soak.account import Account
from tests.soak.callers import Callers
from tests.soak.crowd import PLAIN, SDK, Crowd, Manners
from tests.soak.load import PER_SECOND, make_cast
from tests.soak.ours import our_stand
from tests.soak.report import show
from tests.soak.rig import Rig
from tests.soak.schedule import KINDS, every_fault, schedule
from tests.soak.stand import Stand
from tests.soak.stock import stock_stand

_OURS_SETTLES_S, _STOCK_SETTLES_S = 60.0, 10.0


def main() -> int:
    """Run, print, and give the exit code."""
    asked = _arguments()
    print(f"seed {asked.seed}: make soak SECONDS={asked.seconds:g} SEED={asked.seed}", flush=True)
    home = Path(asked.home or tempfile.mkdtemp(prefix="soak-"))
    print(f"logs in {home}", flush=True)
    is_ours = asked.target == "cloudpush"
    opened: AbstractContextManager[Stand] = our_stand(home, fsync=asked.fsync) if is_ours else stock_stand(home)
    cast = make_cast(all_plain=not is_ours)
    account = Account(cast.tabs)
    manners = Manners(client=SDK if is_ours else PLAIN, dedupes=is_ours)
    with (
        opened as stand,
        Crowd(home, cast, account, rest=stand.rest, nodes=stand.node_urls, seed=asked.seed, manners=manners)
        as crowd,
    ):  # fmt: skip
        crowd.until_open()
        callers = Callers(stand.door, cast.keys, account, per_second=PER_SECOND, seed=asked.seed)
        settle_s = _OURS_SETTLES_S if is_ours else _STOCK_SETTLES_S
        rig = Rig(stand, crowd, callers, account, settle_s, say=lambda line: print(line, flush=True))
        faults = [(kind, target) for kind, target in every_fault(asked.faults) if _exists(stand, kind, target)]
        ran = rig.run(asked.seconds, schedule(asked.seed, asked.seconds, faults))
        show(ran, stand, crowd, account, name="soak" if is_ours else "soak-stock", seed=asked.seed)
    return 0 if ran.kept else 1


def _exists(stand: Stand, kind: str, target: str) -> bool:
    """Whether the stand has what this fault needs."""
    if kind.startswith("grpc") or kind == "cut-workers":
        return target in stand.proxies
    if kind == "cut-redis":
        return target in stand.store_gates
    if kind.startswith("clock"):
        return target in stand.clocks
    if kind == "lose-acks":
        return bool(stand.proxies)
    return target in stand.parts or target == "clients"


def _arguments() -> argparse.Namespace:
    given = argparse.ArgumentParser(prog="python -m tests.soak", description="Random faults under load.")
    given.add_argument("--seconds", type=float, default=600)
    given.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    given.add_argument("--faults", type=lambda text: text.split(","), default=list(KINDS), help=", ".join(KINDS))
    given.add_argument("--target", choices=["cloudpush", "stock"], default="cloudpush")
    given.add_argument("--fsync", choices=["always", "everysec"], default="always", help="Redis' appendfsync")
    given.add_argument("--home", help="directory for logs and data")
    return given.parse_args()


if __name__ == "__main__":
    sys.exit(main())
