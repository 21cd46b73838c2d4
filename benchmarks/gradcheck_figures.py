"""The figures of docs/gradcheck.md, from real measurements on this project's layers.

    python -m benchmarks.gradcheck_figures

Writes docs/gradcheck-steps.svg and docs/gradcheck-taylor.svg.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from checks.cases import layer_cases
from checks.mutants import mutants_by_name, planted
from common.command import run_command
from common.files import replace_text
from training.device import choose_device
from verify.analytic import analytic_gradient
from verify.case import Case
from verify.complex_step import complex_step
from verify.differences import richardson
from verify.measure import parts_of, set_directions
from verify.plot import Points, log_plot
from verify.probe import Probe

DOCS = Path(__file__).resolve().parent.parent / "docs"
LINE = np.array([-1])  # the first direction in a probe's table
LEAST = 1e-17  # an error of exactly zero has no place on a logarithmic axis


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gradcheck_figures", description=__doc__.splitlines()[0])
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.parse_args(argv)
    choose_device("auto")
    jax.config.update("jax_enable_x64", True)
    case = next(case for case in layer_cases(0) if case.name == "layer_norm")
    replace_text(DOCS / "gradcheck-steps.svg", steps_figure(case))
    replace_text(DOCS / "gradcheck-taylor.svg", taylor_figure(case))
    return 0


def probe_along_x(case: Case, *, fresh: bool = False, any_float: bool = False) -> tuple[Probe, np.ndarray]:
    """A probe whose first direction moves all of x, and that direction."""
    probe = Probe(case, np.random.default_rng(0), any_float=any_float, fresh=fresh)
    part = next(part for part in parts_of(probe) if part.name == "x")
    signs = probe.scale[part.index] * np.random.default_rng(1).choice([-1.0, 1.0], size=len(part.index))
    set_directions(probe, [part], [signs], np.random.default_rng(2))
    direction = np.zeros(probe.n)
    direction[part.index] = signs
    return probe, direction


def steps_figure(case: Case) -> str:
    """The relative error of each method against its step."""
    h = 2.0 ** -np.arange(1, 47)
    probe, _ = probe_along_x(case)
    exact = complex_step(probe, LINE, np.ones(1)).values[0]

    def curve(estimates: np.ndarray, truth: float = exact) -> Points:
        errors = np.maximum(np.abs(estimates / truth - 1), LEAST)
        return [(float(a), float(b)) for a, b in zip(h, errors, strict=True)]

    d = probe.differences(LINE, np.concatenate([h, -h])[None])[0]
    plus, minus = d[: len(h)], d[len(h) :]
    central = (plus - minus) / (2 * h)
    noise = np.array([1e-16])
    windows = [slice(i, min(i + 5, len(h))) for i in range(len(h))]
    extrapolated = np.array([richardson(central[None, w], h[None, w], noise)[0][0] for w in windows])
    imaginary = np.array([probe.complex_steps(LINE, np.array([step]))[0] for step in h])

    single = replace(case, tensors={name: np.asarray(a, np.float32) for name, a in case.tensors.items()})
    rough, _ = probe_along_x(single, any_float=True)
    rough.w = probe.w
    e = rough.differences(LINE, np.concatenate([h, -h])[None])[0]
    central32 = (e[: len(h)] - e[len(h) :]) / (2 * h)
    return log_plot(
        [
            ("forward differences", curve(plus / h)),
            ("central differences", curve(central)),
            ("Richardson, 5 steps from h on", curve(extrapolated)),
            ("complex step", curve(imaginary)),
            ("central differences in float32", curve(central32)),
        ],
        title="Layer norm: error of the derivative along a random direction",
        x="step h (share of the typical size of x), shrinking to the right",
        y="relative error",
        width=760,
        height=430,
        legend="bottom right",
    )


def taylor_figure(case: Case) -> str:
    """The remainder of the Taylor test for the right gradient and for two wrong ones."""
    h = 2.0 ** -np.arange(3, 27)
    probe, direction = probe_along_x(case)
    differences = probe.differences(LINE, h[None])[0]

    def remainders(gradient: np.ndarray) -> Points:
        return [(float(a), float(abs(b - a * (gradient @ direction)))) for a, b in zip(h, differences, strict=True)]

    right = analytic_gradient(probe).values
    mutant = mutants_by_name()["model/layers/layer_norm.py", "the term through the mean is dropped"]
    with planted(mutant):
        dropped = analytic_gradient(probe_along_x(case, fresh=True)[0]).values
    return log_plot(
        [
            ("the gradient: falls with h^2", remainders(right)),
            ("the gradient times 1.001", remainders(1.001 * right)),
            ("the term through the mean dropped: falls with h", remainders(dropped)),
        ],
        title="Layer norm: what a gradient leaves over, |f(x + hv) - f(x) - h <g, v>|",
        x="step h, shrinking to the right",
        y="remainder",
        width=760,
        height=400,
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
