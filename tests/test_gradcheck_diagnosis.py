"""For each kind of mistake a gradient that has it: the checker must not only say wrong, but say what is wrong."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from verify import check
from verify.factors import name_factor

pytestmark = pytest.mark.usefixtures("float64")

B, N, D, K = 3, 5, 6, 7
RNG = np.random.default_rng(0)
POINT = {
    "x": RNG.normal(size=(B, N, D)),
    "W": RNG.normal(size=(D, D)),
    "b": RNG.normal(size=D),
    "token": RNG.normal(size=D),
    "gamma": 1 + 0.3 * RNG.normal(size=D),
}
SIZES = {"B": B, "N": N, "D": D, "K": K}


def f(t):
    """A dense layer, a gain, a skip connection, and a vector that is added to the first token of each image."""
    y = (t["x"] @ t["W"] + t["b"]) * t["gamma"] + t["x"]
    return y.at[:, 0].add(t["token"])


def gradient(t, dy):
    dz = dy * t["gamma"]
    return {
        "x": dz @ t["W"].T + dy,
        "W": jnp.einsum("bni,bnj->ij", t["x"], dz),
        "b": dz.sum((0, 1)),
        "token": dy[:, 0].sum(0),
        "gamma": (dy * (t["x"] @ t["W"] + t["b"])).sum((0, 1)),
    }


def spoiled(name, change, t, dy):
    right = gradient(t, dy)
    return right | {name: change(right[name], t, dy)}


MISTAKES = {
    "sign": ("W", lambda g, t, dy: -g, "sign flipped"),
    "factor 2": ("b", lambda g, t, dy: 2 * g, "scaled by 2"),
    "factor 1/B": ("b", lambda g, t, dy: g / B, "scaled by 1/B"),
    "factor B": ("W", lambda g, t, dy: B * g, "scaled by B"),
    "scale 1/sqrt(K)": ("W", lambda g, t, dy: g * np.sqrt(K), "scaled by sqrt(K)"),
    "sign and factor": ("W", lambda g, t, dy: -N * g, "sign flipped and scaled by N"),
    "a strange factor": ("W", lambda g, t, dy: 0.77 * g, "scaled by 0.77, which is no size of this case"),
    "a last digit": ("W", lambda g, t, dy: g * (1 + 1e-7), "nearly right, off by a share of 1e-07 everywhere"),
    "zero": ("W", lambda g, t, dy: 0 * g, "zero: this gradient was forgotten"),
    "not finite": ("W", lambda g, t, dy: g / 0, "not finite"),
    "transposed": ("W", lambda g, t, dy: g.T, "transposed: axes 0 and 1 are swapped"),
    "transposed and scaled": ("W", lambda g, t, dy: g.T / B, "axes 0 and 1 are swapped, and scaled by 1/B"),
    "laid out as the transpose": (
        "x", lambda g, t, dy: g.transpose(0, 2, 1).reshape(g.shape), "numbers are laid out as those of the transpose",
    ),
    "permuted": ("x", lambda g, t, dy: g[::-1, ::-1], "the right numbers in the wrong places"),
    "token not summed over the batch": ("token", lambda g, t, dy: dy[1, 0], "not summed: only image 1 was counted"),
    "bias of one row": ("b", lambda g, t, dy: dy[0, 0] * t["gamma"], "not summed: only the first row was counted"),
    "bias of one token": ("b", lambda g, t, dy: (dy * t["gamma"])[:, 2].sum(0), "only token 2 was counted"),
    "token summed over all tokens": ("token", lambda g, t, dy: dy.sum((0, 1)), "dy summed over axis 0 and 1: a wrong"),
    "the wrong token": ("token", lambda g, t, dy: dy[:, 3].sum(0), "this is dy of token 3 summed over the batch"),
    "gain missing": ("b", lambda g, t, dy: dy.sum((0, 1)), "factor"),
    "gain missing along an axis": ("W", lambda g, t, dy: g / t["gamma"], "axis 1: the factor gamma is missing"),
    "gain twice": ("W", lambda g, t, dy: g * t["gamma"], "axis 1: the factor gamma is there once too often"),
    "branch forgotten": ("x", lambda g, t, dy: dy, "this is dy itself: the derivative through the layer is missing"),
    "skip forgotten": ("x", lambda g, t, dy: g - dy, "one term missing: dy (the other path of a residual)"),
    "a mean missing": (
        "x", lambda g, t, dy: g - g.mean(-1, keepdims=True), "one term missing or extra: it is the same all along axis",
    ),
    "the path through a variance": (
        "x", lambda g, t, dy: g + (g * t["x"]).sum(-1, keepdims=True) * (t["x"] - t["x"].mean(-1, keepdims=True)),
        "a multiple of x less its mean",
    ),
    "rank one": ("W", lambda g, t, dy: g + jnp.outer(t["b"], dy[0, 0]), "the difference is one vector times another"),
    "part of it": ("W", lambda g, t, dy: g.at[:, 2:4].multiply(1.5), "at 12 of 36 coordinates, all in [:, 2:4]"),
    "some left out": ("x", lambda g, t, dy: g.at[:, 1].set(0), "right or zero by the index along axis 1"),
    "no pattern": ("W", lambda g, t, dy: g + g * jnp.sin(3 * t["W"]), "one term missing or wrong, of"),
    "not linear": ("W", lambda g, t, dy: g + jnp.sin(3 * g), "not linear in the cotangent"),
    "without dy": ("b", lambda g, t, dy: t["b"], "not linear in the cotangent"),
    "wrong axis": ("b", lambda g, t, dy: dy.sum((1, 2)), "summed over the wrong axis: its gradient has shape (3,)"),
    "axis left": ("b", lambda g, t, dy: dy.sum(0), "an axis was not summed over: its gradient has shape (5, 6)"),
}  # fmt: skip


def test_the_gradient_without_a_mistake_passes() -> None:
    assert check(f, POINT, gradient).passed


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_mistake_is_named(mistake: str) -> None:
    name, change, diagnosis = MISTAKES[mistake]
    result = check(f, POINT, partial(spoiled, name, change), sizes=SIZES)
    assert [tensor.name for tensor in result.wrong] == [name], str(result)
    assert diagnosis in result.wrong[0].diagnosis, result.wrong[0].diagnosis


def test_a_gradient_of_nothing_should_be_zero() -> None:
    x = {"used": np.ones(3), "idle": np.ones(2)}
    result = check(lambda t: t["used"] ** 2, x, lambda t, dy: {"used": 2 * t["used"] * dy, "idle": dy[:2]})
    assert result.wrong[0].diagnosis.startswith("should be zero")


def test_a_missing_or_unknown_gradient_and_an_exception_are_wrong_not_fatal() -> None:
    def without_b(t, dy):
        return {name: g for name, g in gradient(t, dy).items() if name != "b"}

    result = check(f, POINT, without_b)
    assert [(t.name, t.diagnosis) for t in result.wrong] == [("b", "there is no gradient for it")]

    extra = check(f, POINT, lambda t, dy: gradient(t, dy) | {"c": dy})
    told = "there is a gradient of this name, but no such tensor"
    assert [(t.name, t.diagnosis) for t in extra.wrong] == [("c", told)]

    def broken(t, dy):
        raise ValueError("no such matrix\nmore")

    result = check(f, POINT, broken)
    assert len(result.wrong) == len(POINT)
    found = result.wrong[0].diagnosis
    assert re.fullmatch(r"the backward raises ValueError: no such matrix \(.*gradcheck_diagnosis.py, line \d+\)", found)

    single = check(f, POINT, lambda t, dy: jax.tree.map(lambda g: g.astype(jnp.float32), gradient(t, dy)))
    assert "its gradient is float32" in single.wrong[0].diagnosis


def test_factors_are_made_of_the_sizes() -> None:
    assert name_factor(1 / 15, {"B": 3, "N": 5}) == "scaled by 1/(B N)"
    assert name_factor(3 / 5, {"B": 3, "N": 5}) == "scaled by B/N"
    assert name_factor(4 / 5, {"N": 5}) == "scaled by (N - 1)/N"
    assert name_factor(-1, {}) == "sign flipped"
