"""Cross entropy between the softmax of the logits and the labels, averaged over the batch.

Forward    log p  = z - max z - log sum exp(z - max z)                       (CE.1)
           t      = (1 - s) * label + s / C    label smoothing s (Szegedy et al. 2016, arXiv:1512.00567)  (CE.2)
           loss   = -1/B sum_b sum_c t_bc log p_bc                           (CE.3)
Backward   dz     = (p * sum_c t - t) / B                                    (CE.4)

Where CE.4 comes from: ∂log p_c / ∂z_i = delta_ci - p_i, so dz_i = -1/B sum_c t_c (delta_ci - p_i)
= (p_i sum_c t_c - t_i) / B, and the targets of a probability distribution sum to 1: p - t. Softmax and logarithm, each
with a delicate derivative, collapse to a subtraction. Because the logarithm is taken inside (CE.1), logits of 1e4 are
safe: the argument of exp is never above 0, and the sum in the logarithm is at least 1. A logit of minus infinity rules
its class out: p is 0 there. If the target t is 0 as well, t log p counts as 0, its limit; otherwise the loss is
infinite.

Shapes     z (logits), p, t, dz (B, C); labels (B,) integers or (B, C) probabilities; loss ()
Cache      p and t, both (B, C)
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp


class CrossEntropyCache(NamedTuple):
    p: jax.Array  # (B, C), softmax of the logits
    targets: jax.Array  # (B, C), smoothed labels


@dataclass(frozen=True)
class CrossEntropy:
    """Mean cross entropy in nats; `label_smoothing` moves that share of each label to the uniform distribution.

    Raises:
        ValueError: `label_smoothing` is not in [0, 1), or labels are neither (B,) integers nor (B, C) probabilities.
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must be at least 0 and below 1, got {self.label_smoothing}")

    def forward(self, logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, CrossEntropyCache]:
        log_p, targets = self._log_p(logits), self._targets(logits, labels)
        loss = -_product(targets, log_p).sum() / len(logits)  # CE.3
        return loss, CrossEntropyCache(jnp.exp(log_p), targets)

    def backward(self, cache: CrossEntropyCache) -> jax.Array:
        p, targets = cache
        return (p * targets.sum(axis=-1, keepdims=True) - targets) / len(p)  # CE.4

    def each(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        """The loss of each image, (B,): an evaluation needs it to leave out the padding of its last batch."""
        return -_product(self._targets(logits, labels), self._log_p(logits)).sum(axis=-1)

    def _log_p(self, logits: jax.Array) -> jax.Array:
        shifted = logits - logits.max(axis=-1, keepdims=True)
        return shifted - jnp.log(jnp.exp(shifted).sum(axis=-1, keepdims=True))  # CE.1

    def _targets(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        B, C = logits.shape
        labels = jnp.asarray(labels)
        if labels.shape == (B,) and jnp.issubdtype(labels.dtype, jnp.integer):
            targets = (labels[:, None] == jnp.arange(C)).astype(logits.dtype)
            # A label outside 0..C-1 matches no class, so its loss would silently be 0. NaN stops the run instead.
            known = (labels >= 0) & (labels < C)
            targets = jnp.where(known[:, None], targets, jnp.nan)
        elif labels.shape == (B, C):
            targets = labels.astype(logits.dtype)
        else:
            raise ValueError(
                f"labels must be ({B},) integers or ({B}, {C}) probabilities, got {labels.shape} {labels.dtype}"
            )
        return (1 - self.label_smoothing) * targets + self.label_smoothing / C  # CE.2


def _product(targets: jax.Array, log_p: jax.Array) -> jax.Array:
    """t log p, and 0 where t is 0, even if log p is minus infinity: 0 times that would be NaN."""
    return jnp.where(targets == 0, 0, targets * log_p)
