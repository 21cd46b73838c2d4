"""Muon: momentum, orthogonalized by Newton-Schulz, for the weight matrices of the encoder; AdamW for everything else.

m     = momentum * m + g                       sum of gradients, older ones count less        (MUON.1)
U     = g + momentum * m                       Nesterov's: one step ahead of it               (MUON.2)
X     = U / ||U||                              no singular value is above 1                   (MUON.3)
X     = a X + (b G + c G G) X,  G = X X^T      Newton-Schulz, five times                      (MUON.4)
theta = theta - lr * (0.2 sqrt(max(rows, columns)) X + weight_decay * theta)                  (MUON.5)

Let X = P diag(s) Q^T. MUON.4 leaves P and Q as they are and makes a s + b s^3 + c s^5 of each singular value s, so it
leads towards P Q^T, the orthogonal matrix nearest to U. A few directions dominate a gradient; in P Q^T all of them
count alike. With a, b, c = 3.4445, -4.7750, 2.0315 a small s more than triples each time. The price is that s does
not converge to 1: after five times it lies between 0.68 and 1.21, if it began at 0.0015 or more. That is near enough.

The entries of an orthogonal X have mean square 1 / max(rows, columns). The factor in MUON.5 makes that 0.2^2 for any
shape, which is about that of an AdamW update: so one learning rate and one weight decay serve both. The decay is that
of ADAMW.4.

The weights of queries, keys and values lie side by side in one matrix and are three: `qkv/W`, (D, 3D) with columns
ordered (3, H, K), is orthogonalized as three matrices (D, D), whose rows and columns MUON.5 counts.

AdamW updates biases, gains, class token, positions, patch embedding and head. The first four are no weight matrices. In
a matrix that reads pixels or produces logits each row or column has a meaning of its own, and they should not all count
alike.

Sources    MUON.1 to MUON.4: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/
           MUON.5: Liu et al. 2025, arXiv:2502.16982, section 2.2
Shapes     g, m, U, X, theta (rows, columns), all of one type; if rows > columns, MUON.4 works on the transpose, so that
           G is the smaller of the two possible squares
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optim import Params
from optim.adamw import AdamW, AdamWState, decays
from optim.clip import power_of_two

HIDDEN = "encoder"
"""The branch of the parameters whose weight matrices Muon updates."""
FUSED = {"qkv": 3}
"""Layers whose matrix holds several equally wide matrices side by side, and how many."""
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""a, b and c of MUON.4."""
RMS = 0.2
"""Root mean square of an update before the learning rate, for MUON.5."""
EPS = 1e-7
"""The smallest divisor in MUON.3: zeros stay zeros, and a gradient of mere rounding is not magnified."""


class MuonState(NamedTuple):
    momentum: Params  # m of MUON.1; None for each parameter that AdamW updates
    adamw: AdamWState  # of the other parameters; None for each that Muon updates

    @property
    def step(self) -> jax.Array:
        """(), updates made so far."""
        return self.adamw.step


@dataclass(frozen=True)
class Muon:
    """Pure `init` and `update`; nothing is stored in the optimizer.

    Attributes:
        adamw: updates the other parameters; its learning rate and weight decay hold for all.
        momentum: decay rate of the sum of gradients, in [0, 1).
        newton_schulz_steps: iterations of MUON.4.
        matrices: how a stack of matrices (n, rows, columns) is divided among devices, each of which computes MUON.4 for
            its own. None: every device does so for all.

    Raises:
        ValueError: a value is out of range.
    """

    adamw: AdamW
    momentum: float = 0.95
    newton_schulz_steps: int = 5
    matrices: jax.sharding.NamedSharding | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be at least 0 and below 1, got {self.momentum}")
        if self.newton_schulz_steps < 1:
            raise ValueError(f"newton_schulz_steps must be at least 1, got {self.newton_schulz_steps}")

    def init(self, params: Params) -> MuonState:
        """The state before the first update. Raises ValueError if no parameter is Muon's."""
        hidden, others = split(params)
        if not jax.tree.leaves(hidden):
            raise ValueError(f"Muon finds no weight matrix in a branch {HIDDEN!r} of the parameters: use AdamW")
        return MuonState(jax.tree.map(jnp.zeros_like, hidden), self.adamw.init(others))

    def update(self, params: Params, grads: Params, state: MuonState) -> tuple[Params, MuonState]:
        """One step; `grads` has the tree of `params`. Returns the new parameters and the new state."""
        hidden, others = split(params)
        hidden_grads, other_grads = split(grads)
        rate = self.rate(state.step)
        others, adamw = self.adamw.update(others, other_grads, state.adamw)

        momentum = jax.tree.map(lambda m, g: self.momentum * m + g, state.momentum, hidden_grads)  # MUON.1
        ahead = jax.tree.map(lambda m, g: g + self.momentum * m, momentum, hidden_grads)  # MUON.2

        def step(theta: jax.Array, direction: jax.Array) -> jax.Array:
            decayed = direction + self.adamw.weight_decay * theta
            return theta - rate.astype(theta.dtype) * decayed  # MUON.5

        hidden = jax.tree.map(step, hidden, self.directions(ahead))
        return merge(hidden, others), MuonState(momentum, adamw)

    def rate(self, step: jax.Array | int) -> jax.Array:
        """The learning rate after `step` updates, a scalar."""
        return self.adamw.rate(step)

    def directions(self, ahead: Params) -> Params:
        """The first term of MUON.5 for each U of a tree.

        Matrices of one size are stacked: a few large products in place of some hundred small ones, which on a GPU
        would take less time to compute than to start.
        """
        leaves, tree = jax.tree_util.tree_flatten_with_path(ahead)
        stacks: dict[tuple[int, ...], list[jax.Array]] = {}
        for path, U in leaves:
            for matrix in jnp.split(U, _parts(path), axis=1):
                stacks.setdefault(matrix.shape, []).append(matrix)
        found = {shape: iter(self._directions(jnp.stack(matrices))) for shape, matrices in stacks.items()}

        def join(path: Any, U: jax.Array) -> jax.Array:
            rows, columns = U.shape[0], U.shape[1] // _parts(path)
            return jnp.concatenate([next(found[rows, columns]) for _ in range(_parts(path))], axis=1)

        return jax.tree.unflatten(tree, [join(path, U) for path, U in leaves])

    def _directions(self, U: jax.Array) -> jax.Array:
        """The first term of MUON.5 for matrices (n, rows, columns)."""
        if self.matrices is not None:
            n, devices = len(U), self.matrices.mesh.size
            filled = jnp.pad(U, ((0, -n % devices), (0, 0), (0, 0)))  # with matrices of zeros, which stay so
            divided = jax.lax.with_sharding_constraint(filled, self.matrices)
            return replace(self, matrices=None)._directions(divided)[:n]
        return RMS * max(U.shape[1:]) ** 0.5 * newton_schulz(U, self.newton_schulz_steps)


def newton_schulz(U: jax.Array, steps: int) -> jax.Array:
    """Bring all singular values of matrices (..., rows, columns) close to 1: MUON.3, then MUON.4 `steps` times."""
    if U.shape[-2] > U.shape[-1]:
        return newton_schulz(U.swapaxes(-1, -2), steps).swapaxes(-1, -2)
    unit = power_of_two(jnp.abs(U).max(axis=(-1, -2), keepdims=True))  # as in CLIP.1
    norm = unit * jnp.sqrt(((U / unit) ** 2).sum(axis=(-1, -2), keepdims=True))
    X = U / jnp.maximum(norm, EPS)  # MUON.3
    a, b, c = COEFFICIENTS
    for _ in range(steps):
        G = X @ X.swapaxes(-1, -2)
        X = a * X + (b * G + c * (G @ G)) @ X  # MUON.4
    return X


def is_hidden(path: Any, parameter: jax.Array) -> bool:
    """Whether Muon updates the parameter at this path of the tree: a weight matrix anywhere below `encoder`."""
    return HIDDEN in _names(path)[:-1] and parameter.ndim == 2 and decays(path, parameter)


def split(tree: Params) -> tuple[Params, Params]:
    """Split a tree like the parameters in two, Muon's and the rest. Each has None where the other has its leaves."""

    def part(muon: bool) -> Params:
        return jax.tree_util.tree_map_with_path(lambda path, x: x if is_hidden(path, x) == muon else None, tree)

    return part(True), part(False)


def merge(hidden: Params, others: Params) -> Params:
    """The tree that `split` took apart."""
    return jax.tree.map(lambda a, b: b if a is None else a, hidden, others, is_leaf=lambda leaf: leaf is None)


def _parts(path: Any) -> int:
    """How many matrices lie side by side in the one at this path."""
    return FUSED.get(_names(path)[-2], 1)


def _names(path: Any) -> list[Any]:
    return [getattr(entry, "key", None) for entry in path]
