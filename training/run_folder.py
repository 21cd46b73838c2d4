"""The folder of a run: everything needed to resume it, to evaluate it and to plot its course.

config.yml     the configuration, every option resolved
classes.json   class ids and names, mean, standard deviation and fingerprint of the data
metrics.csv    one row per evaluation
log.txt        what train.py said
last.npz       the latest checkpoint, to resume from
best.npz       the checkpoint with the best validation accuracy (of the moving average, if there is one)
diverged.json  only in a run that has diverged: where, and with which training step
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from shlex import quote

from common.documents import read_json
from common.errors import DamagedError, UserError
from common.files import LockedError, locked, reason, replace_text
from common.log import logged
from training.classes import Classes, read_classes, write_classes
from training.config import Config, from_yaml
from training.metrics import MetricsRow, append_row, read_rows, truncate_rows
from training.yaml_text import read_utf8

RUNS = Path("runs")
LOCK = ".lock"
HOW_TO_TRAIN = "train one with `python train.py demo`"


@dataclass(frozen=True)
class RunFolder:
    path: Path

    @property
    def config_file(self) -> Path:
        return self.path / "config.yml"

    @property
    def classes_file(self) -> Path:
        return self.path / "classes.json"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def log_file(self) -> Path:
        return self.path / "log.txt"

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
    def create(cls, preset: str, path: str | os.PathLike[str] | None = None, runs: Path = RUNS) -> "RunFolder":
        """A new folder: `path`, which must be empty or not exist; by default `runs/<preset>-<date>-<time>`.

        Raises:
            UserError: `path` is not empty, or is a file, or the folder cannot be created.
        """
        cls.require_new(path, runs)
        if path is None:
            return cls(_make_dated(runs, preset))
        Path(path).mkdir(parents=True, exist_ok=True)
        return cls(Path(path))

    @classmethod
    def require_new(cls, path: str | os.PathLike[str] | None = None, runs: Path = RUNS) -> None:
        """Raises UserError where `create` does. Nothing is left behind, so it can be asked before long work."""
        run = cls(runs if path is None else Path(path))
        if run.path.exists() and not run.path.is_dir():
            raise UserError(f"{run.path}: a file; choose a new folder for the run")
        missing = [folder for folder in (run.path, *run.path.parents) if not folder.exists()]
        try:
            run.path.mkdir(parents=True, exist_ok=True)
            present = [] if path is None else [entry.name for entry in run.path.iterdir()]
        except OSError as error:
            raise UserError(
                f"{run.path}: this folder cannot be made here ({reason(error)}); choose another one with --run DIR"
            ) from error
        finally:
            for folder in missing:
                with contextlib.suppress(OSError):
                    folder.rmdir()
        if run.config_file.name in present:
            raise UserError(
                f"{run.path}: holds a run already; continue it with `--resume {quote(str(run.path))}`, or choose "
                "another folder"
            )
        if any(name != LOCK for name in present):
            raise UserError(f"{run.path}: not empty; choose a new folder for the run")

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


def _make_dated(runs: Path, preset: str) -> Path:
    runs.mkdir(parents=True, exist_ok=True)
    name = f"{preset}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder, number = runs / name, 1
    while True:
        try:
            folder.mkdir()  # fails if another run started in the same second
            return folder
        except FileExistsError:
            number += 1
            folder = runs / f"{name}-{number}"
