"""The transformer encoder: blocks of attention and feed-forward, each on a residual branch.

Pre-norm   x = x + attention(norm(x));   x = x + feed_forward(norm(x))       (ENC.1)
Post-norm  x = norm(x + attention(x));   x = norm(x + feed_forward(x))       (ENC.2)

In a pre-norm block (Xiong et al. 2020, arXiv:2002.04745) the gradient has a path from the loss to every block through
additions alone; in the original post-norm block (Vaswani et al. 2017, arXiv:1706.03762) each norm on the way scales it,
which makes deep stacks harder to train without warmup. Neither needs a backward rule of its own: both are compositions.

The last block of a classifier that pools by the class token has one token to compute (`class_token_only`): its
attention is that of model/layers/class_token_attention.py, and what stands behind it sees one token in place of N.

Shapes     x, y (B, N, D); with `class_token_only` y (B, 1, D)
"""

from dataclasses import dataclass, replace
from typing import Literal

from model.combinators import Composite, Residual, Sequential
from model.layer import Layer
from model.layers.class_token_attention import ClassTokenAttention
from model.layers.dropout import Dropout, DropPath
from model.layers.feed_forward import FeedForward
from model.layers.layer_norm import LayerNorm
from model.layers.layer_scale import LayerScale
from model.layers.multi_head_attention import MultiHeadAttention


@dataclass(frozen=True)
class EncoderBlock(Composite):
    """One block, pre-norm (`norm="pre"`) or post-norm (`norm="post"`).

    `dropout` acts behind the attention and in the feed-forward, `attention_dropout` on the attention weights,
    `drop_path` on each whole branch, behind a `LayerScale` that starts at `layer_scale` (None: there is none).
    `learned_temperature` and `masked_diagonal` are those of the attention.
    With `class_token_only` its output is that of token 0 alone.

    Raises:
        ValueError: `norm` is neither, or a layer inside refuses its sizes or rates.
    """

    d_model: int
    heads: int
    mlp_dim: int
    norm: Literal["pre", "post"] = "pre"
    gelu: Literal["tanh", "erf"] = "tanh"
    qkv_bias: bool = True
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.0
    eps: float = 1e-6
    class_token_only: bool = False
    layer_scale: float | None = None
    learned_temperature: bool = False
    masked_diagonal: bool = False

    def __post_init__(self) -> None:
        if self.norm not in ("pre", "post"):
            raise ValueError(f"norm must be 'pre' or 'post', got {self.norm!r}")
        _ = self.body  # its layers check their own sizes

    @property
    def body(self) -> Sequential:
        kind, tokens = (ClassTokenAttention, 1) if self.class_token_only else (MultiHeadAttention, None)
        attend = kind(
            self.d_model,
            self.heads,
            self.attention_dropout,
            self.qkv_bias,
            self.learned_temperature,
            self.masked_diagonal,
        )
        end: tuple[tuple[str, Layer], ...] = (("drop_path", DropPath(self.drop_path)),)
        if self.layer_scale is not None:
            end = (("layer_scale", LayerScale(self.d_model, self.layer_scale)), *end)
        attention: tuple[tuple[str, Layer], ...] = (("attention", attend), ("dropout", Dropout(self.dropout)), *end)
        feed_forward: tuple[tuple[str, Layer], ...] = (
            ("feed_forward", FeedForward(self.d_model, self.mlp_dim, self.gelu, self.dropout)),
            *end,
        )
        norm = ("norm", LayerNorm(self.d_model, self.eps))
        if self.norm == "pre":  # ENC.1
            return Sequential(
                (
                    ("attention", Residual(Sequential((norm, *attention)), tokens)),
                    ("feed_forward", Residual(Sequential((norm, *feed_forward)))),
                )
            )
        return Sequential(  # ENC.2
            (
                ("attention", Sequential((("residual", Residual(Sequential(attention), tokens)), norm))),
                ("feed_forward", Sequential((("residual", Residual(Sequential(feed_forward))), norm))),
            )
        )


@dataclass(frozen=True)
class Encoder(Composite):
    """`layers` copies of `block`, each with parameters of its own, under `block_0`, `block_1`, ...

    `block.drop_path` is the rate of the last block. With `drop_path_rule="linear"` it grows from 0 at the first, since
    early blocks serve all later ones (Huang et al. 2016, arXiv:1603.09382); with `"constant"` all blocks have it.
    With `class_token_only` the last block returns the class token alone, (B, 1, D).

    Raises:
        ValueError: fewer than one layer, or a rule that is neither.
    """

    block: EncoderBlock
    layers: int
    drop_path_rule: Literal["linear", "constant"] = "linear"
    class_token_only: bool = False

    def __post_init__(self) -> None:
        if self.layers < 1:
            raise ValueError(f"an encoder needs at least 1 layer, got {self.layers}")
        if self.drop_path_rule not in ("linear", "constant"):
            raise ValueError(f"drop_path_rule must be 'linear' or 'constant', got {self.drop_path_rule!r}")

    @property
    def body(self) -> Sequential:
        blocks = [replace(self.block, drop_path=self._rate(i)) for i in range(self.layers)]
        if self.class_token_only:
            blocks[-1] = replace(blocks[-1], class_token_only=True)
        return Sequential(tuple((f"block_{i}", block) for i, block in enumerate(blocks)))

    def _rate(self, i: int) -> float:
        if self.drop_path_rule == "constant":
            return self.block.drop_path
        return self.block.drop_path * (i / (self.layers - 1) if self.layers > 1 else 1)
