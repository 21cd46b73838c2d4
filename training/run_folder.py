"""The folder of a run: everything needed to resume it, to evaluate it and to plot its course.

config.yml     the configuration, every option resolved
classes.json   class ids and names, mean, standard deviation and fingerprint of the data
metrics.csv    one row per evaluation
steps.csv      one row per step, or per train.log_every steps
log.txt        what train.py said
last.npz       the latest checkpoint, to resume from
best.npz       the checkpoint with the best validation accuracy (of the moving average, if there is one)
diverged.json  only in a run that has diverged: where, and with which training step
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from shlex import quote

from common.documents import read_json
from common.errors import DamagedError, UserError
from common.files import LockedError, locked, replace_text
from common.log import logged
from common.text import first_of
from training.classes import Classes, read_classes, write_classes
from training.config import Config, from_yaml, missing_options
from training.metrics import MetricsRow, append_row, read_rows, truncate_rows
from training.new_folder import (
    CLASSES,
    CONFIG,
    LOCK,
    LOG,
    is_stopped_before_its_options,
    make_dated_folder,
    make_folder,
    require_makeable,
    require_new,
)
from training.yaml_text import read_utf8

RUNS = Path("runs")
HOW_TO_TRAIN = "train one with `python train.py demo`"


@dataclass(frozen=True)
class RunFolder:
    path: Path

    @property
    def config_file(self) -> Path:
        return self.path / CONFIG

    @property
    def classes_file(self) -> Path:
        return self.path / CLASSES

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def steps_file(self) -> Path:
        return self.path / "steps.csv"

    @property
    def log_file(self) -> Path:
        return self.path / LOG

    @property
    def divergence_file(self) -> Path:
        return self.path / "diverged.json"

    @property
    def last(self) -> Path:
        return self.path / "last.npz"

    @property
    def best(self) -> Path:
        return self.path / "best.npz"

    @classmethod
    def create(
        cls,
        preset: str,
        path: str | os.PathLike[str] | None = None,
        runs: Path = RUNS,
        files: Mapping[str, str] | None = None,
    ) -> "RunFolder":
        """A new folder: `path`, or by default `runs/<preset>-<date>-<time>`. It has `files`, texts by their names.

        Raises:
            UserError: `path` holds something else than the beginnings of a run, or is a file, or cannot be created.
            OSError: a file cannot be written.
        """
        if path is None:
            require_makeable(runs)
            return cls(make_dated_folder(runs, preset, files or {}))
        make_folder(Path(path), files or {})
        return cls(Path(path))

    @classmethod
    def require_new(cls, path: str | os.PathLike[str] | None = None, runs: Path = RUNS) -> None:
        """Raises UserError where `create` does. Nothing is left behind, so it can be asked before long work."""
        if path is None:
            require_makeable(runs)
        else:
            require_new(Path(path))

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "RunFolder":
        """The run in the folder `path`.

        Raises:
            UserError: there is no such folder, or it holds no run.
        """
        run = cls(Path(path))
        if not run.path.exists():
            raise UserError(f"{run.path.absolute()}: there is no such folder; {HOW_TO_TRAIN}")
        if not run.path.is_dir():
            raise UserError(f"{run.path}: a file, where the folder of a run is expected")
        if is_stopped_before_its_options(run.path):
            raise UserError(
                f"{run.path}: this run was stopped before its {CONFIG} was written; begin it again with "
                f"`python train.py PRESET --run {quote(str(run.path))}`"
            )
        if not run.config_file.is_file():
            raise UserError(f"{run.path}: not the folder of a run: it has no {run.config_file.name}")
        return run

    @classmethod
    def newest(cls, runs: Path = RUNS) -> "RunFolder":
        """The run whose checkpoints or metrics were written last.

        Raises:
            UserError: no run in `runs` has a checkpoint yet.
        """
        folders = [cls(folder) for folder in runs.iterdir()] if runs.is_dir() else []
        trained = [run for run in folders if run.config_file.is_file() and (run.last.is_file() or run.best.is_file())]
        if not trained:
            # A relative folder is that of the current one, which may be another than the user thinks.
            raise UserError(f"{runs.absolute()}: no run with a checkpoint in it; {HOW_TO_TRAIN}")
        return max(trained, key=lambda run: (run._written(), run.path.name))

    def _written(self) -> float:
        files = (self.last, self.best, self.metrics_file)
        return max(file.stat().st_mtime for file in files if file.exists())

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only process that writes to this folder, until the block or the process ends.

        Where the file system has no locks, the user is warned to take care of that.

        Raises:
            UserError: another training writes here.
            OSError: the folder cannot be written.
        """
        try:
            with locked(self.path / LOCK, wait=False):
                yield
        except LockedError as error:
            raise UserError(
                f"{self.path}: another training (process {error.holder or 'unknown'}) is writing this run; "
                "wait for it, stop it, or choose another folder"
            ) from None

    def locked_by(self) -> int | None:
        """The id of the process that holds the lock, 0 if it is unknown; None: nobody does."""
        if not (self.path / LOCK).exists():
            return None
        try:
            with locked(self.path / LOCK, wait=False):
                return None
        except LockedError as error:
            return error.holder or 0

    def require_checkpoint(self) -> None:
        """Raises UserError if a checkpoint to resume from was there and is gone. A run that was stopped before its
        first checkpoint passes: it has nothing that could be lost."""
        if self.last.exists():
            return
        rows = self.read_metrics()
        there = [f"{self.metrics_file.name} up to step {rows[-1].step}"] if rows else []
        if self.best.exists():
            there.append(f"{self.best.name}, which `python evaluate.py {quote(str(self.path))}` evaluates")
        if there:
            raise UserError(
                f"{self.last}: missing, so this run cannot go on, and beginning it again would overwrite what there "
                f"is: {' and '.join(there)}. Put the file back, or train again in another folder"
            )

    def note_divergence(self, what: str, identity: str) -> None:
        """Note that the run has diverged; `identity` stands for the training step and all that it depends on."""
        replace_text(self.divergence_file, json.dumps({"what": what, "identity": identity}) + "\n")

    def require_no_divergence(self, identity: str) -> None:
        """Raises UserError if the run has diverged, and goes on as it did."""
        try:
            noted: dict[str, str] = read_json(self.divergence_file, dict[str, str])
        except (OSError, DamagedError):  # no such file, or not ours
            return
        if noted.keys() != {"what", "identity"}:
            return
        if noted["identity"] == identity:
            raise UserError(
                f"{self.path}: {noted['what']}, and resumed with the same options it would be so again: begin another "
                "run, with a lower optim.learning_rate, a longer optim.warmup or optim.max_grad_norm=1.0. To try it "
                f"all the same, delete {self.divergence_file.name}"
            )
        self.divergence_file.unlink()

    def undo_beginning(self) -> None:
        """Remove the options of a run that could not begin, so that another can begin in its folder. The log stays."""
        if {entry.name for entry in self.path.iterdir()} <= {CONFIG, CLASSES, LOG, LOCK}:
            self.config_file.unlink(missing_ok=True)

    def log(self, command: str) -> AbstractContextManager[None]:
        """Append what is printed in the block to log.txt, below `command`."""
        return logged(self.log_file, command)

    def write_config(self, config: Config, note: str | None = None) -> None:
        """Write every option. `note` becomes a comment at the top; without one, an earlier note is kept."""
        if note is not None:
            comment = "".join(f"# {line}\n" for line in note.splitlines())
        elif self.config_file.exists():
            comment = "".join(
                takewhile(lambda line: line.startswith("#"), read_utf8(self.config_file).splitlines(True))
            )
        else:
            comment = ""
        replace_text(self.config_file, comment + config.to_yaml())

    def read_config(self, overrides: Sequence[str] = (), allowed: Sequence[str] = ()) -> Config:
        """The configuration of the run, with `section.key=value` overrides of the options named in `allowed`.

        Raises:
            UserError: another option is overridden.
            ConfigError: the file is damaged or has unknown options.
        """
        for override in overrides:
            if override.partition("=")[0] not in allowed:
                changeable = ", ".join(allowed) or "none"
                raise UserError(f"{override}: {self.path} keeps the options it began with, but for {changeable}")
        return from_yaml(read_utf8(self.config_file), source=str(self.config_file), overrides=list(overrides))

    def warn_of_missing_options(self) -> None:
        """Warn of options that config.yml does not have, so that they take their defaults."""
        missing = missing_options(read_utf8(self.config_file), str(self.config_file))
        if missing:
            print(
                f"warning: {self.config_file}: it has no {first_of(missing, 2)}, as if it were cut short or "
                "older than these options; they take their defaults from configs.yml",
                file=sys.stderr,
            )

    def write_classes(self, classes: Classes) -> None:
        write_classes(self.classes_file, classes)

    def read_classes(self) -> Classes:
        """Raises UserError if the file is missing or damaged."""
        return read_classes(self.classes_file)

    def append_metrics(self, row: MetricsRow) -> None:
        append_row(self.metrics_file, row)

    def truncate_metrics(self, step: int) -> None:
        truncate_rows(self.metrics_file, step)

    def read_metrics(self) -> list[MetricsRow]:
        return read_rows(self.metrics_file)

    def has_all_steps(self) -> bool:
        """Whether the metrics have a row of the last step: the end of a run is always evaluated."""
        rows = self.read_metrics()
        if not rows:
            return False
        length = self.read_config().train
        return rows[-1].step == length.steps if length.epochs is None else rows[-1].epoch == length.epochs
