"""The day a GPU is there: check, time and train everything on it, unattended.

    python -m benchmarks.gpu --out DIR [--stage check|speed|train|all]
                             [--minutes N] [--archives DIR] [--rehearse]

Each part is a process of its own with its own time limit. After each part
DIR/results.json and DIR/results.md are written anew, so that a part that fails,
or a machine that goes away, leaves the results of the others. DIR/<part>/ has
the output of each. --rehearse runs the same parts at tiny sizes on the CPU.
docs/gpu.md says what was measured, and what was expected.
"""

import argparse
import signal
import sys
from collections.abc import Sequence

from benchmarks.gpu.part import OK
from benchmarks.gpu.parts import STAGES, parts
from benchmarks.gpu.runner import Session
from common.command import run_command
from common.errors import UserError
from common.paths import named_path

FAILED = 1  # exit code: a part has no result


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", metavar="DIR", type=named_path, required=True, help="for the results; made if need be")
    parser.add_argument("--stage", choices=(*STAGES, "all"), default="all", help="(default: %(default)s)")
    parser.add_argument(
        "--minutes", metavar="N", type=float, help="for everything together (default: the parts' limits)"
    )
    parser.add_argument(
        "--archives", metavar="DIR", type=named_path, help="where tiny-imagenet-200.zip is, to train on"
    )
    parser.add_argument(
        "--only", metavar="TEXT", action="append", help="only the parts whose name contains TEXT; may be repeated"
    )
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes on the CPU, on generated images")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(argv)
    if args.minutes is not None and not args.minutes > 0:
        raise UserError(f"--minutes {args.minutes:g}: must be above 0")
    if args.archives is not None and not args.archives.is_dir():
        raise UserError(f"--archives {args.archives}: there is no such folder")
    stages = STAGES if args.stage == "all" else (args.stage,)
    chosen = [part for part in parts(args.rehearse) if part.stage in stages]
    for text in args.only or ():
        if not any(text in part.name for part in chosen):
            raise UserError(f"--only {text}: no part of this stage has this in its name")
    if args.only:
        chosen = [part for part in chosen if any(text in part.name for text in args.only)]
    # Ended by the system or a time limit outside, the script must not leave a part behind: an exception stops it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    session = Session(args.out, args.rehearse, args.archives, None if args.minutes is None else 60 * args.minutes)
    results = session.run(chosen)
    print(f"results: {session.page} and {session.json}")
    return 0 if all(result.status == OK for result in results) else FAILED


if __name__ == "__main__":
    sys.exit(run_command(main))
