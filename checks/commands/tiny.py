"""`python gradcheck.py`: every layer, the loss, the model and the optimizers, at tiny shapes; and the compiled training
step of the recommended preset, at its real size."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from checks.cases import all_cases
from checks.commands.invocation import Invocation
from checks.compiled import BLOCKS, compiled_results, pieces
from checks.definitions import definition_results
from training.config import load_config
from training.presets import DEFAULT_PRESET
from verify.measure import Plan
from verify.results import CaseResult


def run(call: Invocation) -> int:
    return call.conclude(call.print_each(_results(call)))


def _results(call: Invocation) -> Iterator[CaseResult]:
    args = call.args
    cases = call.selected(all_cases(args.seed))
    if args.float32:
        cases = [replace(case, tensors={n: a.astype(np.float32) for n, a in case.tensors.items()}) for case in cases]
    yield from call.check_in_parallel(cases, Plan(any_float=args.float32, curves=46 if args.html else 0))
    yield from call.selected(definition_results(args.seed))
    chosen = call.selected(pieces(load_config(DEFAULT_PRESET), args.seed, blocks=BLOCKS))
    yield from compiled_results(chosen, args.seed, regions=False)
