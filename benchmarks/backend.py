"""Is the compiler right? What this project computes, compiled, against the same operations one by one in NumPy.

    python -m benchmarks.backend [--only TEXT] [--json FILE]

One line for each shape: presets of `configs.yml` at their real width, batches from 1 to 1,024 images, float32, bfloat16
and float64; one or two encoder blocks, as all blocks are equal. The parts are those of `python gradcheck.py`
(checks/compiled.py): augmentation, forward and backward, update, evaluation, loop over microbatches. Of
`tiny_imagenet` and `demo` short runs of operations are compiled by themselves, too. `differs` is the largest
difference, relative to the largest number of its tensor, and `allowed` what rounding explains there. After a line that
is wrong stands the operation that the compiler got wrong.

The last lines are programs that some releases are known to get wrong, and say whether this one does. They are no part
of this project, and do not count.

Exit code: 0 everything of this project is right, 1 something is not. `python -m benchmarks.releases` does this with
several releases of JAX; docs/gradcheck.md has the table.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from checks.compiled import AUGMENTATION, EVALUATION, GRADIENTS, PARTS, compiled_result, pieces
from common.command import run_command
from common.files import replace_text
from common.paths import named_path, require_writable
from common.text import counted
from training.arguments import CommandParser
from training.config import load_config
from training.device import CHOICES, choose_device, describe_device
from verify.agreement import Comparison
from verify.compiled import compare
from verify.results import COMPILED, PASS, CaseResult, wrapped


@dataclass(frozen=True)
class Shape:
    """A preset with overrides, how many images at once, and which parts of a step."""

    preset: str
    overrides: tuple[str, ...]
    images: int
    parts: tuple[str, ...] = (GRADIENTS, EVALUATION)
    blocks: int = 1  # encoder blocks
    regions: bool = False  # compare short runs of operations as well
    float64: bool = False
    called: str = ""  # what the overrides make of the preset, where the type does not say it

    @property
    def name(self) -> str:
        half = any(override.startswith("model.dtype") for override in self.overrides)
        kind = "float64" if self.float64 else "bfloat16" if half else "float32"
        return ", ".join([self.preset, *([self.called] if self.called else []), str(self.images), kind])


@dataclass(frozen=True)
class Program:
    """A line of the table."""

    shape: str
    part: str
    differs: float
    allowed: float
    verdict: str
    diagnosis: str


@dataclass(frozen=True)
class Findings:
    """What --json writes, and benchmarks.releases reads."""

    jax: str
    jaxlib: str
    device: str
    programs: list[Program]
    known: dict[str, list[Any]]  # by program, what is wrong in it


HALF = ("model.dtype=bfloat16",)
POLICY = (
    "augment.policy=trivial_augment", "augment.color_jitter=0.3", "augment.resized_crop=0.3", "augment.mixup=0.8",
    "augment.cutmix=1", "augment.erasing=0.25",
)  # fmt: skip
OWN_IMAGES = ("model.image_size=224", "model.patch_size=16", "model.channels=3", "model.num_classes=5")
SHAPES = [
    Shape("tiny_imagenet", (), 8, PARTS, blocks=2),
    Shape("tiny_imagenet", HALF, 8, (GRADIENTS,), blocks=2, regions=True),
    Shape("tiny_imagenet", (), 64, (GRADIENTS,)),
    Shape("tiny_imagenet", (), 1024, (EVALUATION,)),
    Shape("tiny_imagenet", (), 2, (GRADIENTS,), float64=True),
    Shape("tiny_imagenet_cpu", (), 16, PARTS, blocks=2),
    Shape("tiny_imagenet_cpu", (), 256, (AUGMENTATION, EVALUATION)),
    Shape("mae_cpu", (), 8, PARTS),
    Shape("demo", (), 1),
    Shape("demo", (), 8, (GRADIENTS,), blocks=2, regions=True),
    Shape("demo", POLICY, 32, (AUGMENTATION, GRADIENTS), called="augmented"),
    Shape("demo", (), 1024),
    Shape("demo", HALF, 1024, (GRADIENTS,)),
    Shape("demo", (), 1024, (GRADIENTS,), float64=True),
    Shape("cifar10", (), 128, (GRADIENTS,)),
    Shape("fashion_mnist", (), 8, PARTS),
    Shape("image_folder", OWN_IMAGES, 8),
]


def main(argv: Sequence[str]) -> int:
    parser = CommandParser(prog="python -m benchmarks.backend", description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="TEXT", default="", help="only the lines whose name contains TEXT")
    parser.add_argument("--json", metavar="FILE", type=named_path)
    parser.add_argument("--device", choices=CHOICES, default="auto")
    parser.add_argument("--debug", action="store_true")
    args: argparse.Namespace = parser.parse_args(argv)
    if args.json:  # before the work, not after it
        require_writable("--json", args.json)
    device = choose_device(args.device)
    print(f"JAX {jax.__version__}, jaxlib {jax.lib.__version__}, {describe_device(device)}")
    print(f"{'preset, images, type':<31} {'part':<28} {'differs':>8} {'allowed':>8}", flush=True)
    rows = []
    for name, result in results(args.only):
        worst, allowed = largest(result)
        part = result.name.removeprefix("compiled: ")
        print(f"{name:<31} {part:<28} {worst:>8.1e} {allowed:>8.1e}", flush=True)
        diagnosis = next((tensor.diagnosis for tensor in result.wrong), "")
        if diagnosis:
            print("\n".join(wrapped([f"    MISCOMPILED: {diagnosis}"])), flush=True)
        rows.append(Program(name, part, worst, allowed, result.verdict, diagnosis))
    known = {name: [asdict(c) for c in wrong] for name, wrong in known_bugs()} if not args.only else {}
    for name, wrong in known.items():
        print(f"known elsewhere: {name}: {'wrong' if wrong else 'right'}")
    print(tally(rows))
    if args.json:
        found = Findings(jax.__version__, jax.lib.__version__, describe_device(device), rows, known)
        replace_text(args.json, json.dumps(asdict(found), indent=1) + "\n")
    return 0 if all(row.verdict == PASS for row in rows) else 1


def tally(rows: Sequence[Program]) -> str:
    """How many programs there are, and how many are wrong."""
    wrong = sum(row.verdict != PASS for row in rows)
    return f"{counted(len(rows), 'program')} of this project, {wrong or 'none'} miscompiled"


def results(only: str = "") -> Iterator[tuple[str, CaseResult]]:
    for shape in SHAPES:
        if only not in shape.name:
            continue
        config = load_config(shape.preset, list(shape.overrides), None)
        for piece in pieces(config, 0, shape.images, shape.blocks):
            if piece.part in shape.parts:
                yield shape.name, compiled_result(piece, 0, regions=shape.regions, float64=shape.float64)


def largest(result: CaseResult) -> tuple[float, float]:
    """The largest difference relative to the largest number of its tensor, and what rounding allows there."""
    methods = [method for tensor in result.tensors for method in tensor.methods if method.method == COMPILED]
    return max(((m.worst or 0.0, m.bar or 0.0) for m in methods), default=(0.0, 0.0))


def known_bugs() -> Iterator[tuple[str, list[Comparison]]]:
    """Programs that some release gets wrong, each with the outputs that this one gets wrong."""
    for kind, n in (("float32", 32_769), ("float64", 16_385)):
        with jax.enable_x64(kind == "float64"):
            x = np.zeros((n, 3), kind)
            x[:, 0] = np.arange(n)
            found = compare(squared_lengths, jnp.asarray(x), jnp.eye(3, dtype=kind))
        yield f"sums of squares of (A x), {n:,} vectors, {kind}", [row for row in found if row.differs]


def squared_lengths(x: jax.Array, A: jax.Array) -> jax.Array:
    """|A x|^2 of each vector, (n, 3) -> (n,)."""
    return jax.vmap(lambda row: jnp.sum((A @ row) ** 2))(x)


if __name__ == "__main__":
    sys.exit(run_command(main))
