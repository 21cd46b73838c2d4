"""The feed-forward network of a transformer block: one wide hidden layer, applied to each token separately.

Forward    y = dropout(GELU(x W_1 + b_1)) W_2 + b_2, then dropout            (FF.1)
Backward   Sequential walks the five layers in reverse; nothing is left to derive here.

Shapes     x, y (B, N, D); hidden (B, N, M); W_1 (D, M), b_1 (M,); W_2 (M, D), b_2 (D,)
"""

from dataclasses import dataclass
from typing import Literal

from model.combinators import Composite, Sequential
from model.layer import require_sizes
from model.layers.dense import Dense
from model.layers.dropout import Dropout
from model.layers.gelu import GELU


@dataclass(frozen=True)
class FeedForward(Composite):
    """Two dense layers with a GELU in between; dropout after the GELU and at the end.

    The parameters are under `expand` and `project`.

    Raises:
        ValueError: a width is below 1, or the rate is not in [0, 1).
    """

    d_model: int
    mlp_dim: int
    gelu: Literal["tanh", "erf"] = "tanh"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        require_sizes(self, "d_model", "mlp_dim")
        _ = self.body  # its layers check their own rate and choice

    @property
    def body(self) -> Sequential:
        return Sequential(
            (
                ("expand", Dense(self.d_model, self.mlp_dim)),
                ("gelu", GELU(self.gelu)),
                ("hidden_dropout", Dropout(self.dropout)),
                ("project", Dense(self.mlp_dim, self.d_model)),
                ("output_dropout", Dropout(self.dropout)),
            )
        )
