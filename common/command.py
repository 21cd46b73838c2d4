"""Running a command: one line per error that the user can fix, and the exit codes that a shell expects."""

import contextlib
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

from common.errors import UserError
from common.streams import ERROR, OUTPUT, safe_streams

BAD_INPUT = 2  # argparse's own code for a bad command line
INTERRUPTED = 130  # 128 + SIGINT
BROKEN_PIPE = 141  # 128 + SIGPIPE
CONTROLS = {*map(chr, range(32)), "\x7f", "\x85", "\u2028", "\u2029"}


def run_command(
    main: Callable[[Sequence[str]], int | None], argv: Sequence[str] | None = None, *, interrupted: str = "interrupted"
) -> int:
    """Call `main(argv)` and return the exit code of the process.

    UserError and OSError are printed as one line `error: ...`, with exit code BAD_INPUT. With `--debug` in `argv` (the
    parser of every command declares it) they are raised, with their traceback. Any other exception is a bug and is
    always raised. Ctrl-C prints `interrupted` and returns INTERRUPTED. Whatever is printed goes through `safe_streams`.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    with safe_streams():
        try:
            with _interruptible():
                code = main(argv) or 0
            sys.stdout.flush()  # here rather than at exit, so that a closed pipe is handled below
            return code
        except KeyboardInterrupt:
            _say(interrupted)
            return INTERRUPTED
        except (UserError, OSError) as error:
            if isinstance(error, BrokenPipeError) and error.filename in (OUTPUT, ERROR):  # as in `evaluate.py | head`
                return BROKEN_PIPE
            if "--debug" in argv:
                raise
            _say(f"error: {one_line(error)}")
            return BAD_INPUT


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Within the block, Ctrl-C raises KeyboardInterrupt. Before and after it, it ends a command at once, by what
    vit_environment has set; where Ctrl-C is ignored, it stays so."""
    before = signal.getsignal(signal.SIGINT)
    if before in (signal.SIG_IGN, signal.default_int_handler) or not _in_main_thread():
        yield
        return
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _say(message: str) -> None:
    with contextlib.suppress(OSError):  # nobody listens; the exit code tells
        print(message, file=sys.stderr)


def one_line(error: Exception) -> str:
    """An error that the user can fix, as it is printed behind `error: `."""
    if isinstance(error, OSError) and error.filename is not None:
        return in_one_line(f"{error.filename}: {error.strerror}")
    return in_one_line(str(error)) or type(error).__name__


def in_one_line(text: str) -> str:
    """Text in one line: indented lines follow each other, and any other line feed, as in a name of a file, and what
    is not seen either is escaped."""
    joined = re.sub(r"\n +", " ", text.strip("\n"))
    return "".join(repr(letter)[1:-1] if letter in CONTROLS else letter for letter in joined)
