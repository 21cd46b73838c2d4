"""One training step of this engine against autodiff and other frameworks.

    python -m benchmarks.step [PRESET] [section.key=value ...]
                              [--config FILE] [--device cpu|gpu]
                              [--dtype float32|bfloat16] [--only NAME,...]
                              [--rounds N] [--scaling] [--json FILE]

All train the same model, and do the same work on the same batch from the same
parameters: forward, cross entropy, backward, AdamW, without augmentation. The
losses of the first steps must agree, which shows that the work is the same.
Each contestant has its own process, and they take turns (A B C A B C ...), so
that a machine whose speed drifts is fair to all. The other frameworks are
optional: `pip install -r requirements-bench.txt`.

median ... slowest   seconds per step
spread               (slowest - fastest) / median
ratio                the engine's median over this one's: below 1 the engine is
                     faster
floor                the median over the time of the matrix products that a step
                     cannot do without, at the speed of a large product measured
                     in the same rounds
compile              seconds to lower and compile the step at a first start; for
                     torch.compile, the first forward and backward pass
temp MiB             temporary memory of the compiled step, according to XLA
peak MiB             peak memory during the steps: of the process on a CPU, of
                     the device on a GPU
forward, images/s    seconds for the logits of the batch

With --scaling, the engine against the conventional step at other numbers of
tokens, images and layers.
"""

import argparse
import json
import statistics
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, replace

from benchmarks.contestants import CONTESTANTS, PRODUCTS
from benchmarks.contestants.from_config import draw_params, problem_from_config
from benchmarks.contestants.operations import step_operations
from benchmarks.contestants.problem import Problem
from benchmarks.contestants.report import describe, floor_lines, machine, table
from benchmarks.contestants.workers import Outcome, largest_difference, measure
from common.command import run_command
from common.errors import UserError
from common.files import replace_text
from common.paths import named_path, require_writable
from common.text import counted
from training.arguments import CommandParser, add_config_option
from training.config import load_config
from training.device import choose_device

WARMUP = 4  # untimed steps; their losses are compared: before an update, and after one, two and three
TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2}  # relative, of these losses
SPINNING = 0.02  # warn above this share of the measured time that a worker spends on the processor while it waits
FAILED = 1  # exit code: losses disagree, or a worker died


def main(argv: Sequence[str]) -> int:
    args = _parse(argv)
    if args.json:  # before the work, not after it
        require_writable("--json", args.json)
    if args.rounds < 1:
        raise UserError(f"--rounds {args.rounds}: must be at least 1")
    names = _chosen(args.only, ["engine", "conventional"] if args.scaling else list(CONTESTANTS))
    problem = problem_from_config(load_config(args.preset, args.overrides, args.config), args.device, args.dtype)
    choose_device("cpu")  # this process only draws parameters: a GPU is left to the contestants
    print(machine())
    if args.scaling:
        passed, report = _scaling(problem, names, args.rounds)
    else:
        passed, report = _contest(problem, names, args.rounds)
    if args.json:
        replace_text(args.json, json.dumps({"machine": machine(), **report}, indent=1) + "\n")
    return 0 if passed else FAILED


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    lines = [f"  {name:17} {entry.about}" for name, entry in CONTESTANTS.items()]
    about = "\n".join(textwrap.fill(line, 80, subsequent_indent=" " * 20) for line in lines)
    parser = CommandParser(
        prog="python -m benchmarks.step",
        description=__doc__,
        epilog=f"contestants:\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("preset", nargs="?", default="baseline")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    add_config_option(parser)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--dtype", choices=tuple(TOLERANCE), default="float32", help="of the computation")
    parser.add_argument("--only", metavar="NAME,...", help="these contestants; the matrix products always run")
    parser.add_argument(
        "--rounds", type=int, default=9, help="timed steps of each, on a GPU times 10 (default: %(default)s)"
    )
    parser.add_argument("--scaling", action="store_true", help="other numbers of tokens, images and layers")
    parser.add_argument("--json", metavar="FILE", type=named_path, help="write everything measured to a file")
    parser.add_argument("--debug", action="store_true")
    return parser.parse_args(argv)


def _chosen(only: str | None, usual: list[str]) -> list[str]:
    names = only.split(",") if only else usual
    for name in names:
        if name not in CONTESTANTS:
            raise UserError(f"--only {name}: there is no such contestant; there are {', '.join(CONTESTANTS)}")
    return [PRODUCTS, *(name for name in dict.fromkeys(names) if name != PRODUCTS)]


def _contest(problem: Problem, names: list[str], rounds: int) -> tuple[bool, dict]:
    """Print one comparison. Returns whether all that are installed passed, and the report for --json."""
    outcomes = measure(problem, draw_params(problem), names, rounds, WARMUP)
    versions = dict.fromkeys(outcome.version for outcome in outcomes if outcome.version)
    devices = dict.fromkeys(outcome.device for outcome in outcomes if outcome.device)
    print(f"{', '.join(versions)} on {', '.join(devices)}")
    print(describe(problem), f"{counted(rounds, 'round')} in turn", sep="; ")
    print(*floor_lines(problem, outcomes), "", *table(problem, outcomes), "", sep="\n")
    _print_losses(problem, outcomes)
    _print_spinning(outcomes)
    return _passed(problem, outcomes), _record(problem, outcomes)


def _record(problem: Problem, outcomes: Sequence[Outcome]) -> dict:
    return {"problem": problem.to_json(), "outcomes": [asdict(outcome) for outcome in outcomes]}


def _print_losses(problem: Problem, outcomes: Sequence[Outcome]) -> None:
    differences = largest_difference(outcomes)
    print("losses of the first steps, and how far they are from the first line's, relative")
    for outcome in outcomes:
        if outcome.note is None and outcome.losses:
            difference = differences.get(outcome.name, 0.0)
            verdict = "" if difference <= TOLERANCE[problem.dtype] else "   NOT THE SAME COMPUTATION"
            losses = "".join(f"{loss:11.6f}" for loss in outcome.losses)
            print(f"{outcome.name:17}{losses}{difference:10.1e}{verdict}")


def _passed(problem: Problem, outcomes: Sequence[Outcome]) -> bool:
    """Whether all losses agree and no worker died."""
    differences = largest_difference(outcomes).values()
    agree = all(difference <= TOLERANCE[problem.dtype] for difference in differences)
    return agree and not any(outcome.failed for outcome in outcomes)


def _print_spinning(outcomes: Sequence[Outcome]) -> None:
    measured = sum(sum(outcome.steps) + sum(outcome.forwards) for outcome in outcomes)
    for outcome in outcomes:
        if outcome.idle_cpu > 0.1 + SPINNING * measured:
            print(f"{outcome.name} kept a processor busy for {outcome.idle_cpu:.1f} s while others had their turn")


def cases(problem: Problem) -> list[tuple[str, Problem]]:
    """One change at a time: patches of 8, 4 and 2 pixels, 16 to 512 images, 2 to 16 layers."""
    sides = [side for side in (8, 4, 2) if not any(size % side for size in problem.image_size)]
    patches = [(f"patch {side}", replace(problem, patch_size=(side, side), batch=4)) for side in sides]
    batches = [(f"batch {size}", replace(problem, batch=size)) for size in (16, 32, 64, 128, 256, 512)]
    depths = [(f"layers {layers}", replace(problem, layers=layers, batch=16)) for layers in (2, 4, 8, 16)]
    return [(name, replace(case, accumulate=None)) for name, case in patches + batches + depths]


def _scaling(problem: Problem, names: list[str], rounds: int) -> tuple[bool, dict]:
    """Each case has its own processes. Prints milliseconds per image and the speed of the necessary operations."""
    passed, report = True, []
    contestants = [name for name in names if name != PRODUCTS]
    columns = "".join(f"{name:>18}" for name in contestants)
    print(f"milliseconds an image, and GFLOP/s of what must be done; median of {counted(rounds, 'round')}")
    print(f"{'':12}{'tokens':>8}{'batch':>8}{'GFLOP/image':>13}{columns}{'ratio':>8}")
    for name, case in cases(problem):
        outcomes = measure(case, draw_params(case), contestants, rounds, WARMUP)
        print(_scaling_line(name, case, outcomes), flush=True)
        if not _passed(case, outcomes):
            passed = False
            _print_losses(case, outcomes)
        report.append({"case": name, **_record(case, outcomes)})
    return passed, {"cases": report}


def _scaling_line(name: str, case: Problem, outcomes: Sequence[Outcome]) -> str:
    operations = step_operations(case) / case.batch
    medians = [statistics.median(outcome.steps) / case.batch if outcome.note is None else None for outcome in outcomes]
    cells = "".join(f"{m * 1e3:10.2f} {operations / m / 1e9:7.0f}" if m else f"{'-':>18}" for m in medians)
    ratio = f"{medians[0] / medians[-1]:8.2f}" if medians[0] and medians[-1] else f"{'-':>8}"
    notes = "".join(f"  {outcome.name}: {outcome.note}" for outcome in outcomes if outcome.note is not None)
    return f"{name:12}{case.tokens:8}{case.batch:8}{operations / 1e9:13.2f}{cells}{ratio}{notes}"


if __name__ == "__main__":
    sys.exit(run_command(main))
