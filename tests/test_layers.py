"""Every layer, every option: backward against the vjp of its own forward, and forward against its definition."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.combinators import Composite, Residual, Sequential
from model.encoder import Encoder, EncoderBlock
from model.layers.class_token_attention import ClassTokenAttention
from model.layers.dense import Dense
from model.layers.dropout import Dropout, DropPath
from model.layers.feed_forward import FeedForward
from model.layers.gelu import GELU
from model.layers.keep_tokens import KeepTokens
from model.layers.layer_norm import LayerNorm
from model.layers.layer_scale import LayerScale
from model.layers.multi_head_attention import MultiHeadAttention
from model.layers.patch_embedding import PatchEmbedding, Patchify
from model.layers.pooling import ClassTokenPooling, MeanPooling
from model.layers.position_embedding import PositionEmbedding
from model.layers.shifted_patches import ShiftedPatches, shift
from model.layers.softmax import Softmax
from model.vit import ViT
from tests.oracle import assert_backward_is_vjp, assert_close, normal, random_params

pytestmark = pytest.mark.usefixtures("float64")

# Sizes that all differ, so that no transposed or wrongly summed array has the right shape by chance.
B, N, D, H, M, C = 2, 5, 12, 3, 7, 4
TOKENS = (B, N, D)
IMAGES = (B, 6, 8, 3)  # patches of 3 x 2: a grid of 2 x 4

LOCAL = {"learned_temperature": True, "masked_diagonal": True}


def block(kind=MultiHeadAttention, attention=None, dropout=0.0, **options):
    """An encoder block; `attention` holds options of the attention, `options` are those of the block."""
    parts = kind(D, H, **(attention or {})), FeedForward(D, M, dropout=dropout)
    return EncoderBlock(*parts, dropout=dropout, **{"norm": LayerNorm(D)} | options)


def class_token_block(**options):
    return block(ClassTokenAttention, tokens=1, **options)


LAYERS = [
    (Dense(D, C), TOKENS),
    (Dense(D, C), (B, D)),
    (Dense(D, C, bias=False), TOKENS),
    (Dense(D, C, weights="zeros"), TOKENS),
    (LayerNorm(D), TOKENS),
    (LayerNorm(D, eps=0.5), (B, D)),
    (GELU("tanh"), TOKENS),
    (GELU("erf"), TOKENS),
    (Softmax(), TOKENS),
    (MultiHeadAttention(D, H), TOKENS),
    (MultiHeadAttention(D, 1), TOKENS),
    (MultiHeadAttention(D, H, qkv_bias=False), TOKENS),
    (MultiHeadAttention(D, H, dropout=0.3), TOKENS),
    (MultiHeadAttention(D, H, learned_temperature=True), TOKENS),
    (MultiHeadAttention(D, H, masked_diagonal=True), TOKENS),
    (MultiHeadAttention(D, H, pad_to_multiple_of=8), TOKENS),
    (MultiHeadAttention(D, H, dropout=0.3, learned_temperature=True, masked_diagonal=True), TOKENS),
    (ClassTokenAttention(D, H), TOKENS),
    (ClassTokenAttention(D, H, learned_temperature=True), TOKENS),
    (ClassTokenAttention(D, H, masked_diagonal=True), TOKENS),
    (ClassTokenAttention(D, H, qkv_bias=False), TOKENS),
    (ClassTokenAttention(D, H, dropout=0.3), TOKENS),
    (LayerScale(D), TOKENS),
    (LayerScale(D, start=1e-5), (B, D)),
    (ShiftedPatches((3, 2)), IMAGES),
    (ShiftedPatches((2, 5)), IMAGES),
    (ShiftedPatches(1), IMAGES),
    (FeedForward(D, M), TOKENS),
    (FeedForward(D, M, gelu="erf", dropout=0.3), TOKENS),
    (Patchify((6, 8), (3, 2), 3), IMAGES),
    (PatchEmbedding((6, 8), (3, 2), 3, D), IMAGES),
    (PatchEmbedding((6, 8), (3, 2), 3, D, norm_before=True), IMAGES),
    (PatchEmbedding((6, 8), (3, 2), 3, D, norm_after=True), IMAGES),
    (PatchEmbedding(6, 3, 2, D, norm_before=True, norm_after=True), (B, 6, 6, 2)),
    *[
        (PositionEmbedding((2, 4), D, class_token, positions), (B, 8, D))
        for class_token in (True, False)
        for positions in ("learned", "sinusoidal_1d", "sinusoidal_2d", "none")
    ],
    (Dropout(0.4), TOKENS),
    (Dropout(0.0), TOKENS),
    (DropPath(0.4), TOKENS),
    (KeepTokens(0.4), TOKENS),
    (KeepTokens(0.4, first=1), TOKENS),
    (KeepTokens(0.99, first=2), TOKENS),
    (KeepTokens(0.0), TOKENS),
    (ClassTokenPooling(N), TOKENS),
    (MeanPooling(), TOKENS),
    (MeanPooling(class_token=False), TOKENS),
    (Residual(Dense(D, D)), TOKENS),
    (Residual(ClassTokenAttention(D, H), tokens=1), TOKENS),
    (Sequential((("a", Dense(D, C)), ("b", GELU()), ("c", Dense(C, M)))), TOKENS),
    (Sequential(()), TOKENS),
    *[(block(norm_first=first, dropout=0.2, attention={"dropout": 0.2}, drop_path=0.3), TOKENS) for first in (1, 0)],
    *[(class_token_block(norm_first=first, drop_path=0.3), TOKENS) for first in (True, False)],
    (block(layer_scale=LayerScale(D), attention=LOCAL, drop_path=0.3), TOKENS),
    (block(norm_first=False, layer_scale=LayerScale(D)), TOKENS),
    *[(block(residual=False, norm_first=first, dropout=0.2), TOKENS) for first in (True, False)],
    *[(class_token_block(residual=False, norm=norm), TOKENS) for norm in (LayerNorm(D), None)],
    *[(block(norm=None, norm_first=first, drop_path=0.3), TOKENS) for first in (True, False)],
    (Encoder(block(), 2, last=class_token_block()), TOKENS),
    (Encoder(block(drop_path=0.3), 3), TOKENS),
    (Encoder(block(drop_path=0.3), 2, drop_path_rule="constant"), TOKENS),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda value: str(value)[:90])
def test_backward_is_the_vjp_of_forward(layer, shape):
    """With a key, so that every dropout acts: without one it is the identity, which the next test goes through."""
    assert_backward_is_vjp(layer, normal(7, *shape), key=jax.random.key(5))


@pytest.mark.parametrize("layer", [Dropout(0.4), DropPath(0.4), KeepTokens(0.4), block(dropout=0.2)], ids=str)
def test_backward_in_evaluation(layer):
    assert_backward_is_vjp(layer, normal(7, *TOKENS), key=None)


@dataclass(frozen=True)
class LayerNormWithoutMeanTerm(LayerNorm):
    def backward(self, params, cache, dy):
        dxhat = dy * params["gamma"]
        through_var = cache.xhat * (dxhat * cache.xhat).mean(axis=-1, keepdims=True)
        return cache.rstd * (dxhat - through_var), super().backward(params, cache, dy)[1]


@dataclass(frozen=True)
class DenseThatForgetsABatch(Dense):
    def backward(self, params, cache, dy):
        dx, grads = super().backward(params, cache, dy)
        return dx, {**grads, "b": dy[0].sum(axis=0)}


@dataclass(frozen=True)
class DropoutWithoutItsMask(Dropout):
    def backward(self, params, cache, dy):
        return dy, {}


MUTANTS = [LayerNormWithoutMeanTerm(D), DenseThatForgetsABatch(D, C), DropoutWithoutItsMask(0.5)]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: type(mutant).__name__)
def test_the_comparison_itself_can_fail(mutant):
    with pytest.raises(AssertionError, match="relative error"):
        assert_backward_is_vjp(mutant, normal(7, *TOKENS), key=jax.random.key(5))


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda value: str(value)[:90])
def test_layers_are_values_without_arrays(layer, shape):
    assert hash(layer) == hash(layer)
    assert len({layer, layer}) == 1


def test_softmax_is_stable_and_sums_to_one():
    scores = jnp.array([[1e4, 1e4 - 1, -1e4], [0.0, 1.0, 2.0]])
    p, _ = Softmax().forward({}, scores)
    np.testing.assert_allclose(p, jax.nn.softmax(scores), rtol=1e-14)
    np.testing.assert_allclose(p.sum(axis=-1), 1, rtol=1e-14)


def test_softmax_gradient_rows_sum_to_zero():
    _, cache = Softmax().forward({}, normal(1, 4, 6))
    dx, _ = Softmax().backward({}, cache, normal(2, 4, 6))
    np.testing.assert_allclose(dx.sum(axis=-1), 0, atol=1e-15)


@pytest.mark.parametrize("form", ["tanh", "erf"])
def test_gelu_is_the_published_function(form):
    x = jnp.linspace(-6, 6, 101)
    y, _ = GELU(form).forward({}, x)
    np.testing.assert_allclose(y, jax.nn.gelu(x, approximate=form == "tanh"), rtol=1e-12, atol=1e-14)


def test_the_two_forms_of_gelu_are_within_what_the_docstring_says():
    x = jnp.linspace(-8, 8, 10_001)
    assert jnp.abs(GELU("tanh").forward({}, x)[0] - GELU("erf").forward({}, x)[0]).max() < 5e-4


def test_layer_norm_keeps_its_digits_far_from_zero():
    with jax.enable_x64(False):
        x = normal(3, 4, 64).astype(jnp.float32)
        params = LayerNorm(64).init(jax.random.key(0))
        near, _ = LayerNorm(64).forward(params, x)
        far, _ = LayerNorm(64).forward(params, x + 1000)
    np.testing.assert_allclose(far, near, atol=2e-4)  # E[x^2] - E[x]^2 would be off by more than 0.05 here


def test_layer_norm_gradient_is_a_projection():
    layer = LayerNorm(D, eps=0.0)
    params = random_params(layer)
    _, cache = layer.forward(params, normal(1, *TOKENS))
    dx, _ = layer.backward(params, cache, normal(2, *TOKENS))
    np.testing.assert_allclose(dx.sum(axis=-1), 0, atol=1e-13)
    np.testing.assert_allclose((dx * cache.xhat).sum(axis=-1), 0, atol=1e-13)


def test_attention_equals_its_definition_head_by_head():
    layer = MultiHeadAttention(D, H)
    params = random_params(layer)
    x = normal(1, *TOKENS)
    y, _ = layer.forward(params, x)

    K = D // H
    W, b = params["qkv"]["W"].reshape(D, 3, H, K), params["qkv"]["b"].reshape(3, H, K)
    expected = []
    for image in x:
        heads = []
        for h in range(H):
            q, k, v = (image @ W[:, i, h] + b[i, h] for i in range(3))
            heads.append(jax.nn.softmax(q @ k.T / np.sqrt(K)) @ v)
        expected.append(jnp.hstack(heads) @ params["out"]["W"] + params["out"]["b"])
    np.testing.assert_allclose(y, jnp.stack(expected), rtol=1e-12)


def test_attention_has_no_gradient_in_its_key_bias():
    layer = MultiHeadAttention(D, H)
    params = random_params(layer)
    _, cache = layer.forward(params, normal(1, *TOKENS))
    _, grads = layer.backward(params, cache, normal(2, *TOKENS))
    _, dkey, _ = grads["qkv"]["b"].reshape(3, D)
    np.testing.assert_allclose(dkey, 0, atol=1e-13)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"norm_first": False},
        {"attention": {"qkv_bias": False}},
        {"drop_path": 0.4},
        {"attention": LOCAL, "layer_scale": LayerScale(D)},
        {"residual": False},
        {"norm": None},
    ],
)
def test_the_class_token_alone_is_what_the_whole_encoder_gives_it(options):
    """The shortcut of the last block: output, input gradient and every parameter's are those of the plain blocks."""
    plain, short = Encoder(block(**options), 2), Encoder(block(**options), 2, last=class_token_block(**options))
    params, x, dy = random_params(plain), normal(1, *TOKENS), normal(2, B, 1, D)
    key = jax.random.key(3)  # drop path draws one number for an image, however many tokens there are
    y, cache = plain.forward(params, x, key)
    y_short, cache_short = short.forward(params, x, key)
    np.testing.assert_allclose(y_short, y[:, :1], rtol=0, atol=1e-12)
    dx, grads = plain.backward(params, cache, jnp.concatenate([dy, jnp.zeros((B, N - 1, D))], axis=1))
    dx_short, grads_short = short.backward(params, cache_short, dy)
    for whole, alone in zip(jax.tree.leaves((dx, grads)), jax.tree.leaves((dx_short, grads_short)), strict=True):
        np.testing.assert_allclose(alone, whole, rtol=0, atol=1e-12 * np.abs(whole).max() + 1e-15)


def test_local_attention_equals_its_definition_head_by_head():
    """The temperature divides the scores, the diagonal is taken out before the softmax."""
    layer = MultiHeadAttention(D, H, learned_temperature=True, masked_diagonal=True)
    params = random_params(layer)
    x = normal(1, *TOKENS)
    y, cache = layer.forward(params, x)

    K = D // H
    W, b = params["qkv"]["W"].reshape(D, 3, H, K), params["qkv"]["b"].reshape(3, H, K)
    others = ~np.eye(N, dtype=bool)
    expected = []
    for image in x:
        heads = []
        for h in range(H):
            q, k, v = (image @ W[:, i, h] + b[i, h] for i in range(3))
            temperature = 1 / params["scale"][h]
            exponentials = np.where(others, np.exp(q @ k.T / temperature), 0)
            heads.append(exponentials / exponentials.sum(axis=1, keepdims=True) @ v)
        expected.append(np.hstack(heads) @ params["out"]["W"] + params["out"]["b"])
    np.testing.assert_allclose(y, np.stack(expected), rtol=1e-11)
    assert (np.einsum("bhnn->bhn", cache.attention.weights) == 0).all()


def test_a_learned_temperature_starts_where_the_fixed_one_is():
    plain, learned = MultiHeadAttention(D, H), MultiHeadAttention(D, H, learned_temperature=True)
    params = learned.init(jax.random.key(0))
    assert params["scale"].shape == (H,)
    x = normal(1, *TOKENS)
    np.testing.assert_allclose(
        learned.forward(params, x)[0], plain.forward(plain.init(jax.random.key(0)), x)[0], rtol=1e-12
    )


@pytest.mark.parametrize("size", [1.0, 1e3])
@pytest.mark.parametrize("kind", [MultiHeadAttention, ClassTokenAttention])
def test_a_masked_diagonal_is_left_out_to_the_last_bit(kind, size):
    """In single precision too, with scores of millions: the token's own value has no say in its output."""
    with jax.enable_x64(False):
        layer = kind(D, H, masked_diagonal=True)
        params, x = random_params(layer), size * normal(1, *TOKENS)
        y, cache = layer.forward(params, x)
        weights = np.asarray(cache.attention.weights)
        assert (weights[:, :, 0, 0] == 0).all()
        assert np.isfinite(y).all()
        np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)
        dx, grads = layer.backward(params, cache, normal(2, *y.shape))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((dx, grads)))


def test_a_lone_token_cannot_be_masked():
    layer = MultiHeadAttention(D, H, masked_diagonal=True)
    with pytest.raises(ValueError, match="needs 2 tokens or more"):
        layer.forward(random_params(layer), jnp.zeros((B, 1, D)))


@pytest.mark.parametrize("options", [{}, {"learned_temperature": True, "masked_diagonal": True}], ids=["", "local"])
@pytest.mark.parametrize("multiple", [2, 8, 3 * TOKENS[1]])
@pytest.mark.parametrize("kind", [MultiHeadAttention, ClassTokenAttention])
def test_padded_attention_is_the_same_function(kind, multiple, options):
    plain, padded = kind(D, H, **options), kind(D, H, **options, pad_to_multiple_of=multiple)
    params, x = random_params(plain), normal(1, *TOKENS)
    (y, cache), (y_padded, cache_padded) = plain.forward(params, x), padded.forward(params, x)
    dy = normal(2, *y.shape)
    assert_close(y_padded, y)
    jax.tree.map(assert_close, padded.backward(params, cache_padded, dy), plain.backward(params, cache, dy))
    if kind is MultiHeadAttention:
        assert cache_padded.attention.weights.shape[-1] % multiple == 0


def test_a_lone_token_is_not_padded_and_still_cannot_be_masked():
    layer = MultiHeadAttention(D, H, masked_diagonal=True, pad_to_multiple_of=8)
    with pytest.raises(ValueError, match="needs 2 tokens or more"):
        layer.forward(random_params(layer), jnp.zeros((B, 1, D)))


def test_layer_scale_starts_close_to_nothing():
    params = LayerScale(D, 1e-5).init(jax.random.key(0))
    y, _ = LayerScale(D, 1e-5).forward(params, jnp.ones(TOKENS))
    np.testing.assert_allclose(y, 1e-5)


def test_layer_scale_stands_at_the_end_of_each_branch():
    params = block(layer_scale=LayerScale(D)).init(jax.random.key(0))
    gammas = [path for path, _ in jax.tree_util.tree_leaves_with_path(params) if path[-2].key == "layer_scale"]
    assert [(path[0].key, path[-1].key) for path in gammas] == [("attention", "gamma"), ("feed_forward", "gamma")]
    names = [name for name, _ in block(layer_scale=LayerScale(D)).body.layers[0][1].body.layers]
    assert names == ["norm", "attention", "dropout", "layer_scale", "drop_path"]


def test_a_block_without_residual_connections_is_its_branches():
    """x + f(x) less x is f(x), and so is the first branch of a block without the sum."""
    x = normal(1, *TOKENS)
    plain, chain = (block(residual=residual).body.layers[0][1] for residual in (True, False))
    params = random_params(plain)
    assert_close(chain.forward(params, x)[0], plain.forward(params, x)[0] - x, 1e-12)
    after = block(residual=False, norm_first=False).body.layers[0][1]
    assert [name for name, _ in after.layers] == ["attention", "dropout", "drop_path", "norm"]
    assert block(norm=None) == block(norm=None, norm_first=True) != block(norm=None, residual=False)
    assert block(norm=None).body == block(norm=None, norm_first=False).body


@pytest.mark.parametrize(("down", "right"), [(1, 2), (-2, 1), (0, -3), (-1, 0), (7, 1), (0, 0)])
def test_a_shifted_image_pixel_by_pixel(down, right):
    images = normal(1, 2, 5, 6, 3)
    shifted = shift(images, down, right)
    for y in range(5):
        for x in range(6):
            inside = 0 <= y - down < 5 and 0 <= x - right < 6
            expected = images[:, y - down, x - right] if inside else np.zeros((2, 3))
            np.testing.assert_array_equal(shifted[:, y, x], expected)


def test_shifted_patches_are_the_image_and_its_four_diagonal_neighbours():
    images = normal(1, *IMAGES)
    y, _ = ShiftedPatches((4, 2)).forward({}, images)
    views = np.split(np.asarray(y), 5, axis=-1)
    np.testing.assert_array_equal(views[0], images)
    np.testing.assert_array_equal(views[1][:, :-2, :-1], images[:, 2:, 1:])  # up left: what was below right
    np.testing.assert_array_equal(views[2][:, :-2, 1:], images[:, 2:, :-1])
    np.testing.assert_array_equal(views[3][:, 2:, :-1], images[:, :-2, 1:])
    np.testing.assert_array_equal(views[4][:, 2:, 1:], images[:, :-2, :-1])
    assert (views[4][:, :2] == 0).all()
    assert (views[4][:, :, :1] == 0).all()


def test_patch_embedding_is_a_strided_convolution():
    layer = PatchEmbedding((6, 8), (3, 2), 3, D)
    params = random_params(layer)
    images = normal(1, *IMAGES)
    y, _ = layer.forward(params, images)
    kernel = params["project"]["W"].reshape(3, 2, 3, D)  # h, w, C, D
    convolved = jax.lax.conv_general_dilated(
        images, kernel, window_strides=(3, 2), padding="VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(y, convolved.reshape(B, 8, D) + params["project"]["b"], rtol=1e-11, atol=1e-13)


def test_sinusoids_follow_the_formula():
    layer = PositionEmbedding((2, 4), D, class_token=True, positions="sinusoidal_1d")
    y, _ = layer.forward({"class_token": jnp.zeros(D)}, jnp.zeros((1, 8, D)))
    for patch in range(8):
        for i in range(D // 2):
            angle = patch / 10000 ** (2 * i / D)
            assert y[0, patch + 1, 2 * i] == pytest.approx(np.sin(angle), abs=1e-14)
            assert y[0, patch + 1, 2 * i + 1] == pytest.approx(np.cos(angle), abs=1e-14)
    assert (y[0, 0] == 0).all()


def test_two_dimensional_sinusoids_encode_row_and_column_apart():
    layer = PositionEmbedding((2, 4), D, class_token=False, positions="sinusoidal_2d")
    y, _ = layer.forward({}, jnp.zeros((1, 8, D)))
    grid = y.reshape(2, 4, D)
    np.testing.assert_array_equal(grid[:, 0, : D // 2], grid[:, 3, : D // 2])  # the row half does not know the column
    np.testing.assert_array_equal(grid[0, :, D // 2 :], grid[1, :, D // 2 :])
    assert len(np.unique(np.asarray(y[0]), axis=0)) == 8


def test_dropout_keeps_the_expected_value_and_is_off_in_evaluation():
    x = jnp.ones((200, 500))
    y, cache = Dropout(0.25).forward({}, x, jax.random.key(0))
    assert set(np.unique(y)) == {0, 1 / 0.75}
    assert float(y.mean()) == pytest.approx(1, abs=0.01)
    np.testing.assert_array_equal(Dropout(0.25).backward({}, cache, x)[0], cache.mask)
    assert Dropout(0.25).forward({}, x)[0] is x


def test_a_random_subset_of_the_patches_is_kept_in_order_with_the_class_token():
    layer, x = KeepTokens(0.5, first=1), jnp.broadcast_to(jnp.arange(9.0)[:, None], (300, 9, 2))
    y, _ = layer.forward({}, x, jax.random.key(0))
    kept = np.asarray(y[..., 0])
    assert kept.shape == (300, 5)
    assert (kept[:, 0] == 0).all()
    assert (np.diff(kept) > 0).all()
    seen = np.bincount(kept[:, 1:].astype(int).ravel(), minlength=9)[1:] / 300
    assert np.abs(seen - 0.5).max() < 0.1  # each patch equally often, and images differ
    assert layer.forward({}, x)[0] is x


@pytest.mark.parametrize(("rate", "kept"), [(0.0, 8), (0.5, 4), (0.75, 2), (0.95, 1), (0.999, 1)])
def test_the_number_of_kept_tokens_is_the_rounded_share_and_at_least_one(rate, kept):
    assert KeepTokens(rate).count(8) == kept
    assert KeepTokens(rate, first=1).count(9) == 1 + kept


def test_drop_path_drops_whole_images():
    y, _ = DropPath(0.5).forward({}, jnp.ones((400, 3, 2)), jax.random.key(0))
    per_image = np.asarray(y).reshape(400, -1)
    assert (per_image == per_image[:, :1]).all()
    assert set(np.unique(per_image)) == {0, 2}
    assert 0.4 < (per_image[:, 0] == 0).mean() < 0.6


def test_drop_path_grows_from_zero_to_the_last_block():
    def rates(rule):
        return [block.drop_path for _, block in Encoder(block(drop_path=0.3), 4, rule).body.layers]

    assert Encoder(block(drop_path=0.3), 1).body.layers[0][1].drop_path == 0.3
    assert rates("linear") == pytest.approx([0, 0.1, 0.2, 0.3])
    assert rates("constant") == [0.3] * 4


def test_each_layer_of_a_sequence_draws_its_own_noise():
    layer = Sequential((("a", Dropout(0.5)), ("b", Dropout(0.5))))
    _, (a, b) = layer.forward({"a": {}, "b": {}}, jnp.ones((10, 10)), jax.random.key(0))
    assert (a.mask != b.mask).any()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MultiHeadAttention(12, 3, dropout=1.5), "below 1, got 1.5"),
        (lambda: ViT(attention_dropout=-1.0), "at least 0"),
        (lambda: MultiHeadAttention(12, 3, pad_to_multiple_of=0), "pad_to_multiple_of must be at least 1, got 0"),
        (lambda: MultiHeadAttention(12, 5), "5 heads do not divide d_model 12"),
        (lambda: Patchify(64, 7, 3), "7x7 patches do not tile a 64x64 image"),
        (lambda: Patchify((64, 48), (8, 9), 3), "8x9 patches do not tile a 64x48 image"),
        (lambda: PositionEmbedding((2, 2), 6, True, "sinusoidal_2d"), "divisible by 4"),
        (lambda: PositionEmbedding((2, 2), 7, True, "sinusoidal_1d"), "divisible by 2"),
        (lambda: PositionEmbedding((2, 2), 6, True, "rotary"), "'rotary'"),
        (lambda: Patchify((64,), 8, 3), "image_size must be an integer or a tuple of two"),
        (lambda: Patchify(64, 8.0, 3), "patch_size must be an integer"),
        (lambda: LayerNorm(D, eps=-1.0), "eps must not be negative"),
        (lambda: GELU("relu"), "'relu'"),
        (lambda: Dropout(1.0), "below 1, got 1.0"),
        (lambda: DropPath(-0.1), "at least 0"),
        (lambda: Encoder(block(), 0), "at least 1 layer"),
        (lambda: ViT(norm="sandwich"), "norm must be 'pre', 'post' or 'none', got 'sandwich'"),
        (lambda: block(dropout=-0.1), "at least 0"),
        (lambda: block(drop_path=1.0), "below 1, got 1.0"),
        (lambda: block(drop_path=0.1, residual=False), "drop_path=0.1 needs residual=True"),
        (lambda: LayerScale(D, 0.0), "must start above 0, or be None for none, got 0.0"),
        (lambda: ViT(layer_scale=-0.1), "must start above 0"),
        (lambda: Sequential((("a", GELU()), ("a", GELU()))), "name of its own"),
    ],
)
def test_what_cannot_be_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_images_of_another_size_are_refused():
    layer = Patchify((6, 8), (3, 2), 3)
    with pytest.raises(ValueError, match=r"expected images of shape \(B, 6, 8, 3\), got \(2, 8, 6, 3\)"):
        layer.forward({}, jnp.zeros((2, 8, 6, 3)))


def test_a_composite_without_a_body_says_so():
    class Nothing(Composite):
        pass

    with pytest.raises(TypeError, match="Nothing must define `body`"):
        Nothing().init(jax.random.key(0))


def test_a_block_is_made_of_layers():
    with pytest.raises(TypeError, match=r"attention must be a layer, such as MultiHeadAttention\(D, H\), got 16"):
        EncoderBlock(16, 2, 32)
