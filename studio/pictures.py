"""Pictures that are handed over in the browser: checked, and written under plain names into a folder of their own."""

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

from common.errors import DataError, UserError
from common.files import locked, partial_folder
from common.text import counted, first_of
from data.folder_scan import scan_folder
from data.pictures import suffixes
from studio.workspace import DATASETS, mended_name, plain_name

MOST_ASKED = 8  # pictures in one question: as many as predict.py draws
MOST_BYTES = 20 * 2**20  # of a picture
MOST_OF_FOLDER = 2 * 2**30  # bytes of all pictures of a folder
MOST_PICTURES = 50_000  # of a folder
LOCK = ".studio.lock"
LEFT_BEHIND = ("__macosx", "thumbs.db", "desktop.ini")  # by other programs


class Handed(Protocol):
    """A file as the browser hands it over; `name` may be a path in a folder."""

    name: str
    size: int

    def getbuffer(self) -> memoryview: ...


class Sorted(NamedTuple):
    """The pictures of a folder by their paths in it, and what was left out."""

    pictures: dict[PurePosixPath, Handed]
    left_out: list[str]


def endings() -> list[str]:
    """The ends of the names of pictures that can be read, without the dot."""
    return sorted(suffix.removeprefix(".") for suffix in suffixes())


def keep_asked(pictures: Sequence[Handed], folder: Path) -> list[Path]:
    """Write the pictures of a question as `1-cat.jpg` and so on.

    Raises:
        UserError: there are too many, or one is too large or no picture.
        OSError: one cannot be written.
    """
    if len(pictures) > MOST_ASKED:
        raise UserError(f"{len(pictures)} pictures: at most {MOST_ASKED} at once")
    for picture in pictures:
        require_picture(picture)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, picture in enumerate(pictures, 1):
        own = PurePosixPath(picture.name.replace("\\", "/"))
        stem = "".join(c if c.isalnum() or c in "-_" else "_" for c in own.stem)[:40]
        paths.append(folder / f"{number}-{stem}{own.suffix.lower()}")
        _write(paths[-1], picture)
    return paths


def require_picture(picture: Handed) -> None:
    """Raises UserError if a file is too large, or its name is not that of a picture."""
    if picture.size > MOST_BYTES:
        raise UserError(
            f"{picture.name}: {picture.size / 2**20:.0f} MB; at most {MOST_BYTES / 2**20:.0f} MB for a picture"
        )
    if PurePosixPath(picture.name).suffix.lower() not in suffixes():
        raise UserError(f"{picture.name}: not the name of a picture that can be read, such as .jpg or .png")


def sort_folder(files: Iterable[Handed]) -> Sorted:
    """The pictures of a folder that was handed over, with one folder for each class.

    Names are kept, without the outermost folder, which holds them all, and without what cannot be in a name. Pictures
    beside the folders of the classes are left out.

    Raises:
        UserError: a path leads out of the folder, two files would have the same name, or there is too much of it.
    """
    found: dict[PurePosixPath, Handed] = {}
    left_out: list[str] = []
    for file in files:
        path = PurePosixPath(file.name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            raise UserError(f"{file.name}: this leads out of the folder")
        if any(part.startswith(".") or part.lower() in LEFT_BEHIND for part in path.parts):
            continue
        if path.suffix.lower() not in suffixes() or file.size > MOST_BYTES:
            left_out.append(file.name)
            continue
        kept = PurePosixPath(*map(mended_name, path.parts))
        if kept in found:
            raise UserError(f"{file.name}: another file would have the same name here; give it another one")
        found[kept] = file
    while len({path.parts[0] for path in found if len(path.parts) > 1}) == 1 and any(len(p.parts) > 2 for p in found):
        left_out += [file.name for path, file in found.items() if len(path.parts) <= 2]  # beside the classes
        found = {PurePosixPath(*path.parts[1:]): file for path, file in found.items() if len(path.parts) > 2}
    left_out += [file.name for path, file in found.items() if len(path.parts) == 1]
    found = {path: file for path, file in found.items() if len(path.parts) > 1}
    if len(found) > MOST_PICTURES or sum(file.size for file in found.values()) > MOST_OF_FOLDER:
        raise UserError(
            f"{counted(len(found), 'picture')}: at most {MOST_PICTURES:,} and {MOST_OF_FOLDER // 2**30} GB at once; "
            "copy the folder into datasets/ by hand"
        )
    return Sorted(found, left_out)


def outermost(files: Sequence[Handed]) -> str:
    """The name of the folder that was handed over."""
    return mended_name(PurePosixPath(files[0].name.replace("\\", "/")).parts[0])


def keep_folder(name: str, sorted_files: Sorted) -> Path:
    """Write the pictures as `datasets/NAME`, which is there with all of them or not at all.

    Raises:
        UserError: there is such a folder, or this one has no two classes.
        OSError: it cannot be written.
    """
    folder = DATASETS / plain_name(name)
    if folder.exists():
        raise UserError(f"{folder}: there is one already; choose another name")
    DATASETS.mkdir(exist_ok=True)
    with locked(DATASETS / LOCK), partial_folder(folder) as partial:
        for path, picture in sorted_files.pictures.items():
            target = partial / path
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(target, picture)
        if _classes(partial) < 2:
            raise UserError("hand over a folder that has a folder for each class, two at least, with pictures in each")
        partial.rename(folder)
    return folder


def _classes(folder: Path) -> int:
    """How many classes a training would find."""
    try:
        return len(scan_folder(folder).train)
    except DataError:
        return 0


def _write(path: Path, picture: Handed) -> None:
    with open(path, "wb") as file:
        file.write(picture.getbuffer())


def left_out_note(names: Sequence[str]) -> str:
    return f"{counted(len(names), 'file')} left out, which are no pictures or too large: {first_of(names, 3)}"
