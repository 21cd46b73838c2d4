"""`python gradcheck.py PRESET`: a sample of coordinates of a model at its real size, by layers and end to end."""

from collections.abc import Iterator

from checks.commands.invocation import Invocation
from checks.compiled import compiled_results, microbatch, pieces
from checks.full_size import Point, full_size_layer_cases, stage_cases
from checks.precision import compare_precisions, precision_lines
from verify.measure import Plan
from verify.results import CaseResult


def run(call: Invocation) -> int:
    assert call.point is not None
    results = call.print_each(_results(call, call.point))
    if not call.args.only:
        call.report.precision = compare_precisions(call.point)
        print("\n" + "\n".join(precision_lines(call.report.precision, every=False)))
    return call.conclude(results)


def _results(call: Invocation, point: Point) -> Iterator[CaseResult]:
    curves = 12 if call.args.html else 0
    # One coordinate of many changes the output little, and rounding weighs the more: begin with large steps.
    layers = Plan(call.args.coordinates, levels=8, first=-2, curves=curves)
    stages = Plan(call.args.coordinates, levels=8, first=-6, curves=curves)
    for cases, plan in ((full_size_layer_cases(point), layers), (stage_cases(point), stages)):
        yield from call.check_in_parallel(call.selected(cases), plan)
    assert point.config is not None
    images = max(call.args.batch, microbatch(point.config))
    chosen = call.selected(pieces(point.config, call.args.seed, images))
    yield from compiled_results(chosen, call.args.seed, regions=True)
