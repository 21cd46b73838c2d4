"""The tables: for each library, where every parameter of a model is and how it is laid out there.

A table is a list of rows for a given model, since that says which parameters there are (biases of q, k, v, gains of
layer scale, a class token, ...) and how many blocks. Both directions read the same rows (maps.py).
"""

from collections.abc import Callable

import jax

from model.layers.patch_embedding import height_width
from model.vit import ViT
from model.weights.layouts import (
    FOLDED_CLASS_TOKEN,
    ONE_ROW,
    ONE_TABLE,
    SAME,
    SEPARATE_BIASES,
    SEPARATE_WEIGHTS,
    TRANSPOSED,
    Layout,
    Row,
    hwio,
    merged_heads,
    oihw,
    separate_heads,
)

Rows = list[Row]

CLASS_TOKEN, POSITIONS = "position_embedding/class_token", "position_embedding/positions"
PROJECT = "patch_embedding/project"


def row(ours: str, theirs: str, layout: Layout = SAME) -> Row:
    return Row((ours,), (theirs,), layout)


def attention_of(i: int) -> str:
    """The path of the attention branch of block i, which has `norm`, `attention` and perhaps `layer_scale`."""
    return f"encoder/block_{i}/attention"


def feed_forward_of(i: int) -> str:
    return f"encoder/block_{i}/feed_forward"


def paths(model: ViT) -> dict[str, jax.ShapeDtypeStruct]:
    """Shape and type of every parameter of the model, by its path."""
    template = jax.eval_shape(model.init, jax.random.key(0))
    leaves = jax.tree_util.tree_leaves_with_path(template)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def own(model: ViT) -> Rows:
    """This project's names: the paths themselves."""
    return [row(path, path) for path in paths(model)]


# PyTorch: a dense layer and a norm have `weight` and `bias`.


def _linear(ours: str, theirs: str) -> Rows:
    return [row(f"{ours}/W", f"{theirs}.weight", TRANSPOSED), row(f"{ours}/b", f"{theirs}.bias")]


def _norm(ours: str, theirs: str) -> Rows:
    return [row(f"{ours}/gamma", f"{theirs}.weight"), row(f"{ours}/beta", f"{theirs}.bias")]


def _convolution(model: ViT, theirs: str) -> Rows:
    return [
        row(f"{PROJECT}/W", f"{theirs}.weight", oihw(*height_width(model.patch_size))),
        row(f"{PROJECT}/b", f"{theirs}.bias"),
    ]


def _tokens(model: ViT, class_token: str, positions: str) -> Rows:
    rows = [row(CLASS_TOKEN, class_token, ONE_ROW)] if model.class_token else []
    return rows + ([row(POSITIONS, positions, ONE_TABLE)] if model.positions == "learned" else [])


def timm(model: ViT) -> Rows:
    """timm's `vit_*`: q, k and v in one layer, as here."""
    rows = _convolution(model, "patch_embed.proj") + _tokens(model, "cls_token", "pos_embed")
    if model.patch_norm_after:
        rows += _norm("patch_embedding/norm_after", "patch_embed.norm")
    for i in range(model.layers):
        attention, feed_forward, block = attention_of(i), feed_forward_of(i), f"blocks.{i}"
        qkv = _linear(f"{attention}/attention/qkv", f"{block}.attn.qkv")
        rows += _norm(f"{attention}/norm", f"{block}.norm1")
        rows += qkv if model.qkv_bias else qkv[:1]
        rows += _linear(f"{attention}/attention/out", f"{block}.attn.proj")
        rows += _norm(f"{feed_forward}/norm", f"{block}.norm2")
        rows += _linear(f"{feed_forward}/feed_forward/expand", f"{block}.mlp.fc1")
        rows += _linear(f"{feed_forward}/feed_forward/project", f"{block}.mlp.fc2")
        if model.layer_scale is not None:
            rows.append(row(f"{attention}/layer_scale/gamma", f"{block}.ls1.gamma"))
            rows.append(row(f"{feed_forward}/layer_scale/gamma", f"{block}.ls2.gamma"))
    if model.final_norm:
        rows += _norm("norm", "norm")
    return rows + _linear("head", "head")


def huggingface(model: ViT) -> Rows:
    """transformers' `ViTForImageClassification`, as its files have it: separate q, k and v."""
    rows = _convolution(model, "vit.embeddings.patch_embeddings.projection")
    rows += _tokens(model, "vit.embeddings.cls_token", "vit.embeddings.position_embeddings")
    for i in range(model.layers):
        attention, feed_forward, layer = attention_of(i), feed_forward_of(i), f"vit.encoder.layer.{i}"
        qkv, parts = (
            f"{attention}/attention/qkv",
            [f"{layer}.attention.attention.{x}" for x in ("query", "key", "value")],
        )
        rows += _norm(f"{attention}/norm", f"{layer}.layernorm_before")
        rows.append(Row((f"{qkv}/W",), tuple(f"{part}.weight" for part in parts), SEPARATE_WEIGHTS))
        if model.qkv_bias:
            rows.append(Row((f"{qkv}/b",), tuple(f"{part}.bias" for part in parts), SEPARATE_BIASES))
        rows += _linear(f"{attention}/attention/out", f"{layer}.attention.output.dense")
        rows += _norm(f"{feed_forward}/norm", f"{layer}.layernorm_after")
        rows += _linear(f"{feed_forward}/feed_forward/expand", f"{layer}.intermediate.dense")
        rows += _linear(f"{feed_forward}/feed_forward/project", f"{layer}.output.dense")
    return rows + _norm("norm", "vit.layernorm") + _linear("head", "classifier")


def torchvision(model: ViT) -> Rows:
    """torchvision's `VisionTransformer` (`vit_b_16` and its siblings): attention is torch.nn.MultiheadAttention."""
    rows = _convolution(model, "conv_proj") + _tokens(model, "class_token", "encoder.pos_embedding")
    for i in range(model.layers):
        attention, feed_forward, layer = attention_of(i), feed_forward_of(i), f"encoder.layers.encoder_layer_{i}"
        rows += _norm(f"{attention}/norm", f"{layer}.ln_1")
        rows.append(row(f"{attention}/attention/qkv/W", f"{layer}.self_attention.in_proj_weight", TRANSPOSED))
        if model.qkv_bias:
            rows.append(row(f"{attention}/attention/qkv/b", f"{layer}.self_attention.in_proj_bias"))
        rows += _linear(f"{attention}/attention/out", f"{layer}.self_attention.out_proj")
        rows += _norm(f"{feed_forward}/norm", f"{layer}.ln_2")
        rows += _linear(f"{feed_forward}/feed_forward/expand", f"{layer}.mlp.0")
        rows += _linear(f"{feed_forward}/feed_forward/project", f"{layer}.mlp.3")
    return rows + _norm("norm", "encoder.ln") + _linear("head", "heads.head")


# Flax: a dense layer has `kernel`, laid out as our W, and `bias`; a norm has `scale` and `bias`; heads have an axis.


def _kernel(ours: str, theirs: str) -> Rows:
    return [row(f"{ours}/W", f"{theirs}/kernel"), row(f"{ours}/b", f"{theirs}/bias")]


def _scale(ours: str, theirs: str) -> Rows:
    return [row(f"{ours}/gamma", f"{theirs}/scale"), row(f"{ours}/beta", f"{theirs}/bias")]


def _flax(model: ViT, tokens: Rows, inside: tuple[str, str, str, str]) -> Rows:
    """`inside`: the names of first norm, attention, second norm and feed-forward in a block."""
    H = model.heads
    kernel = row(f"{PROJECT}/W", "embedding/kernel", hwio(*height_width(model.patch_size)))
    rows = [kernel, row(f"{PROJECT}/b", "embedding/bias"), *tokens]
    for i in range(model.layers):
        first, attends, second, feeds = (f"Transformer/encoderblock_{i}/{name}" for name in inside)
        attention, feed_forward = attention_of(i), feed_forward_of(i)
        qkv, out = f"{attention}/attention/qkv", f"{attention}/attention/out"
        parts = [f"{attends}/{name}" for name in ("query", "key", "value")]
        rows += _scale(f"{attention}/norm", first)
        rows.append(Row((f"{qkv}/W",), tuple(f"{part}/kernel" for part in parts), separate_heads(H)))
        if model.qkv_bias:
            rows.append(Row((f"{qkv}/b",), tuple(f"{part}/bias" for part in parts), separate_heads(H)))
        rows += [row(f"{out}/W", f"{attends}/out/kernel", merged_heads(H)), row(f"{out}/b", f"{attends}/out/bias")]
        rows += _scale(f"{feed_forward}/norm", second)
        rows += _kernel(f"{feed_forward}/feed_forward/expand", f"{feeds}/Dense_0")
        rows += _kernel(f"{feed_forward}/feed_forward/project", f"{feeds}/Dense_1")
    return rows + _scale("norm", "Transformer/encoder_norm") + _kernel("head", "head")


PUBLISHED = ("LayerNorm_0", "MultiHeadDotProductAttention_1", "LayerNorm_2", "MlpBlock_3")  # numbered as one list
LINEN = ("LayerNorm_0", "MultiHeadDotProductAttention_0", "LayerNorm_1", "MlpBlock_0")  # each kind by itself


def google(model: ViT) -> Rows:
    """google-research/vision_transformer, in the numbering of the published files."""
    return _flax(model, _tokens(model, "cls", "Transformer/posembed_input/pos_embedding"), PUBLISHED)


def big_vision(model: ViT) -> Rows:
    """google-research/big_vision, whose class token has no position."""
    both = [Row((CLASS_TOKEN, POSITIONS), ("cls", "pos_embedding"), FOLDED_CLASS_TOKEN)]
    return _flax(model, both if model.class_token else _tokens(model, "cls", "pos_embedding"), LINEN)


Table = Callable[[ViT], Rows]
