"""A campaign of faults: damaged inputs, a bad server, runs that are killed.

    python -m benchmarks.faults [--minutes N] [--seed S] [--kind KIND ...]
                                [--out DIR]

Each round tries 100 inputs of every kind, and kills a run or a sweep at random
moments. A fault is a traceback, a lost byte, or a change that is not noticed.
It is printed with the command that repeats its round, and the exit code is 1.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.faults.data_inputs import DATA_KINDS
from benchmarks.faults.inputs import KINDS, Attempt
from benchmarks.faults.kills import Kills
from benchmarks.faults.server import downloads
from common.command import run_command
from common.errors import UserError
from common.paths import named_path

INPUTS = {**KINDS, **DATA_KINDS, "server": downloads}
PROCESSES = ("runs", "sweeps")
PER_ROUND = 100  # inputs of a kind
FAILED = 1  # exit code: there was a fault
REFUSED, ACCEPTED, FAULTS = "refused", "accepted", "faults"


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults",
        description=__doc__,
        epilog="\n".join(["kinds:", *(f"  {kind}" for kind in (*INPUTS, *PROCESSES))]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", metavar="N", type=float, default=5.0, help="(default: %(default)s)")
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="of the first round (default: %(default)s)")
    parser.add_argument(
        "--kind", metavar="KIND", choices=(*INPUTS, *PROCESSES), action="append", help="only these; may be repeated"
    )
    parser.add_argument("--out", metavar="DIR", type=named_path, help="for the files (default: a temporary folder)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(argv)
    if not args.minutes > 0:
        raise UserError(f"--minutes {args.minutes:g}: must be above 0")
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.out or Path(temporary)
        counts, kills = campaign(folder, args.kind or [*INPUTS, *PROCESSES], 60 * args.minutes, args.seed)
    print(*table(counts, kills), sep="\n")
    return FAILED if any(count[FAULTS] for count in counts.values()) else 0


def campaign(folder: Path, kinds: Sequence[str], seconds: float, seed: int) -> tuple[dict[str, Counter[str]], int]:
    """Rounds until the time is over, one at least. Returns the outcomes by kind, and how many processes were killed."""
    attempts: dict[str, Attempt] = {}
    for kind in kinds:
        if kind in INPUTS:
            (folder / kind).mkdir(parents=True, exist_ok=True)
            attempts[kind] = INPUTS[kind](folder / kind)
    killer = None
    if set(kinds) & set(PROCESSES):
        (folder / "kills").mkdir(parents=True, exist_ok=True)
        killer = Kills(folder / "kills")
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    began = time.monotonic()
    while True:
        for kind in kinds:
            rng = random.Random(f"{kind} {seed}")
            if kind in attempts:
                for _ in range(PER_ROUND):
                    counts[kind][outcome(attempts[kind], rng, kind, seed)] += 1
            else:
                assert killer is not None
                counts[kind][outcome(killer.run if kind == "runs" else killer.sweep, rng, kind, seed)] += 1
            if time.monotonic() - began > seconds:
                return counts, killer.count if killer else 0
        seed += 1


def outcome(attempt: Callable[[random.Random], None], rng: random.Random, kind: str, seed: int) -> str:
    """What becomes of one attempt. A fault is printed."""
    try:
        attempt(rng)
    except UserError:
        return REFUSED
    except Exception as fault:
        print(f"{kind}, python -m benchmarks.faults --kind {kind!r} --seed {seed}: {type(fault).__name__}: {fault}")
        return FAULTS
    return ACCEPTED


def table(counts: dict[str, Counter[str]], kills: int) -> list[str]:
    columns = (REFUSED, ACCEPTED, FAULTS)
    lines = [f"{'':22}{'tried':>8}" + "".join(f"{column:>10}" for column in columns)]
    for kind, count in counts.items():
        lines.append(f"{kind:22}{count.total():8,}" + "".join(f"{count[column]:10,}" for column in columns))
    total = sum(counts.values(), Counter())
    lines.append(f"{'all':22}{total.total():8,}" + "".join(f"{total[column]:10,}" for column in columns))
    return [*lines, f"{kills:,} processes were killed"]


if __name__ == "__main__":
    sys.exit(run_command(main))
