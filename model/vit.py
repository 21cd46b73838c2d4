"""The Vision Transformer (Dosovitskiy et al. 2021, arXiv:2010.11929), from pixels to logits and back.

Forward    images (B, H, W, C); with shifted_patches, (B, H, W, 5 C)
           -> patch_embedding      (B, n, D)    n = patches
           -> position_embedding   (B, N, D)    N = n + 1 with a class token
           -> dropout              (B, N, D)
           -> keep_tokens          (B, N', D)   in training with patch_dropout: a random subset, N' < N
           -> encoder, norm        (B, N, D); or (B, 1, D), the class token alone, if that is pooled;
                                       with layers=0 there is no encoder
           -> pooling              (B, D)
           -> head                 (B, num_classes) logits
Backward   the same list from the bottom up: each layer passes its dx to the one above (SEQ.1 in model/combinators.py)

The whole model is one `Sequential`: to follow the gradient, read the list in `body` upwards.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import jax

from model.combinators import Composite, Sequential
from model.encoder import Encoder, EncoderBlock
from model.layer import Layer, Params
from model.layers.class_token_attention import ClassTokenAttention
from model.layers.dense import Dense
from model.layers.dropout import Dropout
from model.layers.feed_forward import FeedForward
from model.layers.keep_tokens import KeepTokens
from model.layers.layer_norm import LayerNorm
from model.layers.layer_scale import LayerScale
from model.layers.multi_head_attention import MultiHeadAttention
from model.layers.patch_embedding import PatchEmbedding, Size
from model.layers.pooling import ClassTokenPooling, MeanPooling
from model.layers.position_embedding import PositionEmbedding, Positions
from model.layers.shifted_patches import VIEWS, ShiftedPatches
from model.precision import mixed_precision

WITHOUT_BLOCKS: dict[str, Any] = {
    "pooling": "mean", "class_token": False, "dropout": 0.0, "attention_dropout": 0.0, "drop_path": 0.0,
    "layer_scale": None, "learned_temperature": False, "masked_diagonal": False,
}  # fmt: skip
"""What these options must be with layers=0. Without attention, nothing of the image reaches a class token."""


@dataclass(frozen=True)
class ViT(Composite):
    """A Vision Transformer classifier.

    `params = vit.init(key)`; `logits, cache = vit.forward(params, images, key=None)`;
    `dimages, grads = vit.backward(params, cache, dlogits)`. Images are float arrays (B, H, W, C), logits
    (B, num_classes). `features` and `tokens` return embeddings beside the logits. With dtype="float32" everything is
    computed in the type of `params` and `images`, which in a gradient check is float64; with "bfloat16", everything up
    to the head in half precision (model/precision.py).

    Attributes:
        image_size, patch_size: pixels, the side of a square or (height, width); patches must tile the image.
        channels: C, values per pixel.
        d_model, heads, layers, mlp_dim: width D, heads H, encoder blocks, hidden width M of the feed-forward. With
            layers=0 no token sees another one, and the options of the blocks (`heads` and `mlp_dim` among them) have no
            effect; those that add something to a block are refused.
        num_classes: width of the logits.
        norm: where the layer norms of a block are, "pre", "post" or "none" (model/encoder.py).
        residual: the residual connections of the blocks; False leaves out the `x +` (model/encoder.py).
        final_norm: a layer norm after the encoder; pre-norm models need it.
        pooling: "class_token" or "mean" (of the patch tokens).
        class_token: prepend a learned token; required by pooling "class_token", optional with "mean".
        positions: "learned", "sinusoidal_1d", "sinusoidal_2d" or "none".
        patch_norm_before, patch_norm_after: layer norm around the patch projection.
        gelu: "tanh" or "erf". qkv_bias: biases on queries, keys and values. eps: of every layer norm.
        head_weights: "zeros" (first loss is log(num_classes)) or "glorot".
        dropout, embedding_dropout, attention_dropout: rates in the blocks, after the positions, on attention weights.
        patch_dropout: share of the patch tokens that a training step leaves out (model/layers/keep_tokens.py).
        drop_path: rate of the last block. drop_path_rule: the others' rates, "linear" (growing from 0) or "constant".
        layer_scale: initial gains at the end of each branch (model/layers/layer_scale.py); None: no gains.
        learned_temperature, masked_diagonal: locality self-attention (model/layers/attention.py).
        pad_to_multiple_of: tokens that the attention computes with; changes the speed, not the function (same file).
        shifted_patches: patches of the image and four shifted copies (model/layers/shifted_patches.py); the paper
            combines it with patch_norm_before.
        dtype: "float32" or "bfloat16".

    Raises:
        ValueError: sizes, rates or choices that do not fit together; the message names them.
    """

    image_size: Size = 64
    patch_size: Size = 8
    channels: int = 3
    d_model: int = 256
    heads: int = 8
    layers: int = 8
    mlp_dim: int = 1024
    num_classes: int = 200
    norm: Literal["pre", "post", "none"] = "pre"
    residual: bool = True
    final_norm: bool = True
    pooling: Literal["class_token", "mean"] = "class_token"
    class_token: bool = True
    positions: Positions = "learned"
    patch_norm_before: bool = False
    patch_norm_after: bool = False
    gelu: Literal["tanh", "erf"] = "tanh"
    qkv_bias: bool = True
    eps: float = 1e-6
    head_weights: Literal["zeros", "glorot"] = "zeros"
    dropout: float = 0.0
    embedding_dropout: float = 0.0
    attention_dropout: float = 0.0
    patch_dropout: float = 0.0
    drop_path: float = 0.0
    drop_path_rule: Literal["linear", "constant"] = "linear"
    layer_scale: float | None = None
    learned_temperature: bool = False
    masked_diagonal: bool = False
    pad_to_multiple_of: int = 1
    shifted_patches: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        for name in ("channels", "d_model", "mlp_dim", "num_classes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.dtype not in ("float32", "bfloat16"):
            raise ValueError(f"dtype must be 'float32' or 'bfloat16', got {self.dtype!r}")
        if self.norm not in ("pre", "post", "none"):
            raise ValueError(f"norm must be 'pre', 'post' or 'none', got {self.norm!r}")
        if self.pooling not in ("class_token", "mean"):
            raise ValueError(f"pooling must be 'class_token' or 'mean', got {self.pooling!r}")
        if self.pooling == "class_token" and not self.class_token:
            raise ValueError("pooling 'class_token' needs class_token=True; or choose pooling 'mean'")
        if self.layers < 1:
            self._check_without_blocks()
        _ = self.body  # the layers check their own sizes, rates and choices
        tokens, first = self.position_embedding.tokens, int(self.class_token)
        kept = KeepTokens(self.patch_dropout, first).count(tokens)
        if self.masked_diagonal and kept < 2:
            what = "a smaller patch_size" if tokens < 2 else "a smaller patch_size or patch_dropout"
            raise ValueError(f"masked_diagonal needs 2 tokens or more: choose {what}")
        if self.patch_dropout and kept == tokens:
            raise ValueError(f"patch_dropout={self.patch_dropout} leaves out none of {tokens - first} patches")

    def _check_without_blocks(self) -> None:
        if self.layers < 0:
            raise ValueError(f"layers must be at least 0, got {self.layers}")
        wrong = [f"{name}={value!r}" for name, value in WITHOUT_BLOCKS.items() if getattr(self, name) != value]
        if wrong:
            raise ValueError(f"layers=0 leaves no block for what these options do: set {' '.join(wrong)}")

    @property
    def patch_embedding(self) -> PatchEmbedding:
        return PatchEmbedding(
            self.image_size,
            self.patch_size,
            VIEWS * self.channels if self.shifted_patches else self.channels,
            self.d_model,
            norm_before=self.patch_norm_before,
            norm_after=self.patch_norm_after,
            eps=self.eps,
        )

    @property
    def position_embedding(self) -> PositionEmbedding:
        return PositionEmbedding(self.patch_embedding.patchify.grid, self.d_model, self.class_token, self.positions)

    @property
    def encoder(self) -> Encoder:
        attention: dict[str, Any] = {
            "dropout": self.attention_dropout,
            "qkv_bias": self.qkv_bias,
            "learned_temperature": self.learned_temperature,
            "masked_diagonal": self.masked_diagonal,
            "pad_to_multiple_of": self.pad_to_multiple_of,
        }
        block = EncoderBlock(
            MultiHeadAttention(self.d_model, self.heads, **attention),
            FeedForward(self.d_model, self.mlp_dim, self.gelu, self.dropout),
            None if self.norm == "none" else LayerNorm(self.d_model, self.eps),
            norm_first=self.norm == "pre",
            residual=self.residual,
            dropout=self.dropout,
            layer_scale=None if self.layer_scale is None else LayerScale(self.d_model, self.layer_scale),
            drop_path=self.drop_path,
        )
        last = None
        if self.pooling == "class_token":  # nothing after the last attention reads another token
            last = replace(block, attention=ClassTokenAttention(self.d_model, self.heads, **attention), tokens=1)
        return Encoder(block, self.layers, self.drop_path_rule, last)

    @property
    def pool(self) -> Layer:
        if self.pooling == "class_token":
            return ClassTokenPooling(tokens=1)
        return MeanPooling(class_token=self.class_token)

    @property
    def body(self) -> Sequential:
        return self.compose()

    def features(self, params: Params, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """What the head reads of each image, the pooled token (B, D), and the logits (B, num_classes)."""
        *below, (name, head) = self.body.layers
        pooled, _ = Sequential(tuple(below)).forward(params, images)
        logits, _ = head.forward(params[name], pooled)
        return pooled, logits

    def tokens(self, params: Params, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """All tokens after the final norm (B, N, D), the class token first if there is one, and the logits.

        With pooling "class_token" the last block of `forward` computes that token alone. Here it computes all of them,
        from the same parameters. The logits are those of `forward` up to rounding.
        """
        *below, (pooling, pool), (name, head) = self.compose(every_token=True).layers
        tokens, _ = Sequential(tuple(below)).forward(params, images)
        pooled, _ = pool.forward(params[pooling], tokens)
        logits, _ = head.forward(params[name], pooled)
        return tokens, logits

    def compose(self, every_token: bool = False) -> Sequential:
        """The list of all layers; with `every_token` the last block computes every token."""
        layers: list[tuple[str, Layer]] = []
        if self.shifted_patches:
            layers.append(("shifted_patches", ShiftedPatches(self.patch_size)))
        layers += [
            ("patch_embedding", self.patch_embedding),
            ("position_embedding", self.position_embedding),
            ("embedding_dropout", Dropout(self.embedding_dropout)),
        ]
        if self.patch_dropout:
            layers.append(("keep_tokens", KeepTokens(self.patch_dropout, first=int(self.class_token))))
        if self.layers:
            layers.append(("encoder", replace(self.encoder, last=None) if every_token else self.encoder))
        if self.final_norm:
            layers.append(("norm", LayerNorm(self.d_model, self.eps)))
        layers.append(("pooling", self.pool))
        layers.append(("head", Dense(self.d_model, self.num_classes, weights=self.head_weights)))
        body = Sequential(tuple(layers))
        return mixed_precision(body) if self.dtype == "bfloat16" else body
