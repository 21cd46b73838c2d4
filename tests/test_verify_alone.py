"""The gradient checker stands alone: it imports no part of the model, and checks layers it has never seen."""

import ast
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from verify import CheckError, Layer, check_layer

pytestmark = pytest.mark.usefixtures("float64")

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = {"verify", "common"}
PROJECT = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}


def imported(source: str) -> set[str]:
    """The modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not followed"
            found.add(node.module)
    return found


def test_the_checker_imports_nothing_that_it_checks() -> None:
    assert {"model", "data", "optim", "training", "checks"} < PROJECT
    files = sorted((ROOT / "verify").rglob("*.py"))
    assert len(files) > 10
    for file in files:
        packages = {name.partition(".")[0] for name in imported(file.read_text(encoding="utf-8"))}
        assert not packages & (PROJECT - ALLOWED), file.name


def test_imports_inside_functions_count() -> None:
    assert imported("import numpy\ndef f():\n    from model.vit import ViT\n") == {"numpy", "model.vit"}


# Layers that have nothing to do with this project.


class Swish:
    """y = x * sigmoid(rate x), with a rate for each feature, and inputs dropped in training."""

    def init(self, key: jax.Array) -> dict[str, jax.Array]:
        return {"rate": jnp.ones(5)}

    def forward(self, params, x, key=None):
        mask = 1.0 if key is None else jax.random.bernoulli(key, 0.7, x.shape) / 0.7
        x = x * mask
        gate = 1 / (1 + jnp.exp(-params["rate"] * x))
        return x * gate, (x, gate, mask)

    def backward(self, params, cache, dy):
        x, gate, mask = cache
        slope = gate * (1 - gate)
        dx = dy * (gate + params["rate"] * x * slope) * mask
        return dx, {"rate": (dy * x**2 * slope).reshape(-1, 5).sum(axis=0)}


class Mistaken(Swish):
    """The gradient of the rate is a mean over the batch, not a sum."""

    def backward(self, params, cache, dy):
        dx, grads = super().backward(params, cache, dy)
        return dx, {"rate": grads["rate"] / len(dy)}


class Bilinear:
    """y = x W x^T for each image, with parameters in a nested tuple."""

    def init(self, key: jax.Array):
        return ({"W": jax.random.normal(key, (4, 4))}, ())

    def forward(self, params, x, key=None):
        return x @ params[0]["W"] @ x.swapaxes(-1, -2), x

    def backward(self, params, cache, dy):
        x, W = cache, params[0]["W"]
        dW = jnp.einsum("bnd,bnm,bme->de", x, dy, x)
        return dy @ x @ W.T + dy.swapaxes(-1, -2) @ x @ W, ({"W": dW}, ())


@pytest.mark.parametrize("train", [False, True])
def test_any_layer_with_the_three_methods_can_be_checked(train: bool) -> None:
    layer: Layer = Swish()
    result = check_layer(layer, (2, 3, 5), train=train)
    assert result.passed, str(result)
    assert [tensor.name for tensor in result.tensors] == ["rate", "x"]
    assert result.name == "Swish"


def test_parameters_may_be_any_tree() -> None:
    result = check_layer(Bilinear(), (2, 3, 4))
    assert result.passed, str(result)
    assert [tensor.name for tensor in result.tensors] == ["0/W", "x"]


def test_a_mistake_in_it_is_found_and_named() -> None:
    result = check_layer(Mistaken(), (2, 3, 5))
    assert [tensor.name for tensor in result.wrong] == ["rate"]
    assert "scaled by 1/2 = 1/B" in result.wrong[0].diagnosis


def test_regions_are_judged_separately() -> None:
    def halves(tensors):
        return {"rate": (("left", (slice(0, 2),)), ("right", (slice(2, 5),)))}

    result = check_layer(Mistaken(), (2, 3, 5), regions=halves)
    assert [tensor.name for tensor in result.tensors] == ["rate left", "rate right", "x"]
    assert [tensor.name for tensor in result.wrong] == ["rate left", "rate right"]


def test_no_parameter_stays_at_its_initial_value() -> None:
    """Zeros and ones hide mistakes: here that of a backward which takes the rate for 1."""

    class TakesTheRateForOne(Swish):
        def backward(self, params, cache, dy):
            return super().backward({"rate": jnp.ones(5)}, cache, dy)

    assert np.all(Swish().init(jax.random.key(0))["rate"] == 1)
    assert [tensor.name for tensor in check_layer(TakesTheRateForOne(), (2, 3, 5)).wrong] == ["x"]


def test_a_layer_that_cannot_be_checked_is_refused() -> None:
    class Unhashable(Swish):
        __hash__ = None

    class LoneArray(Swish):
        def init(self, key):
            return jnp.ones(5)

    with pytest.raises(CheckError, match="Unhashable: the layer is not hashable"):
        check_layer(Unhashable(), (2, 3, 5))
    with pytest.raises(CheckError, match="LoneArray: x is the name of the input"):
        check_layer(LoneArray(), (2, 3, 5))
