"""The loss of a masked autoencoder: mean squared error of the hidden patches (He et al. 2021, arXiv:2111.06377).

Targets    m    = mean of the P values p of a patch
           v    = 1/(P - 1) sum of (p - m)^2
           t    = (p - m) / sqrt(v + EPS)
Loss       loss = 1/(h P) sum over the h hidden patches, and the P values of each, of (y - t)^2

h counts the hidden patches of all images; some images have more than others. No gradient goes through the targets.
"""

import jax
import jax.numpy as jnp

EPS = 1e-6


def masked_error(y, patches, hidden):
    """y and patches (B, N, P), hidden (B, N) booleans -> loss (), dy (B, N, P)."""
    raise NotImplementedError  # yours to write
