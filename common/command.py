"""Running a command: one line per error that the user can fix, and the exit codes that a shell expects."""

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

    UserError and OSError are printed as one line `error: ...`, with exit code BAD_INPUT. With `--debug` in `argv` (the
    parser of every command declares it) they are raised, with their traceback. Any other exception is a bug and is
    always raised. Ctrl-C prints `interrupted` and returns INTERRUPTED.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        code = main(argv) or 0
        sys.stdout.flush()  # here rather than at exit, so that a closed pipe is handled below
        return code
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return INTERRUPTED
    except (UserError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _stdout_is_closed():
            return BROKEN_PIPE
        if "--debug" in argv:
            raise
        print(f"error: {one_line(error)}", file=sys.stderr)
        return BAD_INPUT


def one_line(error: Exception) -> str:
    """An error that the user can fix, as it is printed behind `error: `."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def _stdout_is_closed() -> bool:
    """Whether the broken pipe is the standard output, as in `evaluate.py | head`."""
    try:
        print(flush=True)  # a flush alone would not do: unbuffered output (python -u) has nothing to flush
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # otherwise Python prints another error at exit
        return True
    return False
