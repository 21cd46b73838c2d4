"""Write backward passes yourself, and have them checked.

    python -m exercises                   all, in book order; an x: done
    python -m exercises start [NAME]      copy it, or all, to my_exercises/
    python -m exercises shapes NAME       given, cached, asked for
    python -m exercises check [NAME]      check; --reveal: true values,
                                          --json: for grading
    python -m exercises hint NAME         a question, a picture, a line
    python -m exercises solution NAME     the reference, once yours passes
    python -m exercises reset NAME        restore it; yours is kept beside
    python -m exercises watch             check each file when it is saved

Each exercise is a file in which the forward is given and the backward is empty.
Take them in any order. You write in my_exercises/, which is yours: it is not
tracked, and no update of the project touches it.
"""

import argparse
import contextlib
import difflib
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax

from common.command import run_command
from common.errors import UserError
from exercises.machinery import grading
from exercises.machinery.answers import load_answer
from exercises.machinery.items import ITEMS
from exercises.machinery.progress import Progress
from exercises.machinery.workspace import FOLDER, STUBS, bring_over, earlier_work, reset, start
from training.device import choose_device

COMPUTING = ("check", "shapes", "watch")  # commands that need a device
POLL_SECONDS = 0.5


def main(argv: Sequence[str], folder: Path = FOLDER, stubs: Path = STUBS) -> int:
    """Run a command on the reader's files, which are in `folder`. The tracked files are in `stubs`."""
    args = parse_arguments(argv)
    if args.command in COMPUTING:
        choose_device("auto")
    jax.config.update("jax_enable_x64", True)
    name: str = getattr(args, "name", None) or ""
    if name and name not in ITEMS:
        near = difflib.get_close_matches(name, ITEMS, 1)
        advice = f"did you mean {near[0]}?" if near else "see python -m exercises list"
        raise UserError(f"there is no exercise {name}: {advice}")
    if getattr(args, "reveal", False) and (not name or name.startswith("fault")):
        raise UserError("--reveal shows the true value of a wrong gradient: name an exercise that asks for gradients")
    if getattr(args, "folder", None):
        if not args.json:
            raise UserError("--folder is for grading, which keeps no progress: give --json too")
        if not args.folder.is_dir():
            raise UserError(f"there is no folder {args.folder}")
    if getattr(args, "json", False):
        return show_json(args.folder or folder, name, args.reveal)
    work = earlier_work(ITEMS, stubs)
    if work and args.command != "start":
        files = f"{work[0]} holds" if len(work) == 1 else f"{work[0].name} and others in {stubs} hold"
        print(
            f"note: {files} work of yours. Exercises are now written in {folder}, which no update of the project "
            "touches: python -m exercises start moves it there",
            file=sys.stderr,
        )
    commands: dict[str, Callable[[], int]] = {
        "list": lambda: show_list(folder),
        "start": lambda: tell([*bring_over(folder, ITEMS, stubs), *start(folder, [name] if name else ITEMS)]),
        "check": lambda: check_one(folder, name, args.reveal) if name else check_all(folder),
        "shapes": lambda: tell([*ITEMS[name].shapes(folder / f"{name}.py"), *chapter(name)]),
        "hint": lambda: hint(folder, name),
        "solution": lambda: solution(folder, name),
        "reset": lambda: reset_one(folder, name),
        "watch": lambda: watch(folder),
    }
    return commands[args.command]()


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m exercises", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for command in ("list", "watch"):
        commands.add_parser(command)
    for command in ("shapes", "hint", "solution", "reset"):
        commands.add_parser(command).add_argument("name", metavar="NAME")
    start_parser = commands.add_parser("start")
    start_parser.add_argument("name", metavar="NAME", nargs="?", help="the exercise; without it, all are copied")
    check_parser = commands.add_parser("check")
    check_parser.add_argument("name", metavar="NAME", nargs="?", help="the exercise; without it, all are checked")
    check_parser.add_argument("--reveal", action="store_true", help="show the true value beside a wrong one")
    check_parser.add_argument(
        "--json", action="store_true", help="print one JSON document and nothing else, and record no progress"
    )
    check_parser.add_argument(
        "--folder", type=Path, metavar="FOLDER", help="with --json: the folder of the files; default my_exercises"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(argv)
    args.command = args.command or "list"
    return args


def tell(lines: Sequence[str]) -> int:
    print("\n".join(lines))
    return 0


def chapter(name: str) -> list[str]:
    """The chapter of the book with the derivation: the page that names the exercise in a paragraph "Now you"."""
    place = ITEMS[name].place
    return ["", f"derived in docs/book/{place.page}"] if place else []


def show_list(folder: Path) -> int:
    passed = Progress.load(folder).passed
    rows = [f"  ch  {'exercise':<18}level     time"]
    for name, item in ITEMS.items():
        mark, number = "x" if name in passed else " ", item.place.chapter if item.place else ""
        rows.append(f"{mark} {number:>2}  {name:<20}  {item.effort.level}  {item.effort.minutes:>3} min  {item.title}")
    return tell([*rows, count(passed)])


def count(passed: Sequence[str]) -> str:
    """How many exercises have passed, as in "14 of 44"."""
    return f"{sum(name in passed for name in ITEMS)} of {len(ITEMS)}"


def check_one(folder: Path, name: str, reveal: bool = False) -> int:
    """Check one exercise; 0 if it passed."""
    outcome = ITEMS[name].check(folder / f"{name}.py", reveal, False)
    progress = Progress.load(folder)
    progress.record(name, outcome.state == "passed")
    tell([f"{name}: {outcome.state}", *(f"  {line}" for line in outcome.lines)])
    if outcome.state == "passed":
        tell(["", load_answer(name).explanation, f"python -m exercises solution {name} shows the reference. "
              f"{count(progress.passed)}"])  # fmt: skip
    return int(outcome.state != "passed")


def check_all(folder: Path) -> int:
    """Check all exercises; 1 if any is wrong. An empty one is not wrong."""
    progress, wrong = Progress.load(folder), False
    for name, item in ITEMS.items():
        outcome = item.check(folder / f"{name}.py", False, True)
        progress.record(name, outcome.state == "passed")
        shown = outcome.lines if outcome.state == "wrong" else ()
        tell([f"{name}: {outcome.state}", *(f"  {line}" for line in shown)])
        wrong |= outcome.state == "wrong"
    print(count(progress.passed))
    return int(wrong)


def show_json(folder: Path, name: str, reveal: bool) -> int:
    """Print the results as JSON. The exit code is that of the same check without JSON."""
    document = grading.graded(folder, ITEMS, [name] if name else ITEMS, reveal)
    print(json.dumps(document, indent=1))
    states = [exercise["state"] for exercise in document["exercises"]]
    return int("wrong" in states or (bool(name) and states != ["passed"]))


def hint(folder: Path, name: str) -> int:
    hints = load_answer(name).hints
    number = Progress.load(folder).next_hint(name, len(hints))
    return tell([f"hint {number} of {len(hints)}", "", hints[number - 1].rstrip("\n")])


def solution(folder: Path, name: str) -> int:
    if name not in Progress.load(folder).passed:
        raise UserError(f"{name} is not done: python -m exercises check {name} must pass first (hint {name} helps)")
    answer = load_answer(name)
    return tell([answer.solution, answer.explanation.rstrip("\n")])


def reset_one(folder: Path, name: str) -> int:
    """Restore the empty file; what passed before is to do again."""
    lines = reset(folder, name)
    Progress.load(folder).record(name, False)
    return tell(lines)


def watch(folder: Path, rounds: int | None = None) -> int:
    """Check each file that changes, until Ctrl-C (or for `rounds` polls)."""
    folder.mkdir(parents=True, exist_ok=True)
    print(f"watching {folder}: each file is checked when you save it. Stop with Ctrl-C.", flush=True)
    seen = _times(folder)
    while rounds is None or rounds > 0:
        rounds = None if rounds is None else rounds - 1
        time.sleep(POLL_SECONDS)
        now = _times(folder)
        for name in [name for name in ITEMS if now.get(name) not in (None, seen.get(name))]:
            print(flush=True)
            check_one(folder, name)
        seen = now
    return 0


def _times(folder: Path) -> dict[str, int]:
    """When each exercise was last saved: modification times in nanoseconds."""
    found = {}
    for name in ITEMS:
        with contextlib.suppress(FileNotFoundError):  # an editor may be replacing it at this moment
            found[name] = (folder / f"{name}.py").stat().st_mtime_ns
    return found


if __name__ == "__main__":
    raise SystemExit(run_command(main))
