"""Train a Vision Transformer with hand-derived gradients.

    python train.py                             the recommended preset, on Tiny ImageNet
    python train.py demo                        on generated shapes: nothing to download, a few minutes on a laptop
    python train.py baseline optim.learning_rate=5e-4 model.layers=4
    python train.py --resume runs/demo-20260101-120000
    python train.py demo --sweep optim.learning_rate=5e-4,1e-3 train.seed=0,1       every combination, and a table
    python train.py demo --vary augment.flip=false optim.name=muon --sweep train.seed=0,1   one change at a time

A preset is a section of configs.yml; any option in it can be overridden with section.key=value.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import vit_environment  # noqa: F401  # first of all: it looks for the packages that follow

import jax

from common.command import run_command
from common.errors import UserError
from common.interrupt import StopRequest
from common.text import counted
from data.dataset import Dataset
from training.arguments import preset_parser
from training.config import Config, load_config
from training.device import choose_device, describe_device, keep_compiled_programs
from training.huge_pages import restart_with_huge_pages
from training.run_folder import Classes, RunFolder
from training.setup import check_fit, describe_validation, load_dataset, steps_per_epoch
from training.summary import format_summary, summarize
from training.sweep import Sweep, is_sweep
from training.sweep_runner import train_sweep
from training.time_budget import fix_steps
from training.trainer import Stopped, Trainer

DEFAULT_PRESET = "tiny_imagenet"
# Options that may change when a run is resumed: where files are, how long it trains. Others would make it another run.
RESUMABLE = (
    "data.root", "data.cache", "data.workers",
    "train.epochs", "train.steps", "train.checkpoint_every", "train.eval_batch_size", "data.placement",
    "train.steps_per_dispatch",
)  # fmt: skip


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    if args.sweep or args.vary or (args.resume and is_sweep(args.resume)):
        return sweep(args)
    run = RunFolder.open(args.resume) if args.resume else None
    config = run.read_config(args.arguments, RESUMABLE) if run else load_config(*preset_and_overrides(args.arguments))
    device = choose_device(args.device)
    keep_compiled_programs()
    if args.summary:
        print(format_summary(summarize(config.model)))
        return 0

    dataset = load_dataset(config.data, draw=run is None)
    check_data(config, dataset, run)
    run = run or RunFolder.create(config.preset, args.run)
    quoted = shlex.quote(str(run.path))
    with run.lock(), StopRequest() as stop:
        write_description(run, config, dataset)
        if config.train.minutes is not None:
            try:
                config = fix_steps(run, config, dataset, device, stop)
            except Stopped:
                return stopped(stop, 0, quoted)
        trainer = Trainer(run, config, dataset, device)
        describe(trainer)
        trainer.start()
        if trainer.progress.step >= trainer.plan.total_steps and not trainer.epoch_is_over():
            print(f"{run.path}: already trained for {counted(trainer.progress.step, 'step')}; more with train.epochs=N")
            return 0
        try:
            trainer.fit(stop)
        except Stopped:
            return stopped(stop, trainer.progress.step, quoted)
    averaged = "" if config.optim.ema is None else " of the moving average"
    print(f"done: best top-1{averaged} {trainer.progress.best_top1:.2%}; evaluate with: python evaluate.py {quoted}")
    return 0


def stopped(stop: StopRequest, step: int, run: str) -> int:
    """Say how to go on; the exit code."""
    assert stop.signal is not None
    print(f"stopped after step {step}; go on with: python train.py --resume {run}")
    return 128 + stop.signal


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = preset_parser("train.py", "Train a Vision Transformer with hand-derived gradients.", DEFAULT_PRESET)
    parser.add_argument("--run", metavar="DIR", type=Path, help="the new folder (default: runs/<preset>-<date-time>)")
    parser.add_argument("--resume", metavar="DIR", type=Path, help="continue an interrupted run, or a sweep")
    parser.add_argument(
        "--sweep",
        metavar="section.key=V1,V2",
        nargs="+",
        action="extend",
        help="train every combination of these values, each as a run in the folder, and compare the runs",
    )
    parser.add_argument(
        "--vary",
        metavar="CHANGE",
        nargs="+",
        action="extend",
        help="train the preset unchanged and with each of these changes alone, and compare the runs; a change is "
        "section.key=value, or several in quotes, separated by spaces; with --sweep train.seed=0,1 for each seed",
    )
    parser.add_argument("--summary", action="store_true", help="print layers, shapes, parameters and FLOPs, and exit")
    args = parser.parse_intermixed_args(argv)
    if args.resume and args.run:
        parser.error("--resume DIR names the folder of the run already: leave --run out")
    for option in ("sweep", "vary"):
        if args.resume and getattr(args, option):
            parser.error(f"--resume DIR knows what is swept: leave --{option} out")
    return args


def sweep(args: argparse.Namespace) -> int:
    """Begin or continue a sweep. Each of its runs is a separate call of this program."""
    if args.summary:
        raise UserError("--summary is of one model: leave --sweep and --vary out, or name one run with --resume")
    if args.resume and args.arguments:
        raise UserError(f"{args.arguments[0]}: {args.resume} keeps the options that its sweep began with")
    if args.resume:
        opened = Sweep.open(args.resume)
    else:
        described = preset_and_overrides(args.arguments)
        opened = Sweep.create(*described, args.sweep or [], args.run, args.vary or [])
    return train_sweep(opened, ["--device", args.device, *(["--debug"] if args.debug else [])])


def preset_and_overrides(arguments: list[str]) -> tuple[str, list[str]]:
    """The preset, which is the argument without `=`, and the overrides."""
    presets = [argument for argument in arguments if "=" not in argument]
    if len(presets) > 1:
        raise UserError(f"{presets[1]}: a second preset after {presets[0]}; an option is written section.key=value")
    return presets[0] if presets else DEFAULT_PRESET, [argument for argument in arguments if "=" in argument]


def check_data(config: Config, dataset: Dataset, resumed: RunFolder | None) -> None:
    """Raises UserError if the data are not those of the resumed run, or if the configuration does not fit them."""
    if resumed and resumed.classes_file.exists() and resumed.read_classes() != describe_classes(dataset):
        raise UserError(f"{config.data.folder}: not the data of {resumed.path}; say where they are with data.root=DIR")
    check_fit(config.model, dataset)
    steps_per_epoch(config.train, dataset)  # refuses a batch that is larger than the data set


def describe_classes(dataset: Dataset) -> Classes:
    return Classes(dataset.class_ids, dataset.class_names, dataset.mean, dataset.std, dataset.fingerprint)


def write_description(run: RunFolder, config: Config, dataset: Dataset) -> None:
    run.write_classes(describe_classes(dataset))
    run.write_config(config)


def describe(trainer: Trainer) -> None:
    """Print what will be trained, before the first step."""
    config, dataset = trainer.config, trainer.dataset
    rows = summarize(config.model, depth=1)
    print(f"device  {describe_device(trainer.device)} (JAX {jax.__version__})")
    classes = counted(len(dataset.class_ids), "class", "classes")
    images = f"{counted(len(dataset.train.labels), 'training image')} of {classes}"
    print(f"data    {config.data.folder}: {images}, evaluated on {describe_validation(config.data, dataset)}")
    print(f"model   {rows[0].parameters:,} parameters; forward pass of one image: {rows[0].flops / 1e9:.2f} GFLOPs\n")
    print(format_summary(rows[1:]))
    plan = trainer.plan
    batch = counted(trainer.batch_size, "image")
    steps = f"{counted(plan.total_steps, 'step')} of {batch}, {plan.steps_per_epoch:,} an epoch"
    print(f"\nrun     {trainer.run.path}: {steps}", flush=True)


if __name__ == "__main__":
    restart_with_huge_pages()
    sys.exit(run_command(main))
