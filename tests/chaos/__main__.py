"""Play rounds until their number or the time is over: `make chaos ROUNDS=200 SEED=7`."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.chaos.rounds import Round
from tests.postgres import Postgres

_SERVER_EVERY = 5  # rounds are on PostgreSQL


def main() -> int:
    """Play, print what was hit, and return the number of rounds in which something did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--first", type=int, default=0, help="number of the first round")
    parser.add_argument("--limit-s", type=float, default=3600.0)
    args = parser.parse_args()
    print(f"seed {args.seed}: make chaos SEED={args.seed} plays the same faults", flush=True)
    end_s = time.monotonic() + args.limit_s
    hits, n_rounds, failures = Counter[str](), 0, 0
    server = Postgres()
    try:
        for number in range(args.first, args.first + args.rounds):
            if time.monotonic() > end_s:
                break
            played = Round(args.seed, number, with_server=number % _SERVER_EVERY == 0)
            failures += not _holds(played, server)
            hits.update(f"{fault.act} {fault.target}" for fault in played.struck)
            n_rounds += 1
    finally:
        server.close()
    print(f"{n_rounds} rounds, {sum(hits.values())} hits, {failures} failures")
    for name, count in sorted(hits.items()):
        print(f"  {count:4} {name}")
    return failures


def _holds(played: Round, server: Postgres) -> bool:
    with tempfile.TemporaryDirectory(prefix="energyopt-chaos-") as folder:
        url = server.database() if played.with_server else None
        try:
            played.play(Path(folder), server, url)
        except Exception as error:  # the other rounds are played all the same
            print(f"FAILED {played}\n{error}", flush=True)
            return False
    print(f"ok {played}", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
