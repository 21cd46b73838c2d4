"""Mean squared error of the patches that a masked autoencoder does not see (He et al. 2021, arXiv:2111.06377).

Targets    m     = mean of the P values p of a patch,   v = 1/(P - 1) sum of (p - m)^2                   (MSE.1)
           t     = (p - m) / sqrt(v + eps)                                                               (MSE.2)
Forward    loss  = 1/(h P) sum over the h hidden patches, and the P values of each, of (y - t)^2         (MSE.3)
Backward   dy    = 2 (y - t) / (h P)   at the hidden patches,  0 at those that the encoder saw           (MSE.4)

h counts the hidden patches of all images. A visible patch could be copied, so it teaches nothing and does not count.

The targets divide each patch by its own contrast: faint texture counts as much as a hard edge, and the mean colour of a
patch, which its neighbours give away, is not asked for. No gradient goes through the targets; they are data.

Shapes     y, p, t, dy (B, n, P); m, v (B, n, 1); hidden (B, n) booleans; loss ()
Cache      y - t, zero at the visible patches (B, n, P), and h P ()
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

EPS = 1e-6
"""Added to the variance of a patch, in units of the normalized image: a patch of one colour has targets of zero."""


class MaskedSquaredErrorCache(NamedTuple):
    errors: jax.Array  # (B, n, P), y - t at the hidden patches, and zero elsewhere
    values: jax.Array  # (), h P: how many the mean is taken over


@dataclass(frozen=True)
class MaskedSquaredError:
    """The mean over hidden patches. Without `normalize_patches` the targets are the pixels: no MSE.1, no MSE.2."""

    normalize_patches: bool = True

    def forward(
        self, predicted: jax.Array, patches: jax.Array, hidden: jax.Array
    ) -> tuple[jax.Array, MaskedSquaredErrorCache]:
        """`patches` are those of the image, (B, n, P); at least one patch must be hidden."""
        errors = self._errors(predicted, patches, hidden)
        values = hidden.sum() * predicted.shape[-1]
        return (errors**2).sum() / values, MaskedSquaredErrorCache(errors, values)  # MSE.3

    def backward(self, cache: MaskedSquaredErrorCache) -> jax.Array:
        return 2 * cache.errors / cache.values  # MSE.4

    def each(self, predicted: jax.Array, patches: jax.Array, hidden: jax.Array) -> jax.Array:
        """The loss of each image, (B,): its mean over images with equally many hidden patches is that of `forward`."""
        squares = self._errors(predicted, patches, hidden) ** 2
        return squares.sum(axis=(1, 2)) / (hidden.sum(axis=1) * predicted.shape[-1])

    def targets(self, patches: jax.Array) -> jax.Array:
        """What is to be predicted of each patch, (B, n, P). Raises ValueError if P is 1, which has no variance."""
        if not self.normalize_patches:
            return patches
        mean, scale = self.contrast(patches)
        return (patches - mean) / scale  # MSE.2

    def contrast(self, patches: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The mean of each patch and what its values are divided by, (B, n, 1) each: they undo MSE.2."""
        P = patches.shape[-1]
        if P < 2:
            raise ValueError("a patch of one value has no variance: choose larger patches or normalize_patches=False")
        mean = patches.mean(axis=-1, keepdims=True)
        variance = ((patches - mean) ** 2).sum(axis=-1, keepdims=True) / (P - 1)  # MSE.1
        return mean, jnp.sqrt(variance + EPS)

    def _errors(self, predicted: jax.Array, patches: jax.Array, hidden: jax.Array) -> jax.Array:
        """y - t at the hidden patches, and zero elsewhere."""
        return jnp.where(hidden[:, :, None], predicted - self.targets(patches), 0)
