"""Paths that the user names: in options of a command, and in the configuration."""

import tempfile
from pathlib import Path

from common.errors import UserError


def named_path(text: str) -> Path:
    """The file or folder that `text` names; `~` and `~user` stand for a home, also where a shell left them.

    A shell does so only at the beginning of a word, and not in `--run=~/x`.

    Raises:
        UserError: the text is empty or holds a null character, or there is no such user.
    """
    if not text or "\0" in text:
        raise UserError(f"{text!r}: name a file or a folder")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UserError(f"{text}: there is no such user; for a folder of this name write ./{text}") from None


def require_writable(option: str, path: Path) -> None:
    """Raise UserError if no file can be written under this name. An existing file is not touched."""
    try:
        if not path.parent.is_dir():
            raise UserError(f"{option} {path}: there is no folder {path.parent}; make it first")
        if path.exists() and not path.is_file():
            raise UserError(f"{option} {path}: this is a {'folder' if path.is_dir() else 'device'}; name a file")
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise UserError(f"{option} {path}: it cannot be written: {error.strerror}") from error
