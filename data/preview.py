"""`python -m data.preview` has moved: a message that names the new command."""

import sys

from common.command import run_command
from common.errors import UserError


def main(argv: object) -> int:
    raise UserError("the preview is now `python -m training.preview`, with the same arguments")


if __name__ == "__main__":
    sys.exit(run_command(main))
