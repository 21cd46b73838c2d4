"""The contestants of `python -m benchmarks.step`: one model, one step, and what each framework makes of it.

Each runs in a process of its own (`python -m benchmarks.contestants NAME`), so nothing of a framework is imported here.
"""

from dataclasses import dataclass

REFERENCE = "engine"
"""The contestant that the others are compared with."""

PRODUCTS = "matmul"
"""Not a contestant: large matrix products, to know what the machine could do."""


@dataclass(frozen=True)
class Entry:
    module: str  # below benchmarks.contestants
    about: str


CONTESTANTS = {
    "engine": Entry("own", "this project's training step"),
    "autodiff": Entry("own", "jax.value_and_grad of this project's forward, its AdamW, the whole batch at once"),
    "autodiff-chunked": Entry("own", "the same, the batch in the same chunks as the engine's"),
    "conventional": Entry("conventional", "a usual JAX ViT: jax.nn functions, jax.value_and_grad, optax.adamw"),
    "flax-nnx": Entry("flax_nnx", "Flax NNX modules with optax.adamw"),
    "torch-eager": Entry("pytorch", "PyTorch, eager"),
    "torch-compile": Entry("pytorch", "PyTorch, torch.compile"),
    PRODUCTS: Entry("products", "matrix products alone"),
}
