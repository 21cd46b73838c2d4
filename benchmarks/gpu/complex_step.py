"""Which operation loses the imaginary part of a complex step on this device, and how much of it.

    python -m benchmarks.gpu.complex_step [--device cpu|gpu]

Of each operation the derivative by a complex step (COMPLEX.1 in verify/complex_step.py) is computed on the device and
by NumPy, on the same numbers and with the same step. Prints one line of JSON: the largest difference by operation,
relative to the largest derivative. It should be some roundings, 1e-15; 1 means that the imaginary part is lost.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from common.command import run_command
from training.device import CHOICES, choose_device
from verify.complex_step import STEP

Operation = Callable[[Any, Any], Any]  # numpy or jax.numpy, and the array, to the result
ELEMENT_WISE: dict[str, Operation] = {
    "product": lambda xp, z: z * z,
    "reciprocal": lambda xp, z: 1 / z,
    "quotient": lambda xp, z: z / z[::-1],
    "quotient by a real number": lambda xp, z: z / z.real,
    "square": lambda xp, z: xp.square(z),
    "power": lambda xp, z: z**3,
    "exp": lambda xp, z: xp.exp(z),
    "log": lambda xp, z: xp.log(z),
    "sqrt": lambda xp, z: xp.sqrt(z),
    "reciprocal of sqrt": lambda xp, z: 1 / xp.sqrt(z),
    "tanh": lambda xp, z: xp.tanh(z),
    "sum": lambda xp, z: z.sum(axis=-1),
    "mean of squares": lambda xp, z: (z * z).mean(axis=-1),
    "softmax": lambda xp, z: xp.exp(z) / xp.exp(z).sum(axis=-1, keepdims=True),
    "layer norm": lambda xp, z: (z - z.mean(-1, keepdims=True)) / xp.sqrt(_variance(z)[..., None] + 1e-6),
    "GELU": lambda xp, z: z * (1 + xp.tanh(0.8 * (z + 0.04 * z**3))),
}
PRODUCTS: dict[str, Operation] = {
    "matrix product": lambda xp, z: z[0] @ z[0],
    "matrix product with a real matrix": lambda xp, z: z[0] @ z[0].real,
    "matrix product of a stack with one real matrix": lambda xp, z: z @ z[0].real,
    "batched matrix product": lambda xp, z: z @ z,
    "batched product with a transposed matrix": lambda xp, z: z @ z.swapaxes(-1, -2),
    "matrix product in real parts": lambda xp, z: _in_real_parts(xp, z[0], z[0]),
}
SIZES = (8, 65, 256)


def _variance(z: Any) -> Any:
    return ((z - z.mean(-1, keepdims=True)) ** 2).mean(-1)


def _in_real_parts(xp: Any, a: Any, b: Any) -> Any:
    """The product of complex matrices as the four products that the formula has."""
    return (a.real @ b.real - a.imag @ b.imag) + 1j * (a.real @ b.imag + a.imag @ b.real)


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.complex_step", description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=CHOICES, default="auto")
    parser.add_argument("--debug", action="store_true")
    args = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    choose_device(args.device)
    report = {name: difference(operation, 64) for name, operation in ELEMENT_WISE.items()}
    for name, operation in PRODUCTS.items():
        report |= {f"{name}, {size}x{size}": difference(operation, size) for size in SIZES}
    print(json.dumps(report))


def difference(operation: Operation, size: int) -> float:
    """Of the derivatives of an operation on positive numbers (4, size, size), all moved at once, each by a step."""
    rng = np.random.default_rng(size)
    z = rng.uniform(0.5, 2, (4, size, size)) + 1j * STEP * rng.normal(size=(4, size, size))
    expected = operation(np, z).imag
    found = np.asarray(jax.jit(lambda z: operation(jnp, z).imag)(z))
    return float(np.abs(found - expected).max() / np.abs(expected).max())


if __name__ == "__main__":
    sys.exit(run_command(main))
