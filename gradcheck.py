"""Check every hand-derived gradient of this project against derivatives that are measured.

    python gradcheck.py                         every layer with every option, loss and model, tiny shapes;
                                                the compiled training step against its operations one by one
    python gradcheck.py tiny_imagenet           that model at its real size: sampled coordinates, random directions
    python gradcheck.py tiny_imagenet --exhaustive --budget 10m      every coordinate, as far as ten minutes go
    python gradcheck.py --checkpoint runs/demo-20260101-120000       at trained weights, on real images
    python gradcheck.py --mutants               plant known mistakes, one at a time: each must be caught

docs/gradcheck.md explains what is measured and how far it can be trusted. Exit code: 0 all pass, as far as a budget
went; 1 a gradient is wrong or a mutant survived; 2 bad usage, nothing checked, an inconclusive result, or a report that
could not be written; 130 interrupted.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence

import vit_environment  # noqa: F401  # first of all: it looks for the packages that follow

import jax
import numpy as np

from checks.commands import exhaustive, full_size, mutants, precision, tiny
from checks.commands.invocation import Invocation
from checks.commands.options import command_line, named_file, named_folder, parse_budget, refusal, with_negative_budget
from checks.commands.output import write_reports
from checks.page import Report
from checks.points import load_point
from common.argument_types import seed_number
from common.command import run_command
from common.errors import UserError
from common.interrupt import leaving_at_once
from common.paths import require_writable
from training.arguments import preset_parser
from training.device import choose_device, describe_device
from training.hosts import together
from verify.errors import CheckError
from verify.results import PASS

BATCH = COORDINATES = 2  # the defaults of a full-size check


def main(argv: Sequence[str]) -> int:
    start = time.perf_counter()
    args = parse_arguments(argv)
    for option, path in (("--json", args.json), ("--html", args.html), ("--state", args.state)):
        if path is not None:  # now, rather than after hours
            require_writable(option, path)
    go_on = "give the same command again"
    joined = together(args.distributed, args.device, args.debug, option="--distributed ", again=go_on)
    with leaving_at_once("interrupted"), joined as hosts:
        device = choose_device(args.device)
        try:
            point = load_point(args)
            jax.config.update("jax_enable_x64", True)
            kind = "float32" if args.float32 else "float64"
            print(f"device  {describe_device(device)}; {kind}; seed {args.seed}\n", flush=True)
            report = Report(command_line(args), describe_device(device), args.seed, 0.0, PASS, "")
            report.versions = {
                "python": sys.version.split()[0],
                "jax": jax.__version__,
                "jaxlib": jax.lib.__version__,
                "numpy": np.__version__,
            }
            call = Invocation(args, point, report, start, hosts)
            code = command(args)(call)
        except CheckError as error:
            raise UserError(str(error)) from error
    report.seconds = call.seconds
    written = write_reports(args, report) if hosts.leads else 0
    return code or written


def command(args: argparse.Namespace) -> Callable[[Invocation], int]:
    """The check that the arguments ask for."""
    if args.mutants:
        return mutants.run
    if args.precision:
        return precision.run
    if args.exhaustive:
        return exhaustive.run
    return full_size.run if args.arguments or args.checkpoint else tiny.run


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = preset_parser(
        "gradcheck.py",
        "Check every hand-derived gradient against derivatives that are measured.",
        default="every layer at tiny shapes",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="RUN",
        type=named_folder,
        help="check at the weights and images of a training run, or RUN/last.npz",
    )
    parser.add_argument("--exhaustive", action="store_true", help="every coordinate of every parameter, at full size")
    parser.add_argument(
        "--budget",
        metavar="TIME",
        help="stop the exhaustive check this long after the command began, as in 10m or 2h30m",
    )
    parser.add_argument("--state", metavar="FILE", type=named_file, help="where the exhaustive check saves its state")
    parser.add_argument(
        "--devices", metavar="N", default="1", help="share the exhaustive check among so many devices, or all"
    )
    parser.add_argument(
        "--distributed", metavar="WHERE", help="and among processes: auto, or HOST:PORT,ID,COUNT (docs/scaling.md)"
    )
    parser.add_argument("--mutants", action="store_true", help="plant known mistakes and see each of them caught")
    parser.add_argument("--precision", action="store_true", help="only compare float32 and bfloat16 with float64")
    parser.add_argument(
        "--only", metavar="TEXT", default="", help="only the cases (mutants) whose name contains TEXT, or of class TEXT"
    )
    parser.add_argument("--verbose", action="store_true", help="a line for each tensor, not only for each case")
    parser.add_argument("--seed", type=seed_number, default=0, help="of every random number (default: %(default)s)")
    parser.add_argument("--batch", type=int, help=f"images in a full-size check (default: {BATCH})")
    parser.add_argument(
        "--coordinates", type=int, help=f"to sample of each tensor at full size (default: {COORDINATES})"
    )
    parser.add_argument("--float32", action="store_true", help="check at tiny shapes in float32, not float64")
    parser.add_argument("--json", metavar="FILE", type=named_file, help="write everything to FILE")
    parser.add_argument("--html", metavar="FILE", type=named_file, help="write a page with tables and curves to FILE")
    args = parser.parse_intermixed_args(with_negative_budget(argv))
    message = refusal(args)
    if message is not None:
        parser.error(message)
    args.batch, args.coordinates = args.batch or BATCH, args.coordinates or COORDINATES
    if args.budget is not None:
        parse_budget(args.budget)
    return args


if __name__ == "__main__":
    sys.exit(run_command(main))
