"""A gradient checker: is a hand-derived gradient right and, if not, where is it wrong, and what kind of mistake is it?

    from verify import check, check_layer

    print(check(f, x, analytic))                            # any function, and a gradient derived for it
    assert check_layer(LayerNorm(12), (3, 9, 12)).passed    # any object with init, forward and backward

The package knows no model. This project's own checks are in `checks/`, its command is `gradcheck.py`.
docs/gradcheck.md explains the methods.
"""

from verify.case import Case
from verify.check import check_case
from verify.entry import check, check_layer
from verify.errors import CheckError, PrecisionError
from verify.layer import Layer
from verify.measure import Plan
from verify.results import CaseResult, MethodResult, TensorResult

__all__ = [
    "Case", "CaseResult", "CheckError", "Layer", "MethodResult", "Plan", "PrecisionError", "TensorResult", "check",
    "check_case", "check_layer",
]  # fmt: skip
