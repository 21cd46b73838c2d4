"""The transformer encoder: blocks of attention and feed-forward, each on a residual branch.

Pre-norm   x = x + attention(norm(x));   x = x + feed_forward(norm(x))       (ENC.1)
Post-norm  x = norm(x + attention(x));   x = norm(x + feed_forward(x))       (ENC.2)

In a pre-norm block (Xiong et al. 2020, arXiv:2002.04745) the gradient has a path from the loss to every block through
additions alone; in the original post-norm block (Vaswani et al. 2017, arXiv:1706.03762) each norm on the way scales it,
which makes deep stacks harder to train without warmup. Neither needs a backward rule of its own: both are compositions.

To see what these parts do, a block can be built without them: `norm=None` leaves the norms out of ENC.1, and
`residual=False` leaves out the `x +`, so that the encoder is a chain of functions with no path for the gradient but
through all of them.

In a classifier that pools by the class token, the last block computes that token alone: its attention is that of
model/layers/class_token_attention.py, and everything after it sees one token instead of N.

Shapes     x, y (B, N, D); y (B, 1, D) from a last block that computes the class token alone
"""

from dataclasses import dataclass, replace
from typing import Literal

from model.combinators import Composite, Residual, Sequential
from model.layer import Layer
from model.layers.dropout import Dropout, DropPath
from model.layers.layer_scale import LayerScale

MOST_LAYERS = 1000  # the time to compile them grows with their number; of thousands it would not end
PARTS = {"attention": "MultiHeadAttention(D, H)", "feed_forward": "FeedForward(D, M)", "norm": "LayerNorm(D)"}


@dataclass(frozen=True)
class EncoderBlock(Composite):
    """One block, built from its parts: `EncoderBlock(MultiHeadAttention(D, H), FeedForward(D, M), LayerNorm(D))`.

    Attributes:
        attention, feed_forward: the layers inside the two branches.
        norm: the layer norm; each branch has one like it, with parameters of its own. None: no norms.
        norm_first: True for pre-norm, False for post-norm.
        residual: add the input of a branch to its output.
        dropout: rate after the attention; `feed_forward` has a rate of its own.
        layer_scale: the gains at the end of each branch; None: no gains.
        drop_path: probability that a branch is dropped.
        tokens: the attention returns only the first `tokens` tokens; None: all of them.

    Raises:
        TypeError: a part is no layer.
        ValueError: a rate is not in [0, 1); or `drop_path` without `residual`, which would make the whole output zero.
    """

    attention: Layer
    feed_forward: Layer
    norm: Layer | None
    norm_first: bool = True
    residual: bool = True
    dropout: float = 0.0
    layer_scale: LayerScale | None = None
    drop_path: float = 0.0
    tokens: int | None = None

    def __post_init__(self) -> None:
        for name, example in PARTS.items():
            part = getattr(self, name)
            if not hasattr(part, "backward") and not (name == "norm" and part is None):
                raise TypeError(f"{name} must be a layer, such as {example}, got {part!r}")
        if self.drop_path and not self.residual:
            raise ValueError(
                f"drop_path={self.drop_path} needs residual=True: it drops branches, and no other path would be left"
            )
        _ = self.body  # its layers check their own rates

    @property
    def body(self) -> Sequential:
        attention = self.branch(("attention", self.attention), ("dropout", Dropout(self.dropout)), tokens=self.tokens)
        feed_forward = self.branch(("feed_forward", self.feed_forward))
        return Sequential((("attention", attention), ("feed_forward", feed_forward)))

    def branch(self, *layers: tuple[str, Layer], tokens: int | None = None) -> Layer:
        """A residual branch of these layers that returns the first `tokens` tokens, with the norm before or after."""
        scale: tuple[tuple[str, Layer], ...] = () if self.layer_scale is None else (("layer_scale", self.layer_scale),)
        norm: tuple[tuple[str, Layer], ...] = () if self.norm is None else (("norm", self.norm),)
        inside = (*layers, *scale, ("drop_path", DropPath(self.drop_path)))
        if not self.residual:
            return Sequential((*norm, *inside) if self.norm_first else (*inside, *norm))
        if self.norm_first or not norm:
            return Residual(Sequential((*norm, *inside)), tokens)  # ENC.1
        return Sequential((("residual", Residual(Sequential(inside), tokens)), *norm))  # ENC.2


@dataclass(frozen=True)
class Encoder(Composite):
    """`layers` blocks like `block`, each with parameters of its own, named `block_0`, `block_1`, ...

    `block.drop_path` is the rate of the last block. With `drop_path_rule="linear"` it grows from 0 at the first, since
    early blocks serve all later ones (Huang et al. 2016, arXiv:1603.09382); with `"constant"` all blocks have it.
    `last` replaces the last block, for example by one that returns the class token alone.

    Raises:
        ValueError: fewer than one layer, more than MOST_LAYERS, or an unknown `drop_path_rule`.
    """

    block: EncoderBlock
    layers: int
    drop_path_rule: Literal["linear", "constant"] = "linear"
    last: EncoderBlock | None = None

    def __post_init__(self) -> None:
        if self.layers < 1:
            raise ValueError(f"an encoder needs at least 1 layer, got {self.layers}")
        if self.layers > MOST_LAYERS:
            raise ValueError(f"an encoder has at most {MOST_LAYERS} layers, as each is compiled, got {self.layers}")
        if self.drop_path_rule not in ("linear", "constant"):
            raise ValueError(f"drop_path_rule must be 'linear' or 'constant', got {self.drop_path_rule!r}")

    @property
    def body(self) -> Sequential:
        blocks = [self.block] * (self.layers - 1) + [self.last or self.block]
        dropping = [replace(block, drop_path=self._rate(i)) for i, block in enumerate(blocks)]
        return Sequential(tuple((f"block_{i}", block) for i, block in enumerate(dropping)))

    def _rate(self, i: int) -> float:
        if self.drop_path_rule == "constant":
            return self.block.drop_path
        return self.block.drop_path * (i / (self.layers - 1) if self.layers > 1 else 1)
