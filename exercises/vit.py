"""The last exercise: a small Vision Transformer, trained with your own layers.

`own` holds your files by name: `own.layer_norm.forward(x, gamma=..., beta=...)`, `own.layer_norm.backward(cache, dy)`,
as you wrote them. The blocks are pre-norm. The check trains with your backward, your loss, your clipping and your
AdamW, and its loss must follow that of the model in model/ to 1e-6.
"""

from typing import Any, NamedTuple


class BlockCache(NamedTuple):
    norm_1: Any
    attention: Any
    norm_2: Any
    feed_forward: Any


class Cache(NamedTuple):
    embed: Any
    tokens: Any
    blocks: tuple[BlockCache, ...]
    norm: Any
    pooling: Any
    head_input: Any  # of own.dense_input
    head_parameters: Any  # of own.dense_parameters


def forward(own, params, images):
    """params in the tree that `backward` describes, images (B, 12, 10, 3) -> logits (B, C) and the cache."""
    x, embed = own.patch_embedding.forward(images, **params["embed"])
    x, tokens = own.class_token.forward(x, **params["tokens"])
    blocks = []
    for p in params["blocks"]:
        a, norm_1 = own.layer_norm.forward(x, **p["norm_1"])
        a, attention = own.multi_head_attention.forward(a, **p["attention"])
        h = x + a
        f, norm_2 = own.layer_norm.forward(h, **p["norm_2"])
        f, feed_forward = own.feed_forward.forward(f, **p["feed_forward"])
        x = h + f
        blocks.append(BlockCache(norm_1, attention, norm_2, feed_forward))
    x, norm = own.layer_norm.forward(x, **params["norm"])
    pooled, pooling = own.mean_pooling.forward(x)
    pooled = pooled[:, None]  # (B, D) -> (B, 1, D): your dense layers take three axes
    logits, head_input = own.dense_input.forward(pooled, **params["head"])
    _, head_parameters = own.dense_parameters.forward(pooled, **params["head"])
    return logits[:, 0], Cache(embed, tokens, tuple(blocks), norm, pooling, head_input, head_parameters)


def backward(own, cache, dlogits):
    """dlogits (B, C) -> the gradients, in the tree of params:

    {"embed": {"W", "b"}, "tokens": {"class_token", "positions"}, "norm": {"gamma", "beta"}, "head": {"W", "b"},
     "blocks": (one per block: {"norm_1": {"gamma", "beta"}, "attention": {"W_qkv", "b_qkv", "W_out", "b_out"},
                                "norm_2": {"gamma", "beta"}, "feed_forward": {"W_1", "b_1", "W_2", "b_2"}}, ...)}
    """
    raise NotImplementedError  # yours to write
