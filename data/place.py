"""Where the files of a data set are expected, and what a message says where they are not there."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import NamedTuple

from common.errors import DataError


class Place(NamedTuple):
    """A data set that consists of a few files, as messages name it."""

    name: str  # of data.name
    title: str
    folder: str  # its usual name
    file: str  # one of its files, by which the folder is recognised
    is_archive: bool  # downloaded as one archive, which does not replace single files of a folder

    def command(self, root: Path) -> str:
        """The command that downloads the data set to the folder `root`, or to the usual one."""
        target = root.parent if root.name == self.folder else "datasets"
        return f"python -m data.download {self.name} --to {quote(str(target))}"

    def again(self, root: Path) -> str:
        """What to do about a damaged file in the folder `root`."""
        if root.name != self.folder:  # where the command downloads nothing to
            return f"Replace it, or download the data set to datasets/{self.folder} and use that: {self.command(root)}"
        what = "Move the data set away" if self.is_archive else "Remove the file"
        return f"{what} and download it again: {self.command(root)}"

    def missing(self, path: Path, also: str = "") -> DataError:
        """The error for a file that is not there; `also`: what has been looked for besides."""
        return DataError(f"{path}: missing{also}; the data set is incomplete. To get it: {self.command(path.parent)}")

    def require(self, root: Path) -> None:
        """Raise DataError unless the folder `root` has the file, plain or with the suffix .gz."""
        if self._is_at(root):
            return
        if root.exists() and not root.is_dir():
            raise DataError(f"{root}: a file, where the folder of a data set is expected.")
        found = {file.parent for level in ("*", "*/*") for file in root.glob(f"{level}/{self.file}*")}
        deeper = sorted(filter(self._is_at, found), key=lambda folder: (folder.name != self.folder, str(folder)))
        if deeper:
            raise DataError(f"{root}: the data set is deeper in this folder; use {deeper[0]}.")
        problem = f"no {self.file} here, so this is not {self.title}" if root.is_dir() else "no such folder"
        raise DataError(f"{root}: {problem}. To get {self.title}: {self.command(root)}")

    def _is_at(self, folder: Path) -> bool:
        return any((folder / name).is_file() for name in (self.file, f"{self.file}.gz"))
