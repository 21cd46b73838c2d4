"""The reader's folder. It is not tracked, so an update of the project never meets what was written in it.

The files of `exercises/` are stubs, which `start` copies. Until 2026-11 the reader wrote in these files themselves;
`bring_over` moves such work, with the progress and the backups that lay beside it.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from common.files import replace_text, replacing
from exercises.machinery.answers import load_answer
from exercises.machinery.progress import NAME as PROGRESS

STUBS = Path(__file__).resolve().parent.parent
FOLDER = STUBS.parent / "my_exercises"


def start(folder: Path, names: Iterable[str]) -> list[str]:
    """Copy the stubs of these exercises to `folder`, except where there is a file already. Returns lines to print."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for name in names:
        path = folder / f"{name}.py"
        if path.exists():
            lines.append(f"{path} is there already")
        else:
            replace_text(path, load_answer(name).stub)
            lines.append(f"{path} is yours to write in")
    return lines


def reset(folder: Path, name: str) -> list[str]:
    """Write the stub again. The reader's version is kept under the first free name. Returns lines to print."""
    folder.mkdir(parents=True, exist_ok=True)
    path, lines = folder / f"{name}.py", []
    if path.exists():
        if not _is_written_in(path, name):
            return [f"{path} is unchanged"]
        backup = _free_backup(path)
        path.rename(backup)
        lines.append(f"your version is kept in {backup}")
    replace_text(path, load_answer(name).stub)
    return [*lines, f"{path} is restored"]


def earlier_work(names: Iterable[str], stubs: Path = STUBS) -> list[Path]:
    """The files of `exercises/` that the reader wrote in, as was usual before there was a folder for it."""
    return [path for name in names if (path := stubs / f"{name}.py").exists() and _is_written_in(path, name)]


def bring_over(folder: Path, names: Iterable[str], stubs: Path = STUBS) -> list[str]:
    """Move the work of `earlier_work` to `folder` and restore the stubs. Nothing is overwritten.

    Returns:
        A line for each file that was moved.
    """
    work = earlier_work(names, stubs)
    if not work:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for path in work:
        target = folder / path.name
        if target.exists() and _is_written_in(target, path.stem):
            target = _free_backup(target)
        # The copy comes first: whatever happens in between, the work is in at least one of the two places.
        with replacing(target) as file:
            file.write(path.read_bytes())
        replace_text(path, load_answer(path.stem).stub)
        lines.append(f"your {path.name} is now in {target}")
    for path in stubs.glob("*.bak"):
        name = path.name.partition(".")[0]
        os.replace(path, _free_backup(folder / f"{name}.py"))
    progress = stubs / PROGRESS
    if progress.exists() and not (folder / PROGRESS).exists():
        os.replace(progress, folder / PROGRESS)
    return lines


def _is_written_in(path: Path, name: str) -> bool:
    """Whether a file differs from the stub in more than the ends of its lines."""
    return path.read_text(encoding="utf-8", errors="surrogateescape") != load_answer(name).stub


def _free_backup(path: Path) -> Path:
    return next(p for i in range(1, 10**6) if not (p := path.with_name(f"{path.stem}.{i}.bak")).exists())
