"""The table of layers: what it counts, checked by hand and against the model itself."""

import math
from dataclasses import replace

import jax
import pytest

from model.layers.dense import Dense
from model.vit import ViT
from training.summary import Row, format_summary, summarize, summarize_layer

VIT = ViT(image_size=(8, 12), patch_size=4, d_model=8, heads=2, layers=3, mlp_dim=20, num_classes=5)
TOKENS = 7  # 2 x 3 patches and the class token


def children(rows: list[Row], parent: int) -> list[Row]:
    """The rows directly below row number `parent`."""
    below = []
    for row in rows[parent + 1 :]:
        if row.depth <= rows[parent].depth:
            break
        if row.depth == rows[parent].depth + 1:
            below.append(row)
    return below


@pytest.mark.parametrize("bias", [False, True])
def test_a_dense_layer_by_hand(bias: bool) -> None:
    """A product and a sum for each weight and token, and a sum for each bias."""
    (row,) = summarize_layer(Dense(8, 20, bias=bias), (1, TOKENS, 8))
    assert row.output_shape == (TOKENS, 20)
    assert row.parameters == 8 * 20 + 20 * bias
    assert row.flops == 2 * TOKENS * 8 * 20 + TOKENS * 20 * bias


def test_the_rows_are_the_layers_of_the_model() -> None:
    rows = summarize(VIT)
    assert (rows[0].depth, rows[0].name, rows[0].kind, rows[0].output_shape) == (0, "model", "ViT", (5,))
    assert [(row.name, row.kind, row.output_shape) for row in rows if row.depth == 1] == [
        ("patch_embedding", "PatchEmbedding", (6, 8)),
        ("position_embedding", "PositionEmbedding", (TOKENS, 8)),
        ("embedding_dropout", "Dropout", (TOKENS, 8)),
        ("encoder", "Encoder", (1, 8)),  # of the last block the class token alone
        ("norm", "LayerNorm", (1, 8)),
        ("pooling", "ClassTokenPooling", (8,)),
        ("head", "Dense", (5,)),
    ]
    assert [row.name for row in rows if row.kind == "EncoderBlock"] == ["block_0", "block_1", "block_2"]
    assert [row.output_shape for row in rows if row.name == "expand"] == [(TOKENS, 20), (TOKENS, 20), (1, 20)]


@pytest.mark.parametrize(
    "vit",
    [
        VIT, ViT(), ViT(norm="post", final_norm=False, pooling="mean", class_token=False),
        ViT(norm="none", residual=False), ViT(layers=0, pooling="mean", class_token=False),
    ],
)  # fmt: skip
def test_parameters_add_up_to_those_of_the_model(vit: ViT) -> None:
    rows = summarize(vit, depth=3)
    params = jax.eval_shape(vit.init, jax.random.key(0))
    assert rows[0].parameters == sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    for i, row in enumerate(rows):
        below = children(rows, i)
        assert not below or row.parameters == sum(child.parameters for child in below), row.name
    assert sum(row.parameters for row in rows if row.depth == 1) == rows[0].parameters


def test_flops_add_up() -> None:
    """Up to the addition of a skip connection, one for each number, which is no layer of its own."""
    rows = summarize(VIT)
    for i, row in enumerate(rows):
        if below := children(rows, i):
            skip = math.prod(row.output_shape) if row.kind == "Residual" else 0
            assert row.flops == sum(child.flops for child in below) + skip, row.name


def test_flops_of_the_published_model() -> None:
    """The matrix products by hand; all the rest, which works on single numbers, is below 3%."""
    D, M, N, patches, layers = 256, 1024, 65, 64, 8
    whole = 2 * N * (D * 3 * D + D * D + 2 * D * M)
    last = 2 * N * D * 2 * D + 2 * (D * D + D * D + 2 * D * M)  # keys and values of all, the rest for the class token
    dense = whole * (layers - 1) + last + 2 * patches * 192 * D + 2 * D * 200
    attention = 2 * 2 * N * D * (N * (layers - 1) + 1)  # scores, and sums of values weighted by them
    (row,) = summarize(ViT(), depth=0)
    assert dense + attention < row.flops < 1.03 * (dense + attention)


def test_depth_says_how_far_down_the_rows_go() -> None:
    rows = summarize(VIT)
    for depth in (0, 1, 2):
        assert summarize(VIT, depth) == [row for row in rows if row.depth <= depth]
    assert max(row.depth for row in rows) == 5  # model, encoder, block, residual, feed-forward, dense


def test_the_table() -> None:
    rows = [Row(0, "model", "ViT", (5,), 1_234_567, 12_345_678), Row(1, "head", "Dense", (2, 5), 45, 85)]
    assert format_summary(rows).splitlines() == [
        "layer   kind   output shape  parameters  MFLOPs",
        "-----------------------------------------------",
        "model   ViT    (B, 5)         1,234,567   12.35",
        "  head  Dense  (B, 2, 5)             45    0.00",
    ]


def test_the_table_of_a_large_model_fits_a_terminal() -> None:
    vit = ViT(image_size=384, patch_size=16, d_model=1024, heads=16, layers=2, mlp_dim=4096, learned_temperature=True)
    lines = format_summary([row._replace(flops=100 * row.flops) for row in summarize(vit)]).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split()[-1] == "GFLOPs"


def test_half_precision_changes_nothing_in_the_table() -> None:
    assert summarize(replace(VIT, dtype="bfloat16")) == summarize(VIT)
