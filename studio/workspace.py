"""The folders that the studio was given: the current one, and those named on its command line. It reads and writes
nothing that a page names outside them, whatever way a path takes."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from shlex import quote

from common.errors import UserError
from common.files import PARTIAL
from common.paths import named_path
from training.run_folder import RUNS

GIVEN = "VIT_STUDIO_FOLDERS"  # in the environment of the server: the folders besides the current one
DATASETS = Path("datasets")
JOBS = RUNS / ".studio"  # of what was asked in the studio, a folder each
LONGEST = 100  # letters of a name
FORBIDDEN = set('/\\:*?"<>|') | set(map(chr, range(32))) | {"\x7f"}
RESERVED = ("con", "prn", "aux", "nul")  # on Windows, where the folder may be read some day


def given_folders() -> list[Path]:
    """The current folder, and those that the studio was started with."""
    named = [Path(text) for text in os.environ.get(GIVEN, "").split(os.pathsep) if text]
    return [Path.cwd(), *named]


def inside(text: str | Path) -> Path:
    """The file or folder that a page names, if it lies in a folder that was given; links are followed first.

    Returns:
        The path as it was written, which a command is given.

    Raises:
        UserError: it lies elsewhere, or names nothing.
    """
    path = named_path(str(text))
    if not is_inside(path):
        raise UserError(
            f"{text}: outside the folders of the studio; `python -m studio {quote(str(path))}` starts it with this one"
        )
    return path


def is_inside(path: Path) -> bool:
    """Whether a path, with its links followed, lies in a folder that was given."""
    try:
        whole = path.resolve()
    except (OSError, RuntimeError, ValueError):  # links in a circle, before Python 3.13
        return False
    return not whole.is_symlink() and any(whole.is_relative_to(folder.resolve()) for folder in given_folders())


def link_out(folder: Path) -> Path | None:
    """The first link in a folder that leads out of the folders that were given; None if none does."""
    for path, folders, files in os.walk(folder):
        for name in (*folders, *files):
            entry = Path(path, name)
            if entry.is_symlink() and not is_inside(entry):
                return entry
    return None


def as_argument(path: Path) -> str:
    """A path as a command takes it for nothing else, such as a folder that is named `null` or `-h`."""
    return str(path) if path.is_absolute() or len(path.parts) > 1 else f"./{path}"


def plain_name(text: str, what: str = "name") -> str:
    """A name for one new file or folder, without what could lead elsewhere or hide it.

    Raises:
        UserError: it cannot be used.
    """
    name = text.strip()
    if not name or name.startswith((".", "-")) or name.endswith(".") or any(letter in FORBIDDEN for letter in name):
        raise UserError(f"{what} {text!r}: use letters, digits, spaces, - and _, and no . or - at the beginning")
    if len(name.encode()) > LONGEST or name.partition(".")[0].lower() in RESERVED or PARTIAL in name:
        raise UserError(f"{what} {text!r}: this cannot name a folder; choose another one")
    return name


def mended_name(text: str) -> str:
    """A name for a file or folder that was handed over: as it is, but for what `plain_name` refuses in it."""
    name = "".join("_" if letter in FORBIDDEN else letter for letter in text).strip()
    stem, dot, end = name.rpartition(".")
    if not dot:
        stem, end = name, ""
    while len(f"{stem}{dot}{end}".encode()) > LONGEST and stem:
        stem = stem[:-1]
    name = f"{stem}{dot}{end}".rstrip(".")
    return plain_name(f"_{name}" if name.startswith((".", "-")) or stem.lower() in RESERVED else name)


def image_folders() -> Iterator[Path]:
    """Folders that may be image folders: those in datasets/, and in other given folders these and what is in them."""
    roots = [DATASETS, *given_folders()[1:]]
    for root in roots:
        if root != DATASETS and _has_classes(root):
            yield root
        try:
            entries = sorted(root.iterdir()) if root.is_dir() else []
        except OSError:
            continue
        yield from (entry for entry in entries if _is_shown(entry) and _has_classes(entry) and is_inside(entry))


def _has_classes(folder: Path) -> bool:
    """Whether there are folders in it, which may be classes. Tiny ImageNet, and shapes like it, are data sets of their
    own."""
    try:
        shown = (entry for entry in folder.iterdir() if _is_shown(entry)) if folder.is_dir() else iter(())
        return len(list(islice(shown, 2))) > 1 and not (folder / "wnids.txt").exists()
    except OSError:
        return False


def _is_shown(path: Path) -> bool:
    return not path.name.startswith(".") and PARTIAL not in path.name and path.is_dir()
