"""What `pip install .` calls (pyproject.toml names it): one clear sentence instead of a wheel that would not be usable.

An installed copy would put packages named `data`, `model` and `common` beside those of everybody else.
"""

import sys
from typing import NoReturn

MESSAGE = """This project runs from its checkout and is not installed.
To run it:     pip install -r requirements.txt, then python train.py demo
To import it:  put the checkout on PYTHONPATH, see docs/library.md"""


def build_wheel(*_: object, **__: object) -> NoReturn:
    """End with MESSAGE, which pip shows. The hooks of an editable install and of an archive do the same."""
    sys.exit(MESSAGE)


build_editable = build_sdist = get_requires_for_build_wheel = build_wheel
get_requires_for_build_editable = get_requires_for_build_sdist = build_wheel
