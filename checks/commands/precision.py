"""`python gradcheck.py --precision`: the gradient in float32 and bfloat16 against float64."""

from checks.cases import tiny_model
from checks.commands.invocation import Invocation
from checks.commands.output import show
from checks.full_size import random_point
from checks.precision import compare_precisions, precision_lines
from checks.report import precision_summary
from model.loss import CrossEntropy
from verify.results import wrapped

TINY_BATCH = 3


def run(call: Invocation) -> int:
    report, seed = call.report, call.args.seed
    point = call.point or random_point(tiny_model(), CrossEntropy(), seed, TINY_BATCH)
    report.precision = compare_precisions(point)
    print("\n".join(precision_lines(report.precision, every=True)))
    report.verdict = "compared"  # lower precision has no threshold to meet
    report.summary = precision_summary(report.precision, call.seconds, seed)
    show(["", *wrapped([report.summary])])
    return 0
