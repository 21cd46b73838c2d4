"""How every command ends: with one line for an error that the user can mend, and the exit code that a shell expects."""

import os
import sys
from collections.abc import Callable, Sequence

from common.errors import UserError

BAD_INPUT = 2  # argparse's own code for a bad command line
INTERRUPTED = 130  # 128 + SIGINT
BROKEN_PIPE = 141  # 128 + SIGPIPE


def run_command(
    main: Callable[[Sequence[str]], int | None], argv: Sequence[str] | None = None, *, interrupted: str = "interrupted"
) -> int:
    """Call `main(argv)` and return the exit code of the process.

    Bad input, and a file that cannot be read or written, become one line `error: ...` and exit code 2. With `--debug`
    in `argv` (every command's parser declares it) they keep their traceback. Any other exception is a bug, and shows.
    Ctrl-C prints `interrupted` and returns INTERRUPTED.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        code = main(argv) or 0
        sys.stdout.flush()  # here, not at exit, so that a reader who has gone is met below
        return code
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return INTERRUPTED
    except (UserError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _reader_has_gone():
            return BROKEN_PIPE
        if "--debug" in argv:
            raise
        print(f"error: {_one_line(error)}", file=sys.stderr)
        return BAD_INPUT


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def _reader_has_gone() -> bool:
    """Whether it is our own output that nobody reads any more, as in `evaluate.py | head`, and not some other pipe."""
    try:
        print(flush=True)  # not a flush alone: unbuffered output (python -u) has nothing left to flush
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains once more at exit
        return True
    return False
