"""The contestants of `python -m benchmarks.step`: the same model and the same training step in several frameworks.

Each runs in a separate process (`python -m benchmarks.contestants NAME`), so no framework is imported here.
"""

from dataclasses import dataclass

REFERENCE = "engine"
"""The contestant that the others are compared with."""

PRODUCTS = "matmul"
"""No contestant: large matrix products, which show what the machine is capable of."""


@dataclass(frozen=True)
class Entry:
    module: str  # below benchmarks.contestants
    about: str
    names: str = "own"  # under which it is given the parameters: those of a naming of model/weights

    @property
    def framework(self) -> str:
        return "torch" if self.module == "pytorch" else "jax"


CONTESTANTS = {
    "engine": Entry("own", "this project's training step"),
    "autodiff": Entry("own", "jax.value_and_grad of this project's forward, its AdamW, the whole batch at once"),
    "autodiff-chunked": Entry("own", "the same, with the engine's microbatches"),
    "conventional": Entry("conventional", "a typical JAX ViT: jax.nn functions, jax.value_and_grad, optax.adamw"),
    "flax-nnx": Entry("flax_nnx", "Flax NNX modules with optax.adamw"),
    "torch-eager": Entry("pytorch", "PyTorch, eager", names="timm"),
    "torch-compile": Entry("pytorch", "PyTorch, torch.compile", names="timm"),
    PRODUCTS: Entry("products", "matrix products alone"),
}
