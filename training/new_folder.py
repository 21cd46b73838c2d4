"""Making the folder of a run, or of a sweep, so that a process that is stopped on the way leaves none that is stuck.

A folder that was not there has its files (`config.yml` of a run, `sweep.yml` of a sweep) as soon as it has its name: it
is filled under another name and then renamed. A folder that is there is used if it is empty, or holds only what we
write before them: the beginnings of a run that was stopped. Whatever else it holds is somebody's, and stays.
"""

import contextlib
import re
import shlex
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from common.documents import parse_json, read_text
from common.errors import DamagedError, UserError
from common.files import PARTIAL, LockedError, is_partial, locked, partial_folder, reason, replace_text

LOCK, CONFIG, CLASSES, LOG = ".lock", "config.yml", "classes.json", "log.txt"
LOGGED = re.compile(r"[-\d]+ [:\d]+  python train\.py(?= |\n|$)")
"""How the log of a run begins. Behind it are the arguments."""


def make_folder(folder: Path, files: Mapping[str, str]) -> None:
    """Make `folder` with `files`, texts by their names. Under a lock if it is there.

    Raises:
        UserError: as `require_new`; or another process is at it.
        OSError: a file cannot be written.
    """
    require_new(folder, files)
    if not folder.exists():
        with contextlib.suppress(FileExistsError):  # another process made it meanwhile
            _make_at_once(folder, files)
            return
    if not files:
        return
    try:
        with locked(folder / LOCK, wait=False):
            require_new(folder, files)
            for name, text in files.items():
                replace_text(folder / name, text)
    except LockedError as error:
        raise UserError(
            f"{folder}: process {error.holder or 'unknown'} is beginning a run here; choose another folder"
        ) from None


def make_dated_folder(parent: Path, name: str, files: Mapping[str, str]) -> Path:
    """Make `parent/<name>-<date>-<time>`, which no other process makes too, with `files`.

    Raises:
        OSError: a file cannot be written.
    """
    _remove_unfinished(parent, f"{name}-")
    dated, number = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}", 1
    folder = parent / dated
    while True:
        try:
            if not folder.exists():
                _make_at_once(folder, files)
                return folder
        except FileExistsError:  # another run started in the same second
            pass
        number += 1
        folder = parent / f"{dated}-{number}"


def _make_at_once(folder: Path, files: Mapping[str, str]) -> None:
    """Make a folder that has its files from the first moment on. Raises FileExistsError if it is there."""
    if not files:
        folder.mkdir(parents=True)
        return
    _remove_unfinished(folder.parent, folder.name)
    with partial_folder(folder) as partial, locked(partial / LOCK, wait=False):
        for name, text in files.items():
            replace_text(partial / name, text)
        try:
            partial.rename(folder)  # this replaces an empty folder, and no other
        except OSError as error:
            if folder.exists():
                raise FileExistsError(error.errno, error.strerror, str(folder)) from error
            raise


def _remove_unfinished(parent: Path, name: str) -> None:
    """Remove the unfinished folders of killed processes whose names begin with `name`: those that nobody has locked."""
    for folder in parent.iterdir() if parent.is_dir() else ():
        if folder.name.startswith(name) and PARTIAL in folder.name[len(name) :]:
            with contextlib.suppress(OSError, LockedError), locked(folder / LOCK, wait=False) as supported:
                if supported:
                    shutil.rmtree(folder)


def require_new(folder: Path, files: Mapping[str, str] | None = None) -> None:
    """Check that a run can begin in `folder`. Nothing is left behind, so it can be asked before long work.

    Raises:
        UserError: it holds something else than beginnings, or is a file, or cannot be made.
    """
    present = _names_in(folder)
    if CONFIG in present:
        raise UserError(
            f"{folder}: holds a run already; continue it with `--resume {quote(str(folder))}`, or choose another folder"
        )
    if not all(_is_beginning(folder / name, files or {}) for name in present):
        raise UserError(f"{folder}: not empty; choose a new folder for the run")


def require_makeable(folder: Path) -> None:
    """Raises UserError if this is a file, or a folder that cannot be made."""
    _names_in(folder)


def _names_in(folder: Path) -> list[str]:
    """What is in the folder; nothing if it does not exist, but can be made."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: a file; choose a new folder for the run")
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [entry.name for entry in folder.iterdir()]
    except OSError as error:
        raise UserError(
            f"{folder}: this folder cannot be made here ({reason(error)}); choose another one with --run DIR"
        ) from error
    finally:
        for path in missing:
            with contextlib.suppress(OSError):
                path.rmdir()


def _is_beginning(file: Path, files: Mapping[str, str]) -> bool:
    """Whether the file is from a run that was stopped before it had its options, so that nothing is lost with it.

    It is what is about to be written (`files`), or what former versions wrote before the options. A file of the user's
    that only has such a name is none.
    """
    if file.name == LOCK or any(is_partial(file.name, target) for target in (CONFIG, CLASSES, *files)):
        return True
    try:
        text = read_text(file)
        if file.name == CLASSES:
            return not text or {"wnids", "names", "fingerprint"} <= parse_json(text, dict[str, Any], str(file)).keys()
        if file.name == LOG:
            return not text or LOGGED.match(text) is not None
        return text == files.get(file.name)
    except (OSError, DamagedError):
        return False


def is_stopped_before_its_options(folder: Path) -> bool:
    """Whether the folder holds the beginnings of a run, and nothing else."""
    present = list(folder.iterdir()) if folder.is_dir() else []
    return bool(present) and all(_is_beginning(file, {}) for file in present)


def logged_arguments(folder: Path) -> list[str] | None:
    """The arguments of train.py with which the run in `folder` began, as its log has them; None: it has none."""
    try:
        line = (folder / LOG).read_text(encoding="utf-8").partition("\n")[0]
        found = LOGGED.match(line)
        return shlex.split(line[found.end() :]) if found else None
    except (OSError, ValueError):
        return None
