"""How long does the first training step take from the start of the process, with and without compiled programs?

    python -m benchmarks.startup [PRESET] [section.key=value ...] [--starts N] [--device cpu|gpu]

Each start is a new process that builds the step as `train.py` does and takes one step on random images, without loading
a data set. The first start finds the cache of compiled programs empty, the others find what the first has put there.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from common.command import run_command
from common.errors import UserError
from training.arguments import CommandParser, add_config_option
from training.config import load_config

BEGAN = "BENCHMARK_BEGAN"  # environment variable: when the parent started the process, in seconds of the system clock
CACHE = "XDG_CACHE_HOME"


def main(argv: Sequence[str]) -> int:
    parser = CommandParser(prog="python -m benchmarks.startup", description=__doc__.splitlines()[0])
    parser.add_argument("preset", nargs="?", default="baseline")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    add_config_option(parser)
    parser.add_argument("--starts", type=int, default=4, help="processes (default: %(default)s)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "gpu"))
    parser.add_argument("--debug", action="store_true")
    args = parser.parse_args(argv)
    load_config(args.preset, args.overrides, args.config)  # a wrong option is refused here, not in every process
    if BEGAN in os.environ:
        step_once(args)
        return 0
    if args.starts < 2:
        raise UserError(f"--starts {args.starts}: a first and a second are needed")
    with tempfile.TemporaryDirectory() as folder:
        for start in range(args.starts):
            environment = os.environ | {BEGAN: repr(time.time()), CACHE: folder}
            environment.pop("JAX_COMPILATION_CACHE_DIR", None)
            command = [sys.executable, "-m", "benchmarks.startup", *argv]
            ended = subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE)
            if ended.returncode != 0:  # it has said why
                return ended.returncode
            kept = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
            print(f"start {start + 1}: {ended.stdout.strip()}; {kept / 2**20:.1f} MiB of compiled programs", flush=True)
    return 0


def step_once(args: argparse.Namespace) -> None:
    """In a new process: import, build, take a step, and print how long that took since the process began."""
    began = float(os.environ[BEGAN])
    import jax

    from checks.compiled import random_batch, step_of
    from training.device import choose_device, keep_compiled_programs

    device = choose_device(args.device)
    keep_compiled_programs()
    imported = time.time() - began
    config = load_config(args.preset, args.overrides, args.config)
    step = step_of(config, device.platform)
    state = jax.jit(step.init)()
    jax.block_until_ready(jax.jit(step, donate_argnums=0)(state, *random_batch(config)))
    print(f"{time.time() - began:.2f} s to the first step, {imported:.2f} s of it to import")


if __name__ == "__main__":
    sys.exit(run_command(main))
