"""`python gradcheck.py PRESET`: a sample of coordinates of a model at its real size, by layers and end to end."""

from collections.abc import Iterator
from dataclasses import replace

from checks.commands.invocation import Invocation
from checks.compiled import MOST_IMAGES, compiled_results, microbatch, pieces
from checks.full_size import Point, full_size_layer_cases, stage_cases
from checks.mae_cases import mae_case
from checks.precision import compare_precisions, precision_lines
from model.mae import MAE
from model.masked_squared_error import MaskedSquaredError
from verify.case import Case
from verify.measure import Plan
from verify.results import COMPLEX, CaseResult


def run(call: Invocation) -> int:
    assert call.point is not None
    assert call.point.config is not None
    results = call.print_each(_results(call, call.point))
    if not call.args.only and not call.point.config.autoencoder:
        call.report.precision = compare_precisions(call.point)
        print("\n" + "\n".join(precision_lines(call.report.precision, every=False)))
    return call.conclude(results)


def _results(call: Invocation, point: Point) -> Iterator[CaseResult]:
    assert point.config is not None
    curves = 12 if call.args.html else 0
    # One coordinate of many changes the output little, and rounding weighs the more: begin with large steps.
    layers = Plan(call.args.coordinates, levels=8, first=-2, curves=curves)
    stages = Plan(call.args.coordinates, levels=8, first=-6, curves=curves)
    autoencoder = point.config.autoencoder
    if autoencoder:
        # Each coordinate costs a forward pass of all of it, so one method has to do: the most exact one.
        exact = Plan(call.args.coordinates, methods=(COMPLEX,), curves=curves)
        yield from call.check_in_parallel(call.selected(_autoencoder(call, point, autoencoder)), exact)
    else:
        for cases, plan in ((full_size_layer_cases(point), layers), (stage_cases(point), stages)):
            yield from call.check_in_parallel(call.selected(cases), plan)
    images = max(call.args.batch, microbatch(point.config, MOST_IMAGES))
    chosen = call.selected(pieces(point.config, call.args.seed, images))
    yield from compiled_results(chosen, call.args.seed, regions=True)


def _autoencoder(call: Invocation, point: Point, autoencoder: MAE) -> Iterator[Case]:
    """A masked autoencoder at its real size, end to end. If the model has dropout, it acts."""
    assert point.config is not None
    model = replace(autoencoder, vit=point.model)  # in full precision
    loss = MaskedSquaredError(point.config.mae.normalize_patches)
    name = f"{point.config.preset}, images to the loss"
    yield mae_case(name, model, loss, call.args.seed, train=point.key is not None, batch=call.args.batch)
