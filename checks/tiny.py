"""The sizes of the default cases, and small blocks and models made of them."""

from typing import Any

import numpy as np

from model.encoder import EncoderBlock
from model.layers.class_token_attention import ClassTokenAttention
from model.layers.feed_forward import FeedForward
from model.layers.layer_norm import LayerNorm
from model.layers.multi_head_attention import MultiHeadAttention
from model.vit import ViT
from verify.case import Case

B, N, D, H, K, M, C = 3, 9, 12, 2, 6, 10, 5
GRID, IMAGE, PATCH, CHANNELS = (2, 4), (4, 12), (2, 3), 3  # n = 8 patches, P = 18 values in each
DROP = 0.3
TOKENS = (B, N, D)
# Blocks and models are made of layers that have cases of their own, so they can be smaller.
SMALL_D, SMALL_M, SMALL_IMAGE = 8, 7, (4, 6)
SMALL_TOKENS = (B, 5, SMALL_D)

Attention = type[MultiHeadAttention] | type[ClassTokenAttention]


def tiny_block(
    attention: Attention = MultiHeadAttention, dropout: float = 0.0, attention_dropout: float = 0.0, **options: Any
) -> EncoderBlock:
    """An encoder block of the small sizes; `options` are those of the block."""
    return EncoderBlock(
        attention(SMALL_D, H, attention_dropout), FeedForward(SMALL_D, SMALL_M, dropout=dropout),
        dropout=dropout, **{"norm": LayerNorm(SMALL_D)} | options,
    )  # fmt: skip


def tiny_model(**options: Any) -> ViT:
    """A model small enough for every coordinate to be checked."""
    options = {"layers": 2} | options
    return ViT(SMALL_IMAGE, PATCH, CHANNELS, SMALL_D, H, mlp_dim=SMALL_M, num_classes=C, **options)


def case_random(seed: int, name: str) -> np.random.Generator:
    """The random numbers of the case of this name."""
    return Case(name, None, {}).random(seed)  # type: ignore[arg-type]
