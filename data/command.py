"""How the commands of this package end: one line for an error that the user can mend, and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable

from data.errors import DataError

BAD_INPUT = 2  # argparse's own code for a bad command line
INTERRUPTED = 130  # 128 + SIGINT


def run_command(main: Callable[[list[str]], None]) -> int:
    """Call `main` with the arguments of the command line and return the exit code of the process."""
    try:
        main(sys.argv[1:])
    except DataError as error:
        if "--debug" in sys.argv:  # every parser of this package declares it
            raise
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command to go on", file=sys.stderr)
        return INTERRUPTED
    return 0
