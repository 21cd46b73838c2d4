"""Is the engine as it is ever called wrong? The check at tiny shapes, over many seeds.

    python -m benchmarks.gradcheck_seeds --seeds 100

Each seed draws other parameters, inputs, cotangents and masks. Prints a line a seed and the worst errors of all; exit
code 1 if anything was wrong. The programs are compiled once for all seeds.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import jax

from checks.cases import all_cases
from checks.definitions import definition_results
from checks.report import worst_errors
from common.command import run_command
from common.text import counted
from training.device import choose_device
from verify.check import check_case
from verify.results import CaseResult


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gradcheck_seeds", description="The gradient check over many seeds."
    )
    parser.add_argument("--seeds", type=int, default=100, help="seeds 0 .. N-1 (default: %(default)s)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(argv)
    if args.seeds < 1:
        parser.error(f"--seeds {args.seeds}: at least 1")
    choose_device("auto")
    jax.config.update("jax_enable_x64", True)
    everything: list[CaseResult] = []
    verdicts: Counter[str] = Counter()
    start = time.perf_counter()
    for seed in range(args.seeds):
        results = check(seed)
        tensors = [tensor for result in results for tensor in result.tensors]
        verdicts.update(tensor.verdict for tensor in tensors)
        kinks, odd = sum(t.kinks for t in tensors), [t for t in tensors if t.verdict != "pass"]
        checked = f"{counted(len(tensors), 'tensor')}, {counted(kinks, 'corner')}"
        print(f"seed {seed}: {checked}, {time.perf_counter() - start:.0f} s", flush=True)
        for tensor in odd:
            print(f"  {tensor.verdict}: {tensor.case}: {tensor.name}: {tensor.methods}")
        everything += results
    counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
    coordinates = sum(tensor.checked for result in everything for tensor in result.tensors)
    print(f"{counted(args.seeds, 'seed')}, {counted(coordinates, 'coordinate')}, tensors: {counts}")
    print(worst_errors(everything))
    return 1 if verdicts["wrong"] else 0


def check(seed: int) -> list[CaseResult]:
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda case: check_case(case, seed), all_cases(seed)))
    return found + definition_results(seed)


if __name__ == "__main__":
    sys.exit(run_command(main))
