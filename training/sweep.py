"""A sweep: a preset trained with every combination of some options' values, each run in a process of its own.

Or as it is and with one change at a time, which shows what each ingredient buys: that is swept like an option's values.

sweep.yml    what is compared: preset, overrides, swept options and their values
table.md     the comparison, a line a run; with several seeds their mean and spread as well
table.csv    the same, for a spreadsheet
<values>     the folder of each run, named by its swept values, as in `learning_rate=5e-4,drop_path=0.1`

A process of its own gives each run clean memory and settings, and lets the sweep go on where one fails. How far the
sweep has come is written nowhere: each run's folder tells.
"""

import itertools
import shlex
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Self
from urllib.parse import quote

import yaml

from common.errors import CheckpointError, UserError
from common.files import replace_text
from training import checkpoint
from training.config import Config, load_config
from training.run_folder import RunFolder
from training.sweep_table import FINISHED, Entry, format_csv, format_markdown
from training.yaml_text import parse_yaml, read_utf8

TRAIN = Path(__file__).resolve().parent.parent / "train.py"
DESCRIPTION = "sweep.yml"
BRACKETS = {"[": 1, "]": -1}
CHANGE = "change"
"""Stands for an option's name where changes are swept; its values are overrides with spaces between them."""
UNCHANGED = "none"


@dataclass(frozen=True)
class Sweep:
    folder: Path
    preset: str
    overrides: tuple[str, ...]  # section.key=value, of all runs
    swept: tuple[tuple[str, tuple[str, ...]], ...]  # section.key, or CHANGE, and its values, as they were written

    @classmethod
    def create(
        cls,
        preset: str,
        overrides: Sequence[str],
        arguments: Sequence[str],
        path: Path | None,
        changes: Sequence[str] = (),
    ) -> Self:
        """A sweep over `arguments`, which are `section.key=value,value`, in the folder `path`; there, the same one may
        have begun before. Without a path it is `runs/sweep-<preset>-<date>-<time>`.

        With `changes`, each `section.key=value` or several with spaces between them, every combination is trained
        without a change and with each.

        Raises:
            ConfigError: the configuration of one of the runs cannot be used.
            UserError: an argument or the folder cannot be used. Nothing is written then.
            OSError: the folder cannot be made.
        """
        swept = _read_arguments(arguments)
        if changes:
            swept = ((CHANGE, (UNCHANGED, *(" ".join(change.split()) for change in changes))), *swept)
        described = (preset, tuple(overrides), swept)
        cls(Path(), *described)._check()
        if path is not None and is_sweep(path):
            sweep = cls.open(path)
            if (sweep.preset, sweep.overrides, sweep.swept) != described:
                raise UserError(f"{path}: holds another sweep; go on with `--resume {path}`, or choose another folder")
            return sweep
        sweep = cls(RunFolder.create(f"sweep-{preset}", path).path, *described)
        document = {"preset": preset, "overrides": list(overrides), "sweep": {key: list(v) for key, v in swept}}
        replace_text(sweep.folder / DESCRIPTION, yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
        return sweep

    @classmethod
    def open(cls, path: Path) -> Self:
        """The sweep in the folder `path`.

        Raises:
            UserError: its description is damaged, or asks for what this version does not know.
            OSError: it cannot be read.
        """
        file = path / DESCRIPTION
        document = parse_yaml(read_utf8(file), str(file))
        try:
            swept = tuple((str(key), tuple(map(str, values))) for key, values in document["sweep"].items())
            sweep = cls(path, str(document["preset"]), tuple(map(str, document["overrides"])), swept)
        except (TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{file}: damaged ({error!r}); begin another sweep") from None
        sweep._check()
        return sweep

    def combinations(self) -> list[tuple[str, ...]]:
        """The swept values of each run, in order; those of the last option change fastest."""
        return list(itertools.product(*(values for _, values in self.swept)))

    def run(self, values: Sequence[str]) -> RunFolder:
        """The folder of one combination; no two have the same name."""
        named = [
            f"{key}={quote(value.replace(' ', '+'), safe='[],+=')}"
            for key, value in zip(self.names(), values, strict=True)
        ]
        return RunFolder(self.folder / ",".join(named))

    def runs(self) -> list[RunFolder]:
        return [self.run(values) for values in self.combinations()]

    def names(self) -> list[str]:
        """The swept options without their sections, where that leaves no doubt."""
        keys = [key for key, _ in self.swept]
        short = Counter(_short(key) for key in keys)
        return [key if short[_short(key)] > 1 else _short(key) for key in keys]

    def options(self, values: Sequence[str]) -> list[str]:
        """`section.key=value` of everything in which one combination differs from the preset."""
        options = list(self.overrides)
        for (key, _), value in zip(self.swept, values, strict=True):
            if key != CHANGE:
                options.append(f"{key}={value}")
            elif value != UNCHANGED:
                options += value.split(" ")
        return options

    def _check(self) -> None:
        """Raises ConfigError where a run cannot be configured, UserError where two are the same."""
        given = {override.partition("=")[0] for override in self.overrides}
        changes = dict(self.swept).get(CHANGE, ())
        changed = {option.partition("=")[0] for change in changes for option in change.split()}
        for key, _ in self.swept:
            if key in given:
                raise UserError(f"{key}: both given and swept; leave one of them out")
            if key in changed:
                raise UserError(f"{key}: swept, and set by one of the changes; leave one of them out")
        seen: dict[Config, str] = {}
        for values in self.combinations():
            options = self.options(values)
            config = load_config(self.preset, options)
            described = " ".join(options) or f"{self.preset} as it is"
            if config in seen:
                raise UserError(f"{described}: the same run as {seen[config]}; leave one of them out")
            seen[config] = described


def _short(key: str) -> str:
    """An option's name without its section."""
    return key.partition(".")[2] or key


def is_sweep(path: Path) -> bool:
    """Whether the folder is that of a sweep."""
    return (path / DESCRIPTION).is_file()


def _read_arguments(arguments: Sequence[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    swept: dict[str, tuple[str, ...]] = {}
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals:
            raise UserError(
                f"{argument}: stands behind --sweep, where section.key=value,value is expected; the preset stands "
                "before it"
            )
        if key in swept:
            raise UserError(f"{argument}: {key} is swept twice; write all its values once, with commas")
        swept[key] = tuple(_split(text))
    return tuple(swept.items())


def _split(text: str) -> list[str]:
    """The values between commas; a comma in brackets belongs to its value, as in `[64,48],[32,32]`."""
    values, depth = [""], 0
    for character in text:
        depth += BRACKETS.get(character, 0)
        if character == "," and depth == 0:
            values.append("")
        else:
            values[-1] += character
    return values


def train_sweep(sweep: Sweep, options: Sequence[str]) -> int:
    """Train what is not finished, with `options` of train.py besides, and print the comparison.

    Returns the exit code: 0, or 1 where a run failed, or 128 + the signal that stopped the sweep.

    Raises:
        UserError: another process trains this sweep, or the record of a run is damaged.
        OSError: the folder cannot be written.
    """
    _warn_of_changes(sweep)
    failures: dict[RunFolder, str] = {}
    combinations = sweep.combinations()
    with RunFolder(sweep.folder).lock(), Relay() as relay:
        for number, values in enumerate(combinations, start=1):
            run = sweep.run(values)
            if _is_finished(run):
                continue
            print(f"\nrun {number} of {len(combinations)}: {run.path}", flush=True)
            begin = [sweep.preset, *sweep.options(values), "--run", str(run.path)]
            go_on = ["--resume", str(run.path)]
            failure = relay.train([*(go_on if run.config_file.exists() else begin), *options])
            if relay.signal is not None:
                break
            if failure is not None:
                failures[run] = failure
            _write_tables(sweep, failures)
    print(f"\n{_write_tables(sweep, failures)}\n{sweep.folder}: this table as table.md and table.csv")
    again = f"python train.py --resume {shlex.quote(str(sweep.folder))}"
    if relay.signal is not None:
        print(f"stopped; go on with: {again}")
        return 128 + relay.signal
    if failures:
        print(f"{len(failures)} of {len(combinations)} runs failed; try these again with: {again}")
    return 1 if failures else 0


def _warn_of_changes(sweep: Sweep) -> None:
    """Each run keeps what it began with; but a preset may be edited before the next one begins."""
    for values in sweep.combinations():
        run = sweep.run(values)
        if run.config_file.exists() and run.read_config() != load_config(sweep.preset, sweep.options(values)):
            print(
                f"warning: {run.path}: began with other options than configs.yml gives it today, so runs that begin "
                "from now on differ from it in more than what is swept",
                file=sys.stderr,
            )


def _has_all_steps(run: RunFolder) -> bool:
    """Whether the last step is in the metrics. They have a row where an epoch ends, and where the run does."""
    rows = run.read_metrics()
    if not rows:
        return False
    length = run.read_config().train
    return rows[-1].step == length.steps if length.epochs is None else rows[-1].epoch == length.epochs


def _is_finished(run: RunFolder) -> bool:
    """Whether there is nothing to go on with: killed behind its last row, a run may still have its best to save."""
    try:
        return _has_all_steps(run) and checkpoint.load(run.last)[1]["progress"]["loss_count"] == 0
    except (CheckpointError, KeyError):
        return False  # training will say what is wrong with it


def _write_tables(sweep: Sweep, failures: Mapping[RunFolder, str]) -> str:
    """Write table.csv and table.md; the text of the latter."""
    entries = []
    for values in sweep.combinations():
        run = sweep.run(values)
        rows = run.read_metrics()
        if run in failures:
            state = f"failed: {failures[run]}"
        else:
            state = FINISHED if _has_all_steps(run) else "unfinished" if run.config_file.exists() else "waiting"
        entries.append(Entry(values, state, rows, run.path.name))
    keys = [key for key, _ in sweep.swept]
    replace_text(sweep.folder / "table.csv", format_csv(keys, entries))
    text = format_markdown(keys, sweep.names(), entries)
    replace_text(sweep.folder / "table.md", text)
    return text


class Relay:
    """A context in which train.py is run, and SIGINT and SIGTERM are passed on to it: it saves, then the sweep ends.
    A terminal that is closed (SIGHUP) is such a request too, unless that is ignored, as under nohup.

    The run has a process group of its own, so that Ctrl-C reaches it once, from here, and not from the terminal too:
    twice would mean to leave at once. A second Ctrl-C does mean that.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
            numbers.append(signal.SIGHUP)
        self._previous = {number: signal.signal(number, self._pass_on) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        self._hand_on()

    def _hand_on(self) -> None:
        if self.signal is not None and self._process is not None:
            # By SIGHUP train.py would end without saving.
            self._process.send_signal(signal.SIGTERM if self.signal == signal.SIGHUP else self.signal)

    def train(self, arguments: Sequence[str]) -> str | None:
        """Run train.py. Why it failed, in a few words; None where it did not."""
        command = [sys.executable, str(TRAIN), *arguments]
        reason = ""
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace", process_group=0
        ) as process:
            try:
                self._process = process
                self._hand_on()  # a signal that came just before
                assert process.stderr is not None
                for line in process.stderr:
                    print(line, end="", file=sys.stderr, flush=True)
                    reason = line.strip() or reason
            except BaseException:  # nobody reads what is printed here any more, say
                process.terminate()
                raise
            finally:
                self._process = None
        code = process.returncode
        if code == 0:
            return None
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return reason.removeprefix("error: ").partition(". ")[0] or f"exit code {code}"
