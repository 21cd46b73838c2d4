"""Check every hand-derived gradient of this project against derivatives that are measured.

    python gradcheck.py                         every layer with every option, the loss and the whole model, tiny shapes
    python gradcheck.py tiny_imagenet           that model at its real size: sampled coordinates, random directions
    python gradcheck.py tiny_imagenet --exhaustive --budget 10m      every coordinate, as far as ten minutes go
    python gradcheck.py --checkpoint runs/demo-20260101-120000       at trained weights, on real images
    python gradcheck.py --mutants               plant known mistakes, one at a time: each must be caught

docs/gradcheck.md explains what is measured and how far it can be trusted. Exit code: 0 all pass, as far as a budget
went; 1 a gradient is wrong or a mutant survived; 2 bad usage, nothing checked, something could not be decided, or a
report could not be written; 130 interrupted.
"""

import argparse
import hashlib
import os
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from common.command import BAD_INPUT, run_command
from common.errors import UserError
from common.files import replace_text
from common.interrupt import StopRequest, leaving_at_once
from common.progress import format_seconds
from data.augment import normalize
from model.loss import CrossEntropy
from model.vit import ViT
from training import checkpoint
from training.arguments import preset_parser
from training.config import load_config, preset_names
from training.device import choose_device, describe_device
from training.run_folder import RUNS, RunFolder
from training.setup import check_fit, describe_validation, load_dataset
from verify.case import Case, named
from verify.cases import all_cases, mutant_cases, tiny_model
from verify.check import check_case
from verify.definitions import definition_results
from verify.errors import CheckError
from verify.exhaustive import ExhaustiveCheck
from verify.full_size import Point, dropout_key, full_size_layer_cases, random_point, stage_cases
from verify.measure import Plan
from verify.mutants import MutantCheck, MutantResult, load_mutants
from verify.page import Report, to_html, to_json
from verify.precision import compare_precisions, precision_lines
from verify.report import HEADER, case_lines, findings, mutant_lines, precision_summary, summary, worst_errors
from verify.results import INCONCLUSIVE, PASS, WRONG, CaseResult

EXIT = {PASS: 0, WRONG: 1, INCONCLUSIVE: 2}
SAVE_SECONDS = 30.0
BATCH = COORDINATES = 2  # of a full-size check, where it is not told
SEEDS = 2**32  # as many as JAX tells apart


def main(argv: Sequence[str]) -> int:
    start = time.perf_counter()
    args = parse_arguments(argv)
    for option, path in (("--json", args.json), ("--html", args.html), ("--state", args.state)):
        if path is not None:  # now, rather than after hours
            assert_writable(option, path)
    with leaving_at_once("interrupted"):
        device = choose_device(args.device)
        try:
            point = load_point(args)
            jax.config.update("jax_enable_x64", True)
            kind = "float32" if args.float32 else "float64"
            print(f"device  {describe_device(device)}; {kind}; seed {args.seed}\n", flush=True)
            report = Report(command_line(args), describe_device(device), args.seed, 0.0, PASS, "")
            report.versions = {"python": sys.version.split()[0], "jax": jax.__version__, "numpy": np.__version__}
            code = check(args, point, report, start)
        except CheckError as error:
            raise UserError(str(error)) from error
    report.seconds = time.perf_counter() - start
    written = write_report(args, report)
    return code or written


def assert_writable(option: str, path: Path) -> None:
    """Raises UserError where a file cannot take this name. Whatever is there stays as it is."""
    try:
        if not path.parent.is_dir():
            raise UserError(f"{option} {path}: there is no folder {path.parent}; make it first")
        if path.exists() and not path.is_file():
            raise UserError(f"{option} {path}: this is a {'folder' if path.is_dir() else 'device'}; name a file")
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise UserError(f"{option} {path}: it cannot be written: {error.strerror}") from error


def write_report(args: argparse.Namespace, report: Report) -> int:
    """Write the files that were asked for; one that fails is told, and does not keep the other from being written."""
    code = 0
    for option, path, text in (("--json", args.json, to_json), ("--html", args.html, to_html)):
        if path is None:
            continue
        try:
            replace_text(path, text(report))
            print(f"report  {path}")
        except OSError as error:
            print(f"error: {option} {path}: not written: {error.strerror}", file=sys.stderr)
            code = BAD_INPUT
    return code


def check(args: argparse.Namespace, point: Point | None, report: Report, start: float) -> int:
    """Do what the arguments ask for; fill in the report and return the exit code."""
    if args.mutants:
        return check_mutants(args, report)
    if args.precision:
        report.precision = compare_precisions(point or random_point(tiny_model(), CrossEntropy(), args.seed, 3))
        print("\n".join(precision_lines(report.precision, every=True)))
        report.verdict = "compared"  # there is no bar that lower precision has to reach
        report.summary = precision_summary(report.precision, time.perf_counter() - start, args.seed)
        print(f"\n{report.summary}")
        return 0
    if args.exhaustive:
        assert point is not None
        return check_exhaustively(args, point, report, start)
    print(HEADER, flush=True)
    results: list[CaseResult] = []
    for result in check_tiny(args) if point is None else check_full_size(args, point):
        print("\n".join(case_lines(result)), flush=True)
        results.append(result)
    if not results:
        raise no_such_case(args)
    if point is not None and not args.only:
        report.precision = compare_precisions(point)
        print("\n" + "\n".join(precision_lines(report.precision, every=False)))
    report.results = results
    report.verdict = overall(results)
    return conclude(args, report, time.perf_counter() - start)


def selected(args: argparse.Namespace, name: str) -> bool:
    """Whether --only TEXT, in capitals or not, is in this name."""
    return args.only.casefold() in name.casefold()


def no_such_case(args: argparse.Namespace) -> UserError:
    return UserError(f"--only {args.only}: no case has this in its name; without it all of them are checked")


def overall(results: Sequence[CaseResult]) -> str:
    """Wrong if anything is, pass if all of it passed; nothing at all is inconclusive."""
    verdicts = {result.verdict for result in results}
    return WRONG if WRONG in verdicts else PASS if verdicts == {PASS} else INCONCLUSIVE


def conclude(args: argparse.Namespace, report: Report, seconds: float) -> int:
    """Print what was found, and how to find it again."""
    report.summary = summary(report.results, seconds, args.seed, report.coverage)
    print("\n" + "\n".join([*findings(report.results), worst_errors(report.results), report.summary]))
    if report.verdict == WRONG:
        args.only = next(result.name for result in report.results if result.wrong)
        args.budget = args.state = None  # the state is of a check of more than this case
        print(f"again: {command_line(args)}")
    return EXIT[report.verdict]


def check_tiny(args: argparse.Namespace) -> Iterator[CaseResult]:
    """Every layer, the loss, the model and the optimizer, at shapes at which every coordinate can be checked."""
    cases = [case for case in all_cases(args.seed) if selected(args, case.name)]
    if args.float32:
        cases = [replace(case, tensors={n: a.astype(np.float32) for n, a in case.tensors.items()}) for case in cases]
    yield from check_together(cases, args.seed, Plan(any_float=args.float32, curves=46 if args.html else 0))
    yield from (result for result in definition_results(args.seed) if selected(args, result.name))


def check_together(cases: Iterable[Case], seed: int, plan: Plan) -> Iterator[CaseResult]:
    """One on each core, as neither compiling nor computing uses two; the results come in the order of the cases."""
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        yield from pool.map(lambda case: check_case(case, seed, plan), cases)


def check_full_size(args: argparse.Namespace, point: Point) -> Iterator[CaseResult]:
    """The layers of one model on the activations that reach them, then end to end."""
    curves = 12 if args.html else 0
    # One coordinate of many bends the output little, and rounding weighs the more: begin with large steps.
    layers = Plan(args.coordinates, levels=8, first=-2, curves=curves)
    stages = Plan(args.coordinates, levels=8, first=-6, curves=curves)
    for cases, plan in ((full_size_layer_cases(point), layers), (stage_cases(point), stages)):
        yield from check_together([case for case in cases if selected(args, case.name)], args.seed, plan)


def check_mutants(args: argparse.Namespace, report: Report) -> int:
    """Plant the mutants one at a time. The checks must pass without them, and fail with each."""
    mutants = [m for m in load_mutants() if selected(args, f"{m.file}: {m.mistake}")]
    if not mutants:
        raise UserError(f"--only {args.only}: no mutant has this in its file or its mistake")
    trial = MutantCheck(mutant_cases(args.seed), args.seed)
    results: list[MutantResult] = []
    start = time.perf_counter()
    for mutant in mutants:
        results.append(trial.check(mutant))
        print("\n".join(mutant_lines(results[-1])), flush=True)
    survived = [result for result in results if result.survived]
    report.mutants, report.results = results, trial.baseline
    wrong = [result.name for result in trial.baseline if not result.passed]
    report.verdict = WRONG if survived or wrong else PASS
    report.summary = (
        f"{len(results) - len(survived)} of {len(results)} mutants caught, {len(survived)} survived; without a mutant "
        f"{len(trial.baseline) - len(wrong)} of {len(trial.baseline)} cases pass. "
        f"{time.perf_counter() - start:.0f} s, seed {args.seed}"
    )
    print(f"\n{report.summary}")
    return EXIT[report.verdict]


def check_exhaustively(args: argparse.Namespace, point: Point, report: Report, start: float) -> int:
    """Every coordinate of every parameter, layer by layer and end to end, until it is done, out of time or stopped."""
    state = args.state or default_state(args)
    kept = f"{state} stays as it is" if state.exists() else "there is nothing to save"
    # A call keeps one core of a CPU busy; an accelerator is filled by each, and one more hides the host's share.
    workers = (os.cpu_count() or 1) if jax.default_backend() == "cpu" else 2
    with leaving_at_once(f"interrupted before the first coordinate: {kept}"):
        whole = prepare(args, point, state, workers)
    first = whole.position
    limit = float("inf") if args.budget is None else parse_budget(args.budget)
    if time.perf_counter() - start > limit:
        print("the start took all of the budget: only the least is checked, a chunk of coordinates")
    sys.stdout.flush()
    saved = time.perf_counter()
    with StopRequest() as stop:
        with tqdm(total=whole.coordinates, initial=whole.done, unit=" coordinates", disable=None) as bar:

            def over() -> bool:
                out_of_time = time.perf_counter() - start > limit and whole.position > first
                return stop.signal is not None or out_of_time

            def show(count: int) -> None:
                nonlocal saved
                bar.update(count)
                bar.set_postfix_str(f"{whole.wrong} wrong", refresh=False)
                if time.perf_counter() - saved > SAVE_SECONDS:
                    replace_text(state, whole.state())
                    saved = time.perf_counter()

            whole.run(over, show, workers)
        if not whole.finished:
            replace_text(state, whole.state())
    report.results, report.coverage = whole.results(), whole.coverage()
    print(HEADER + "\n" + "\n".join(line for result in report.results for line in case_lines(result)))
    report.verdict = overall(report.results)
    code = conclude(args, report, time.perf_counter() - start)
    print(f"covered {report.coverage.share}, chosen at random")
    if whole.finished:
        state.unlink(missing_ok=True)
        return code
    print(f"go on with the same command: {state}")
    return 128 + stop.signal if stop.signal is not None and report.verdict != WRONG else code


def prepare(args: argparse.Namespace, point: Point, state: Path, workers: int) -> ExhaustiveCheck:
    """Build and compile the cases, take up what was saved, and say how much there is to do."""
    cases = [c for c in [*full_size_layer_cases(point), *stage_cases(point)] if selected(args, c.name)]
    if not cases:
        raise no_such_case(args)
    whole = ExhaustiveCheck(cases, args.seed, fingerprint(args, point))
    if whole.resume(state):
        print(f"going on from {state}: {whole.done:,} of {whole.coordinates:,} coordinates are checked")
    print(f"{whole.coordinates:,} coordinates, of each layer by itself and end to end: {whole.passes:,} forward passes")
    seconds = whole.estimate(workers) * (1 - whole.done / whole.coordinates)
    budget = "" if args.budget is None else f"; --budget {args.budget}, the start included"
    print(f"about {format_seconds(seconds)} on this device{budget}", flush=True)
    return whole


def default_state(args: argparse.Namespace) -> Path:
    """Where an exhaustive check keeps its place if it is not told: in the folder of the runs, which is made for it."""
    RUNS.mkdir(parents=True, exist_ok=True)
    preset = next((argument for argument in args.arguments if "=" not in argument), "")
    what = Path(args.checkpoint).resolve().name if args.checkpoint else preset
    words = [what, *re.findall(r"\w+", args.only.casefold())]
    path = RUNS / f"gradcheck-{'-'.join(words)[:150]}-seed{args.seed}.json"
    assert_writable("--state", path)
    return path


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = preset_parser(
        "gradcheck.py",
        "Check every hand-derived gradient of this project against derivatives that are measured.",
        default="every layer at tiny shapes",
    )
    parser.add_argument(
        "--checkpoint", metavar="RUN", type=named_folder, help="check at the weights and images of a training run"
    )
    parser.add_argument("--exhaustive", action="store_true", help="every coordinate of every parameter, at full size")
    parser.add_argument(
        "--budget",
        metavar="TIME",
        help="stop the exhaustive check this long after the command began, as in 10m or 2h30m",
    )
    parser.add_argument("--state", metavar="FILE", type=named_file, help="where the exhaustive check keeps its place")
    parser.add_argument("--mutants", action="store_true", help="plant known mistakes and see each of them caught")
    parser.add_argument("--precision", action="store_true", help="only compare float32 and bfloat16 with float64")
    parser.add_argument("--only", metavar="TEXT", default="", help="only the cases (mutants) whose name contains TEXT")
    parser.add_argument("--seed", type=int, default=0, help="of every random number (default: %(default)s)")
    parser.add_argument("--batch", type=int, help=f"images in a full-size check (default: {BATCH})")
    parser.add_argument(
        "--coordinates", type=int, help=f"to sample of each tensor at full size (default: {COORDINATES})"
    )
    parser.add_argument("--float32", action="store_true", help="check in float32 all the same, at tiny shapes")
    parser.add_argument("--json", metavar="FILE", type=named_file, help="write everything to FILE")
    parser.add_argument("--html", metavar="FILE", type=named_file, help="write a page with tables and curves to FILE")
    args = parser.parse_intermixed_args(with_negative_budget(argv))
    for refused, message in contradictions(args):
        if refused:
            parser.error(message)
    args.batch, args.coordinates = args.batch or BATCH, args.coordinates or COORDINATES
    if args.budget is not None:
        parse_budget(args.budget)
    return args


def contradictions(args: argparse.Namespace) -> tuple[tuple[bool, str], ...]:
    """What cannot be done, or would have no effect: an option that is given is used or refused."""
    full_size = bool(args.arguments or args.checkpoint)
    sampled = full_size and not (args.exhaustive or args.precision)
    files = [path for path in (args.json, args.html, args.state) if path is not None]
    return (
        (
            args.exhaustive and not full_size,
            "--exhaustive: name a PRESET; at tiny shapes every coordinate is checked anyway",
        ),
        (
            args.mutants and (full_size or args.exhaustive),
            "--mutants are planted at tiny shapes: leave PRESET, --checkpoint and --exhaustive out",
        ),
        (
            args.precision and bool(args.exhaustive or args.mutants or args.only),
            "--precision compares whole gradients, and only that: leave --exhaustive, --mutants and --only out",
        ),
        (
            args.float32 and (full_size or args.mutants or args.precision),
            "--float32 goes with the check at tiny shapes; at full size --precision compares it with float64",
        ),
        (
            not args.exhaustive and (args.budget is not None or args.state is not None),
            "--budget and --state belong to --exhaustive",
        ),
        (args.batch is not None and not full_size, "--batch belongs to a full-size check: name a PRESET"),
        (
            args.coordinates is not None and not sampled,
            "--coordinates belongs to a full-size check of a sample: name a PRESET, and no --exhaustive or --precision",
        ),
        (any(n is not None and n < 1 for n in (args.batch, args.coordinates)), "--batch and --coordinates: at least 1"),
        (not 0 <= args.seed < SEEDS, f"--seed must be from 0 to {SEEDS - 1}"),
        (len(set(files)) < len(files), "--json, --html and --state: name a file for each"),
    )


def named_file(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("name a file; this is empty")
    return Path(text)


def named_folder(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("name the folder of a run; this is empty")
    return text


def with_negative_budget(argv: Sequence[str]) -> list[str]:
    """`--budget -5s` as `--budget=-5s`: argparse would take -5s for an option, and not say what is wrong with it."""
    words = list(argv)
    for i in range(len(words) - 1, 0, -1):
        if words[i - 1] == "--budget" and re.match(r"-[\d.]", words[i]):
            words[i - 1 : i + 1] = [f"--budget={words[i]}"]
    return words


def parse_budget(text: str) -> float:
    """`90s`, `10m`, `2h30m` -> seconds. Raises UserError for anything else."""
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    if not text or not match:
        raise UserError(f"--budget {shlex.quote(text)}: write it like 90s, 10m or 2h30m")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds


def load_point(args: argparse.Namespace) -> Point | None:
    """The model, parameters and images of a full-size check; None for the tiny shapes."""
    if args.checkpoint:
        return trained_point(args)
    if not args.arguments:
        return None
    presets = [argument for argument in args.arguments if "=" not in argument]
    if len(presets) != 1:
        raise UserError(
            f"{presets[1]}: a second preset after {presets[0]}; an option is written section.key=value"
            if presets
            else f"{args.arguments[0]}: name the preset that this overrides, one of {', '.join(preset_names())}"
        )
    config = load_config(presets[0], [argument for argument in args.arguments if "=" in argument])
    return random_point(in_full_precision(config.model), config.loss, args.seed, args.batch)


def trained_point(args: argparse.Namespace) -> Point:
    """The best parameters of a run (the last, where no epoch has ended yet) and some of its validation images."""
    run = RunFolder.open(args.checkpoint)
    config = run.read_config(args.arguments, ("data.root", "data.cache", "data.workers"))
    path = run.best if run.best.exists() else run.last
    saved, _ = checkpoint.load(path)
    kinds = {array.dtype for name, array in saved.items() if name.startswith("params/")}
    template = jax.eval_shape(config.model.init, jax.random.key(0))
    if len(kinds) == 1:  # in the precision of the training, whatever it was
        template = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, *kinds), template)
    params, _ = checkpoint.restore(path, template, part="params")
    dataset = load_dataset(config.data)
    check_fit(config.model, dataset)
    if args.batch > len(dataset.val.labels):
        raise UserError(f"--batch {args.batch}: there are {describe_validation(config.data, dataset)}")
    rng = np.random.default_rng(args.seed)
    chosen = np.sort(rng.choice(len(dataset.val.labels), size=args.batch, replace=False))
    classes = run.read_classes()
    images = normalize(jnp.asarray(dataset.val.images[chosen]), classes.mean, classes.std, jnp.float32)
    print(f"{path} on images {', '.join(map(str, chosen))} of {describe_validation(config.data, dataset)}")
    doubled = {name: np.asarray(array, np.float64) for name, array in named(params).items()}
    labels = np.asarray(dataset.val.labels[chosen])
    model = in_full_precision(config.model)
    return Point(model, config.loss, doubled, np.asarray(images, np.float64), labels, dropout_key(model, args.seed))


def in_full_precision(model: ViT) -> ViT:
    """The model without half precision: what is checked are its formulas, and those in float64."""
    if model.dtype == "bfloat16":
        print("model.dtype=bfloat16: checked are the same formulas, in float64")
    return replace(model, dtype="float32")


def command_line(args: argparse.Namespace) -> str:
    """The command that does the same again."""
    words = ["python", "gradcheck.py", *args.arguments]
    for name in ("checkpoint", "budget", "state"):
        words += [f"--{name}", str(getattr(args, name))] if getattr(args, name) else []
    words += [f"--{name}" for name in ("exhaustive", "mutants", "precision", "float32") if getattr(args, name)]
    words += ["--only", args.only] if args.only else []
    if args.arguments or args.checkpoint:
        words += ["--batch", str(args.batch)]
        words += [] if args.exhaustive or args.precision else ["--coordinates", str(args.coordinates)]
    return shlex.join([*words, "--seed", str(args.seed)])


def fingerprint(args: argparse.Namespace, point: Point) -> str:
    """Of everything that an exhaustive check depends on: the point, the seed, and the source of the layers."""
    digest = hashlib.sha256(repr((point.model, point.loss, args.seed, args.batch, args.only.casefold())).encode())
    for array in (*point.params.values(), point.images, point.labels):
        digest.update(np.ascontiguousarray(array).tobytes())
    for file in sorted(Path(__file__).with_name("model").rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(run_command(main))
