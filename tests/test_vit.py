"""The whole model: gradients end to end, shapes, precision, and what it refuses."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from checks.cases import model_cases
from model.loss import CrossEntropy
from model.vit import ViT
from tests.oracle import assert_backward_is_vjp, assert_close, normal, random_params

SMALL = {
    "image_size": (6, 8), "patch_size": (3, 2), "d_model": 12, "heads": 3, "layers": 2, "mlp_dim": 7, "num_classes": 5
}  # fmt: skip
OPTIONS = [
    {},
    {"norm": "post", "final_norm": False},
    {"pooling": "mean"},
    {"pooling": "mean", "class_token": False},
    {"positions": "sinusoidal_1d"},
    {"positions": "sinusoidal_2d", "pooling": "mean", "class_token": False},
    {"positions": "none", "qkv_bias": False},
    {"patch_norm_before": True, "patch_norm_after": True},
    {"gelu": "erf", "eps": 1e-3, "head_weights": "glorot"},
    {"dropout": 0.2, "embedding_dropout": 0.2, "attention_dropout": 0.2, "drop_path": 0.4},
    {"drop_path": 0.4, "drop_path_rule": "constant", "norm": "post"},
    {"patch_dropout": 0.5},
    {"patch_dropout": 0.7, "pooling": "mean", "attention_dropout": 0.2, "masked_diagonal": True},
    {"patch_dropout": 0.3, "pooling": "mean", "class_token": False},
    {"layer_scale": 0.1, "learned_temperature": True, "masked_diagonal": True, "drop_path": 0.4},
    {"shifted_patches": True, "patch_norm_before": True, "pooling": "mean", "masked_diagonal": True},
    {"residual": False, "dropout": 0.2},
    {"residual": False, "norm": "post", "layer_scale": 0.1},
    # Without norms, hidden values exceed 100: there the oracle, autodiff of GELU's form with tanh, is NaN.
    {"residual": False, "norm": "none", "gelu": "erf"},
    {"norm": "none", "gelu": "erf", "pooling": "mean", "drop_path": 0.4},
    {"layers": 0, "pooling": "mean", "class_token": False, "embedding_dropout": 0.2},
]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_backward_is_the_vjp_of_forward(options):
    assert_backward_is_vjp(ViT(**{**SMALL, **options}), normal(7, 2, 6, 8, 3), key=jax.random.key(5))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("labels", ["integers", "probabilities"])
def test_gradient_of_the_loss_end_to_end(labels):
    vit, loss = ViT(**SMALL), CrossEntropy(0.1)
    params, images = random_params(vit), normal(7, 3, 6, 8, 3)
    y = jnp.array([0, 4, 2]) if labels == "integers" else jax.nn.softmax(normal(8, 3, 5))

    def value(params, images):
        return loss.forward(vit.forward(params, images)[0], y)[0]

    def ours(params, images):
        logits, cache = vit.forward(params, images)
        _, loss_cache = loss.forward(logits, y)
        return vit.backward(params, cache, loss.backward(loss_cache))

    oracle = jax.jit(jax.grad(value, argnums=(1, 0)))(params, images)
    assert_close(jax.jit(ours)(params, images), oracle)


def test_the_default_is_the_published_model():
    vit = ViT()
    params = jax.eval_shape(vit.init, jax.random.key(0))
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    assert count == 6_436_296
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    logits = jax.eval_shape(lambda p, x: vit.forward(p, x)[0], params, jax.ShapeDtypeStruct((3, 64, 64, 3), "float32"))
    assert logits.shape == (3, 200)


def test_options_that_are_off_leave_the_tree_as_it_was():
    """A checkpoint from before they came is read as ever; each option that is on adds what it needs and no more."""

    def names(**options):
        params = jax.eval_shape(ViT(**SMALL, **options).init, jax.random.key(0))
        return {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)}

    plain = names(layer_scale=None, learned_temperature=False, masked_diagonal=False, shifted_patches=False)
    assert plain == names() == names(masked_diagonal=True) == names(shifted_patches=True)
    assert len(names(layer_scale=0.1) - plain) == 2 * SMALL["layers"]
    assert len(names(learned_temperature=True) - plain) == SMALL["layers"]
    with_views = jax.eval_shape(ViT(**SMALL, shifted_patches=True).init, jax.random.key(0))
    assert with_views["patch_embedding"]["project"]["W"].shape == (5 * 3 * 2 * 3, 12)


def test_without_residual_connections_the_parameters_are_the_same():
    """Of a model with norms before or in no branch; after the sum a branch has one level less."""
    for norm in ("pre", "none"):
        with_, without = (ViT(**SMALL, norm=norm, residual=residual) for residual in (True, False))
        assert jax.tree.structure(random_params(with_)) == jax.tree.structure(random_params(without))


@pytest.mark.usefixtures("float64")
def test_without_blocks_the_order_of_the_patches_makes_no_difference():
    """The head sees the mean of the embedded patches; positions only add their own mean, the same for every image."""
    vit = ViT(**{**SMALL, "layers": 0}, pooling="mean", class_token=False, final_norm=False)
    params, images = random_params(vit), normal(1, 2, 6, 8, 3)
    assert "encoder" not in params
    halves = jnp.concatenate([images[:, 3:], images[:, :3]], axis=1)  # the two rows of patches change places
    assert_close(vit.forward(params, halves)[0], vit.forward(params, images)[0])


@pytest.mark.usefixtures("float64")
def test_double_precision_goes_all_the_way_through():
    vit = ViT(**SMALL)

    def everything(key, images):
        params = vit.init(key)
        logits, cache = vit.forward(params, images, key)
        return params, logits, cache, vit.backward(params, cache, logits)

    arrays = jax.tree.leaves(jax.eval_shape(everything, jax.random.key(0), normal(1, 2, 6, 8, 3)))
    assert {array.dtype for array in arrays} == {jnp.dtype("float64")}


def test_the_first_predictions_are_uniform():
    vit = ViT(**SMALL)
    images = normal(1, 4, 6, 8, 3)
    logits = jax.jit(lambda key: vit.forward(vit.init(key), images)[0])(jax.random.key(0))
    loss, _ = CrossEntropy().forward(logits, jnp.arange(4))
    assert float(loss) == pytest.approx(math.log(5), rel=1e-6)


def test_evaluation_draws_no_random_numbers():
    vit = ViT(**SMALL, dropout=0.5, drop_path=0.5, head_weights="glorot")
    params, images = random_params(vit), normal(1, 2, 6, 8, 3)
    plain = ViT(**SMALL, head_weights="glorot")
    evaluate = jax.jit(lambda vit: vit.forward(params, images)[0], static_argnums=0)
    np.testing.assert_array_equal(evaluate(vit), evaluate(plain))
    train = jax.jit(lambda key: vit.forward(params, images, key)[0])
    assert (train(jax.random.key(1)) != train(jax.random.key(2))).any()


def test_a_model_is_a_static_argument():
    forward = jax.jit(lambda vit, params, images: vit.forward(params, images)[0], static_argnums=0)
    params = random_params(ViT(**SMALL))
    for _ in range(2):
        forward(ViT(**SMALL), params, normal(1, 2, 6, 8, 3))
    assert forward._cache_size() == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "class_token", "class_token": False}, "needs class_token=True"),
        ({"pooling": "max"}, "'max'"),
        ({"num_classes": 0}, "num_classes must be at least 1"),
        ({"patch_size": 5}, "do not tile"),
        ({"heads": 5}, "5 heads do not divide d_model 12"),
        ({"layers": -1}, "layers must be at least 0, got -1"),
        ({"layers": 0}, "layers=0 leaves no block for what these options do: set pooling='mean' class_token=False$"),
        (
            {"layers": 0, "pooling": "mean", "class_token": False, "drop_path": 0.1, "layer_scale": 0.1},
            "set drop_path=0.0 layer_scale=None$",
        ),
        ({"residual": False, "drop_path": 0.1}, "drop_path=0.1 needs residual=True"),
        ({"dropout": 1.5}, "got 1.5"),
        ({"drop_path_rule": "cubic"}, "'cubic'"),
        ({"norm": "mid"}, "'mid'"),
        ({"head_weights": "orthogonal"}, "'orthogonal'"),
        ({"layer_scale": 0.0}, "must start above 0"),
        (
            {"masked_diagonal": True, "pooling": "mean", "class_token": False, "patch_size": (6, 8)},
            "masked_diagonal needs 2 tokens or more: choose a smaller patch_size",
        ),
        (
            {"masked_diagonal": True, "pooling": "mean", "class_token": False, "patch_dropout": 0.9},
            "masked_diagonal needs 2 tokens or more: choose a smaller patch_size or patch_dropout",
        ),
        ({"patch_dropout": 0.01}, "patch_dropout=0.01 leaves out none of"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ViT(**{**SMALL, **options})


OTHER_VALUES = {
    "image_size": (12, 8), "patch_size": (3, 4), "channels": 1, "d_model": 24, "heads": 2, "layers": 3, "mlp_dim": 8,
    "num_classes": 6, "norm": "post", "residual": False, "final_norm": False, "pooling": "mean", "class_token": False,
    "positions": "sinusoidal_2d", "patch_norm_before": True, "patch_norm_after": True, "gelu": "erf",
    "qkv_bias": False, "eps": 1e-3, "head_weights": "glorot", "dropout": 0.1, "embedding_dropout": 0.1,
    "attention_dropout": 0.1, "patch_dropout": 0.5, "drop_path": 0.2, "drop_path_rule": "constant", "layer_scale": 0.1,
    "learned_temperature": True, "masked_diagonal": True, "pad_to_multiple_of": 8,
    "shifted_patches": True, "dtype": "bfloat16",
}  # fmt: skip
FIELDS = [field.name for field in dataclasses.fields(ViT)]


@pytest.mark.parametrize("name", FIELDS)
def test_every_option_reaches_the_layers(name):
    """An option that is accepted and handed to no layer would be ignored without a word."""
    needed = {"class_token": {"pooling": "mean"}, "residual": {"drop_path": 0.0}}
    model = ViT(**{**SMALL, "drop_path": 0.1, **needed.get(name, {})})
    assert dataclasses.replace(model, **{name: OTHER_VALUES[name]}).body != model.body


def test_the_model_cases_of_the_gradient_check_use_every_option():
    """But for precision, which is not checked in float64, and what the cases of layers and encoder have."""
    plain = ViT()
    models = [case.function.model for case in model_cases(0)]
    unused = {name for name in FIELDS if all(getattr(model, name) == getattr(plain, name) for model in models)}
    assert unused == {"dtype", "channels", "eps", "drop_path_rule", "pad_to_multiple_of"}
