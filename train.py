"""Train a Vision Transformer with hand-derived gradients.

    python train.py                             the recommended preset, on Tiny ImageNet
    python train.py demo                        on generated shapes: nothing to download, a few minutes on a laptop
    python train.py baseline optim.learning_rate=5e-4 model.layers=4
    python train.py --resume runs/demo-20260101-120000
    python train.py demo --sweep optim.learning_rate=5e-4,1e-3 train.seed=0,1       every combination, and a table
    python train.py demo --vary augment.flip=false optim.name=muon --sweep train.seed=0,1   one change at a time

A preset is a section of configs.yml, or of a file of your own (--config FILE); any option in it can be overridden with
section.key=value. Folders that are not absolute, runs/ and datasets/ too, are in the current folder.
"""

import argparse
import contextlib
import dataclasses
import shlex
import signal
import sys
from collections.abc import Sequence

import vit_environment  # noqa: F401  # first of all: it looks for the packages that follow

import jax

from common.command import run_command
from common.errors import UserError
from common.interrupt import StopRequest, stop_at_end_of_input
from common.paths import named_path
from common.text import counted
from data.dataset import Dataset
from model.layers.patch_embedding import height_width
from training.arguments import preset_and_overrides, preset_parser
from training.config import Config, load_config
from training.describe import describe, print_continuation
from training.device import choose_device, keep_compiled_programs
from training.devices import choose_devices, devices_here
from training.feed import default_steps, stays_on_device
from training.hosts import Hosts, copy_of_run, scratch_folder, together
from training.huge_pages import restart_with_huge_pages
from training.new_folder import CONFIG, LOG, is_stopped_before_its_options, logged_arguments
from training.presets import DEFAULT_PRESET
from training.resuming import require_same_data
from training.run_folder import Classes, RunFolder
from training.setup import check_fit, check_padding, fit_to_data, load_dataset, require_known, steps_per_epoch
from training.size import check_dispatch, check_size
from training.start import configured_start, require_fit
from training.step import default_accumulate
from training.stops import DivergedError, Stopped
from training.summary import format_summary, summarize
from training.sweep import Sweep, is_sweep
from training.sweep_runner import train_sweep
from training.time_budget import fix_steps
from training.trainer import Trainer

# Options that may change when a run is resumed: where files are, how long it trains. Others would make it another run.
RESUMABLE = (
    "data.root", "data.cache", "data.workers",
    "train.epochs", "train.steps", "train.evaluate_every", "train.checkpoint_every", "train.eval_batch_size",
    "data.placement", "train.steps_per_dispatch", "train.log_every", "train.devices", "train.share_optimizer",
    "train.distributed",
)  # fmt: skip

OWN = ("data.root", "data.cache", "data.workers", "train.distributed")  # of each process that trains with others


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    if args.sweep or args.vary or (args.resume and is_sweep(args.resume)):
        return sweep(args)
    command = shlex.join(["python", "train.py", *argv])
    if args.resume and is_stopped_before_its_options(args.resume) and logged_arguments(args.resume):
        return begin_anew(args)
    in_sweep = args.run is not None and is_sweep(args.run.parent)  # an option may have an effect in other runs of it
    config = None if args.resume else load_config(*preset_of(args), args.config, allow_idle=in_sweep)
    with together(None if args.summary else where_to_join(args, config), args.device, args.debug) as hosts:
        if config is not None:
            return begin_or_resume(args, config, None, command, hosts)
        opened = RunFolder.open(args.resume) if hosts.leads else None
        with contextlib.nullcontext() if args.summary or opened is None else opened.lock():  # what is read stays so
            run = RunFolder(copy_of_run(hosts, args.resume))
            config = run.read_config(args.arguments, RESUMABLE)
            run.warn_of_missing_options()
            return begin_or_resume(args, config, run, command, hosts)


def where_to_join(args: argparse.Namespace, config: Config | None) -> str | None:
    """`train.distributed` of a new run, or for one that is resumed what the arguments say."""
    if config is None:  # what else is among the arguments is looked at when the run is read
        given = [text for name, _, text in (a.partition("=") for a in args.arguments) if name == "train.distributed"]
        return None if not given or given[-1] == "null" else given[-1]
    if config.train.distributed is not None:
        require_steps(config)
    return config.train.distributed


def require_steps(config: Config) -> None:
    """Raises UserError if the length of a training by several processes depends on how fast they are."""
    if config.train.minutes is not None:
        raise UserError("train.minutes: several processes would measure different speeds; give epochs or steps")


def begin_anew(args: argparse.Namespace) -> int:
    """Begin a run that was stopped before it had its options. Its log has them."""
    began = [word for word in logged_arguments(args.resume) or [] if not word.startswith("train.distributed=")]
    command = [*began, *args.arguments, "--run", str(args.resume), "--device", args.device]
    print(f"{args.resume}: stopped before it began; it begins with the arguments in its {LOG}")
    if parse_arguments(command).resume:
        raise UserError(f"{args.resume / CONFIG}: missing; the run cannot go on without its options")
    return main(command)


def begin_or_resume(
    args: argparse.Namespace, config: Config, resumed: RunFolder | None, command: str, hosts: Hosts
) -> int:
    """Train with this configuration: `resumed`, which is locked, or a new run."""
    if hosts.count > 1:
        require_steps(config)
    # How a process joins the others is its own affair, and no option of the run.
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, distributed=None))
    if args.summary:
        require_known(config)
        print(format_summary(summarize(config.network)))
        return 0
    device = choose_device(args.device)
    keep_compiled_programs()
    choose_devices(config.train, device, config.augment.mixes)  # raises where they are not there
    check_memory(config, device)
    if "image_size" not in config.from_data:
        check_padding(config.augment, *height_width(config.model.image_size))
    if resumed:
        resumed.require_checkpoint()
    else:
        new_folder = args.run if hosts.leads else scratch_folder()
        RunFolder.require_new(new_folder)
    begins = resumed is None or not resumed.last.exists()
    start = configured_start(config) if begins else None
    dataset = load_dataset(config, draw=resumed is None)
    config = fit_to_data(config, dataset)
    check_data(config, dataset, resumed)
    check_memory(config, device, dataset)
    common = {name: value for name, value in config.options().items() if name not in OWN}
    hosts.require_same({**common, "data": dataset.fingerprint, "device": device.platform})
    started_from = require_fit(start, config, dataset.class_ids)
    run = resumed or RunFolder.create(config.preset, new_folder, files={CONFIG: config.to_yaml()})
    lock = contextlib.nullcontext() if resumed else run.lock()
    with lock, run.log(command), StopRequest("no step is made") as stop:
        if not resumed:  # else when its files are known to be in order
            write_description(run, config, dataset)
        print("".join(f"{line}\n" for line in started_from), end="", flush=True)
        trainer = None
        try:
            if config.train.minutes is not None:
                config = fix_steps(run, config, dataset, device, stop)
            trainer = Trainer(run, config, dataset, device, start, hosts)
            return train(trainer, stop, bool(resumed), args.brief)
        except Stopped as stopped:
            print(f"stopped after step {stopped.step}")
            print(f"go on with: python train.py --resume {shlex.quote(str(run.path))}")
            if hosts.count > 1:
                print("and train.distributed=..., in each process")
            return 128 + (stop.signal or signal.SIGTERM)  # none here: another process was asked
        except UserError:
            if not resumed and (trainer is None or not trainer.progress.step):
                run.undo_beginning()  # so that a corrected command can begin here
            raise


def train(trainer: Trainer, stop: StopRequest, resumed: bool, brief: bool) -> int:
    """Train a run to its end, and say what comes of it; the exit code. Raises Stopped if `stop` is set before that."""
    run = trainer.run
    run.require_no_divergence(trainer.identity)
    describe(trainer, brief)
    trainer.start()
    if resumed:
        write_description(run, trainer.config, trainer.dataset)
    step, plan = trainer.progress.step, trainer.plan
    if step >= plan.total_steps and not trainer.evaluation_is_due():
        print(f"{run.path}: already trained for {counted(step, 'step')}; more with train.epochs=N")
        return 0
    if resumed and not step:
        print("        nothing was saved before: it begins with the first step")
    elif resumed:
        epoch = plan.epochs_after(step + 1)
        print(f"        goes on after step {step:,} of {plan.total_steps:,}, in epoch {epoch} of {plan.epochs}")
    try:
        trainer.fit(stop)
    except DivergedError as error:
        run.note_divergence(error.what, trainer.identity)
        raise
    averaged = "" if trainer.config.optim.ema is None else " of the moving average"
    print(f"done: best {trainer.config.accuracy}{averaged} {trainer.progress.best_top1:.2%}")
    print(f"evaluate with: python evaluate.py {shlex.quote(str(run.path))}")
    print_continuation(trainer)
    return 0


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = preset_parser("train.py", "Train a Vision Transformer with hand-derived gradients.", DEFAULT_PRESET)
    parser.add_argument(
        "--run", metavar="DIR", type=named_path, help="the new folder (default: runs/<preset>-<date-time>)"
    )
    parser.add_argument("--resume", metavar="DIR", type=named_path, help="continue an interrupted run, or a sweep")
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
    parser.add_argument("--brief", action="store_true", help="do not print the table of the layers")
    args = parser.parse_intermixed_args(argv)
    if args.resume and args.run:
        parser.error("--resume DIR names the folder of the run already: leave --run out")
    for option in ("sweep", "vary", "config"):
        if args.resume and getattr(args, option):
            knows = "the options of the run" if option == "config" else "what is swept"
            parser.error(f"--resume DIR knows {knows}: leave --{option} out")
    if args.summary and args.brief:
        parser.error("--summary prints the table of the layers: leave --brief out")
    return args


def sweep(args: argparse.Namespace) -> int:
    """Begin or continue a sweep. Each of its runs is a separate call of this program."""
    if args.summary:
        raise UserError("--summary is of one model: leave --sweep and --vary out, or name one run with --resume")
    if args.resume and args.arguments:
        raise UserError(f"{args.arguments[0]}: {args.resume} keeps the options that its sweep began with")
    if any("train.distributed=" in text for text in [*args.arguments, *(args.sweep or []), *(args.vary or [])]):
        raise UserError("train.distributed: a sweep has a process for each of its runs; train them one by one instead")
    if args.resume:
        opened = Sweep.open(args.resume)
    else:
        opened = Sweep.create(*preset_of(args), args.sweep or [], args.run, args.vary or [], args.config)
    options = ["--device", args.device, "--brief", *(["--debug"] if args.debug else [])]
    return train_sweep(opened, options)


def preset_of(args: argparse.Namespace) -> tuple[str, list[str]]:
    """The preset, the recommended one if none is named, and the overrides."""
    preset, overrides = preset_and_overrides(args)
    return preset or DEFAULT_PRESET, overrides


def check_memory(config: Config, device: jax.Device, dataset: Dataset | None = None) -> None:
    """Raises ConfigError if the device has no room for the parameters, their gradients and the optimizer; with the data
    also, if it has none for the images that are used at once."""
    count = devices_here(config.train, device) * jax.process_count()
    moments = 1 + (config.optim.name == "adamw")
    copies = 2 + (config.optim.ema is not None) + (-(-moments // count) if config.train.share_optimizer else moments)
    memory = (device.memory_stats() or {}).get("bytes_limit") if device.platform != "cpu" else None
    train, images = config.train, 1
    if dataset is not None:
        microbatch = train.batch_size // (train.accumulate or default_accumulate(train.batch_size, device.platform))
        images = -(-max(microbatch, min(train.eval_batch_size, len(dataset.val.labels))) // count)
        if not stays_on_device(config.data.placement, dataset.train, device):
            epoch = steps_per_epoch(train, dataset)
            usual = default_steps(device.platform, epoch, train.checkpoint_every)
            steps = min(train.steps_per_dispatch or usual, epoch)
            check_dispatch(steps, train.batch_size, dataset.train.images[0].nbytes, memory)
    check_size(dataclasses.asdict(config.model), copies, images, memory)


def check_data(config: Config, dataset: Dataset, resumed: RunFolder | None) -> None:
    """Raises UserError if the data are not those of the resumed run, or if the configuration does not fit them."""
    if resumed and not resumed.classes_file.exists():
        require_same_data(resumed, dataset.fingerprint)
    elif resumed and resumed.read_classes() != describe_classes(dataset):
        raise UserError(f"{config.data.folder}: not the data of {resumed.path}; say where they are with data.root=DIR")
    check_fit(config.model, dataset)
    check_padding(config.augment, *height_width(config.model.image_size))
    epoch = steps_per_epoch(config.train, dataset)  # refuses a batch that is larger than the data set
    if config.train.minutes is None:
        config.train.total_steps(epoch)  # refuses more than can be counted


def describe_classes(dataset: Dataset) -> Classes:
    return Classes(dataset.class_ids, dataset.class_names, dataset.mean, dataset.std, dataset.fingerprint)


def write_description(run: RunFolder, config: Config, dataset: Dataset) -> None:
    run.write_classes(describe_classes(dataset))
    run.write_config(config)


if __name__ == "__main__":
    restart_with_huge_pages()
    stop_at_end_of_input()
    sys.exit(run_command(main))
