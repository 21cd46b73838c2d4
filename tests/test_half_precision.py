"""bfloat16: what is rounded is a little off, what is summed is not, and nothing that is kept is rounded."""

import re
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model import walk
from model.combinators import Residual, Sequential
from model.layer import Layer
from model.layers.class_token_attention import ClassTokenAttention
from model.layers.dense import Dense
from model.layers.gelu import GELU
from model.layers.layer_norm import LayerNorm
from model.layers.layer_scale import LayerScale
from model.layers.multi_head_attention import MultiHeadAttention
from model.layers.pooling import MeanPooling
from model.layers.position_embedding import PositionEmbedding
from model.layers.softmax import Softmax
from model.loss import CrossEntropy
from model.precision import Cast, in_half_precision, mixed_precision
from model.vit import ViT
from optim.adamw import AdamW
from tests.oracle import normal, random_params
from tests.tiny_runs import ROOT
from training.objective import Classification
from training.step import TrainingStep

HALF = jnp.bfloat16
ROUNDING = 2.0**-8
B, N, D = 3, 5, 12
TOKENS = (B, N, D)

LAYERS: list[tuple[Layer, tuple[int, ...]]] = [
    (Dense(D, 7), TOKENS),
    (Dense(D, 20), TOKENS),
    (LayerNorm(D), TOKENS),
    (GELU("tanh"), TOKENS),
    (GELU("erf"), TOKENS),
    (LayerScale(D), TOKENS),
    (MultiHeadAttention(D, 3), TOKENS),
    (MultiHeadAttention(D, 3, dropout=0.3, learned_temperature=True, masked_diagonal=True), TOKENS),
    (ClassTokenAttention(D, 3, learned_temperature=True), TOKENS),
    (PositionEmbedding((1, 5), D), TOKENS),
    (MeanPooling(), TOKENS),
]

VIT = ViT(
    image_size=8, patch_size=4, d_model=16, heads=2, layers=2, mlp_dim=24, num_classes=5, layer_scale=0.5,
    learned_temperature=True, shifted_patches=True, patch_norm_before=True, dropout=0.1, head_weights="glorot",
)  # fmt: skip


def both_ways(layer: Layer, params: Any, x: jax.Array, dy_seed: int = 1) -> tuple[jax.Array, jax.Array, Any]:
    y, cache = layer.forward(params, x, jax.random.key(5))
    dy = jnp.asarray(normal(dy_seed, *y.shape), y.dtype)
    return y, *layer.backward(params, cache, dy)


def assert_near(found: Any, exact: Any, tolerance: float) -> None:
    """Each array, relative to its norm."""
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(exact), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert np.linalg.norm(a - b) <= tolerance * np.linalg.norm(b) + 1e-6, jax.tree_util.keystr(path)


@pytest.mark.parametrize(("layer", "shape"), LAYERS)
def test_a_layer_in_half_precision(layer: Layer, shape: tuple[int, ...]) -> None:
    """Activations are half, gradients of parameters are not, and both are near those of float32."""
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), random_params(layer))
    x = jnp.asarray(normal(0, *shape), HALF)
    y, dx, grads = both_ways(in_half_precision(layer), params, x)
    assert (y.dtype, dx.dtype) == (HALF, HALF)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(grads)} <= {"float32"}
    exact = both_ways(layer, params, x.astype(jnp.float32))
    assert_near((y, dx, grads), exact, 6 * ROUNDING)


def test_sums_are_not_rounded() -> None:
    """4,096 times 1: half precision alone would stay at 256."""
    rows, ones = 4096, jnp.ones((4096, 1), HALF)
    for d_in, d_out in ((2, 3), (3, 2)):
        layer = in_half_precision(Dense(d_in, d_out))
        params = layer.init(jax.random.key(0))
        x = jnp.ones((rows, d_in), HALF)
        _, cache = layer.forward(params, x)
        _, grads = layer.backward(params, cache, jnp.ones((rows, d_out), HALF))
        assert (np.asarray(grads["W"]) == rows).all()
        assert (np.asarray(grads["b"]) == rows).all()
    norm = in_half_precision(LayerNorm(1))
    _, cache = norm.forward(norm.init(jax.random.key(0)), ones)
    assert float(norm.backward(norm.init(jax.random.key(0)), cache, ones)[1]["beta"][0]) == rows
    place = in_half_precision(PositionEmbedding((1, 1), 1, class_token=True))
    many = jnp.ones((rows, 1, 1), HALF)
    _, place_cache = place.forward(place.init(jax.random.key(0)), many)
    _, grads = place.backward(place.init(jax.random.key(0)), place_cache, jnp.ones((rows, 2, 1), HALF))
    assert float(grads["class_token"][0]) == rows
    assert (np.asarray(grads["positions"]) == rows).all()


def test_statistics_are_not_rounded() -> None:
    """Of 1, 1, ..., 1 and 1 + 2^-7, neighbours in half precision, the mean lies between two numbers."""
    x = jnp.ones((1, 64), HALF).at[0, 0].set(1 + 2.0**-7)
    norm = LayerNorm(64, eps=1e-12)
    y, _ = in_half_precision(norm).forward(norm.init(jax.random.key(0)), x)
    exact, _ = norm.forward(norm.init(jax.random.key(0)), x.astype(jnp.float32))
    np.testing.assert_allclose(np.asarray(y, np.float32), exact, rtol=ROUNDING)
    assert float(exact[0, 0]) > 7


def step_with(dtype: Any) -> TrainingStep:
    return TrainingStep(
        Classification(replace(VIT, dtype=dtype), CrossEntropy(0.1)),
        AdamW(3e-3),
        (0.5,) * 3,
        (0.2,) * 3,
        max_grad_norm=1.0,
        accumulate=2,
    )


def test_a_model_in_half_precision_trains_as_the_other() -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (8, 8, 8, 3), dtype=np.uint8), rng.integers(0, 5, 8, dtype=np.int32)
    losses = {}
    for dtype in ("float32", "bfloat16"):
        step = step_with(dtype)
        run, state = jax.jit(step), step.init()
        losses[dtype] = []
        for _ in range(20):
            state, metrics = run(state, images, labels)
            losses[dtype].append(float(metrics.loss))
        assert {leaf.dtype.name for leaf in jax.tree.leaves((state, metrics))} == {"float32", "int32"}
    assert losses["bfloat16"] != losses["float32"]
    np.testing.assert_allclose(losses["bfloat16"], losses["float32"], rtol=0.05)
    assert losses["bfloat16"][-1] < 0.8 * losses["bfloat16"][0]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"layers": 0, "pooling": "mean", "class_token": False, "dropout": 0.0, "layer_scale": None,
         "learned_temperature": False},
    ],
    ids=["every layer", "no blocks"],
)  # fmt: skip
def test_gradients_of_the_model_are_near_those_of_float32(options: dict[str, Any]) -> None:
    vit = replace(VIT, **options)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), random_params(vit))
    images, labels = jnp.asarray(normal(0, 6, 8, 8, 3), jnp.float32), jnp.arange(6) % 5

    def gradient(model: ViT) -> Any:
        logits, cache = model.forward(params, images)
        assert logits.dtype == jnp.float32
        loss, loss_cache = CrossEntropy().forward(logits, labels)
        return loss, *model.backward(params, cache, CrossEntropy().backward(loss_cache))

    half = gradient(replace(vit, dtype="bfloat16"))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(half)} == {"float32"}
    assert_near(half, gradient(vit), 0.1)


def test_the_head_computes_in_full_precision() -> None:
    """Logits that differ by less than half precision can tell stay different."""
    _, (_, head) = mixed_precision(Sequential((("body", GELU()), ("head", Dense(2, 2))))).layers
    params = {"W": jnp.array([[100.0, 100.1], [0.0, 0.0]]), "b": jnp.zeros(2)}
    x = jnp.ones((1, 2), HALF)
    y, cache = head.forward(params, x)
    dx, grads = head.backward(params, cache, jnp.array([[1.0, -1.0]]))
    np.testing.assert_allclose(y, [[100.0, 100.1]], rtol=1e-6)
    assert (dx.dtype, grads["W"].dtype) == (HALF, jnp.float32)
    assert float(dx[0, 0]) == pytest.approx(-0.1, rel=2 * ROUNDING)


def test_nothing_else_is_understood() -> None:
    with pytest.raises(ValueError, match="dtype must be 'float32' or 'bfloat16', got 'float16'"):
        ViT(dtype="float16")  # type: ignore[arg-type]


def test_no_layer_knows_of_precision() -> None:
    """Types are the business of model/precision.py: layers, blocks and plumbing hold mathematics only."""
    found = {}
    words = r"\.astype\(|\bprecision\b|float(16|32)|preferred_element_type|\b(narrow|wide|wide_product)\("
    files = [*ROOT.glob("model/layers/*.py"), *(ROOT / "model" / f"{n}.py" for n in ("combinators", "encoder", "walk"))]
    assert len(files) > 12
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            if re.search(words, line.partition("#")[0]):
                found[file.name] = line
    assert found == {}


def test_every_layer_of_a_model_has_its_cast() -> None:
    """Also those inside residual branches and composites, and the softmax inside the attention."""
    leaves = dict(walk.leaves(replace(VIT, dtype="bfloat16")))
    assert len(leaves) > 20
    assert {type(layer) for layer in leaves.values()} == {Cast}
    kinds = {path: (type(cast.layer).__name__, cast.inside) for path, cast in leaves.items()}
    assert {inside for kind, inside in kinds.values() if kind in ("LayerNorm", "GELU")} == {"float32"}
    assert {inside for kind, inside in kinds.values() if kind in ("MultiHeadAttention", "LayerScale")} == {"bfloat16"}
    assert kinds["head"] == ("Dense", "float32")
    attention = leaves["encoder/block_0/attention/attention"].layer
    assert attention.softmax == Cast(Softmax(), inside="float32")
    assert [path for path, _ in walk.leaves(VIT)] == list(leaves)


def test_what_passes_by_a_residual_branch_stays_half() -> None:
    half = in_half_precision(Residual(Dense(D, D)))
    params = half.init(jax.random.key(0))
    y, cache = half.forward(params, jnp.ones(TOKENS, HALF))
    dx, grads = half.backward(params, cache, jnp.ones(TOKENS, HALF))
    assert (y.dtype, dx.dtype, grads["W"].dtype) == (HALF, HALF, jnp.float32)


def test_the_cache_takes_the_memory_of_half_precision() -> None:
    norm = in_half_precision(LayerNorm(D))
    _, cache = norm.forward(norm.init(jax.random.key(0)), jnp.ones(TOKENS, HALF))
    assert (cache.xhat.dtype, cache.rstd.dtype) == (HALF, jnp.float32)
