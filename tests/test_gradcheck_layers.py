"""The checker on the engine itself, and on gradients that are known to be wrong."""

import jax.numpy as jnp
import numpy as np
import pytest

from checks.cases import layer_cases, loss_cases
from checks.definitions import definition_results
from model.layers.dense import Dense
from model.layers.layer_norm import LayerNorm
from verify import check, check_case, check_layer

pytestmark = pytest.mark.usefixtures("float64")

SLOW = ("encoder", "composite", "attention")  # tests/test_gradcheck_command.py runs all


@pytest.mark.parametrize("case", [c for c in layer_cases(0) if not c.name.startswith(SLOW)], ids=lambda case: case.name)
def test_every_layer_passes_to_the_last_digits(case):
    result = check_case(case, seed=0)
    assert result.passed, str(result)
    for tensor in result.tensors:
        for method in tensor.methods:
            if method.worst is not None:
                limit = {"complex step": 1e-12, "differences": 1e-9}.get(method.method, 1e-10)
                assert method.worst < limit, (tensor.name, method)


@pytest.mark.parametrize("case", list(loss_cases(3)), ids=lambda case: case.name)
def test_loss_passes(case):
    assert check_case(case, seed=3).passed


def test_adamw_and_clipping_match_their_definitions():
    assert all(result.passed for result in definition_results(1))


def test_check_layer_is_usable_alone():
    assert check_layer(LayerNorm(5), (2, 3, 5)).passed
    assert check_layer(Dense(3, 4, bias=False), (6, 3), seed=9).passed


def test_check_takes_any_function_and_a_tree():
    x = {"a": np.linspace(0.1, 1, 4), "b": np.array([[2.0, 3.0]])}

    def f(x):
        return jnp.sin(x["a"]) * x["b"].sum()

    def right(x, dy):
        return {"a": dy * jnp.cos(x["a"]) * x["b"].sum(), "b": jnp.full((1, 2), (dy * jnp.sin(x["a"])).sum())}

    assert check(f, x, right).passed
    wrong = check(f, x, lambda x, dy: {**right(x, dy), "b": -right(x, dy)["b"]})
    assert [tensor.name for tensor in wrong.wrong] == ["b"]
    assert wrong.wrong[0].diagnosis == "sign flipped"
