"""What the commands share: how they begin, with a preset and options, and how they end.

They end with one line for an error that the user can mend, and with the exit code that a shell expects.
"""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

from data.errors import DataError
from training.config import describe_options, preset_names
from training.device import CHOICES
from training.errors import UserError

BAD_INPUT = 2  # argparse's own code for a bad command line
INTERRUPTED = 130  # 128 + SIGINT
BROKEN_PIPE = 141  # 128 + SIGPIPE


def run_command(main: Callable[[Sequence[str]], int | None], argv: Sequence[str] | None = None) -> int:
    """Call `main(argv)` and return the exit code of the process.

    Bad input, and a file that cannot be read or written, become one line `error: ...` and exit code 2. With `--debug`
    in `argv` (every command's parser declares it) they keep their traceback. Any other exception is a bug, and shows.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        code = main(argv) or 0
        sys.stdout.flush()  # here, not at exit, so that a reader who has gone is met below
        return code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except (UserError, DataError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _reader_has_gone():
            return BROKEN_PIPE
        if "--debug" in argv:
            raise
        print(f"error: {_one_line(error)}", file=sys.stderr)
        return BAD_INPUT


def preset_parser(prog: str, description: str, default: str) -> argparse.ArgumentParser:
    """A parser of `PRESET section.key=value ...`, as `arguments`, and of --device and --debug, with their help.

    `default` says what is done without a PRESET.
    """
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=f"presets: {', '.join(preset_names())}\n\noptions (section.key=default):\n{describe_options()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "arguments",
        nargs="*",
        metavar="PRESET or section.key=value",
        help=f"a section of configs.yml (default: {default}), then options that override it",
    )
    parser.add_argument("--device", choices=CHOICES, default="auto", help="where to compute (default: %(default)s)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


@contextlib.contextmanager
def leaving_at_once(message: str) -> Iterator[None]:
    """Ctrl-C within the block ends the process there and then, with this message and the code INTERRUPTED.

    For work in threads that cannot be interrupted, such as compiling: Python would wait for them to end, and a second
    Ctrl-C while it waits makes it abort. Nothing is cleaned up, so there must be no half-written file.
    """

    def leave(number: int | None = None, frame: FrameType | None = None) -> None:
        with contextlib.suppress(OSError, RuntimeError):  # the signal may have come while print was writing
            sys.stdout.flush()
        with contextlib.suppress(OSError):
            os.write(2, f"{message}\n".encode())
        os._exit(INTERRUPTED)

    previous = signal.signal(signal.SIGINT, leave)
    try:
        yield
    except KeyboardInterrupt:  # of a handler that took the place of this one
        leave()
    finally:
        signal.signal(signal.SIGINT, previous)


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
