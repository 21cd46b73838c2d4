"""Parity with PyTorch: the same weights, the same logits, gradients and training.

    python -m benchmarks.parity                        all configurations; ViT-B/16 takes a while
    python -m benchmarks.parity small oblong           some of them
    python -m benchmarks.parity --figure docs/parity.svg --json parity.json

The opponent is `ViTForImageClassification` of Hugging Face's transformers with random weights, which comes here through
the weight maps of model/weights. Compared are the logits in float32 and float64; the gradient of every parameter, by
our backward passes and by PyTorch's autograd, in float64; and the losses of steps of AdamW, each side by its own
optimizer. Needs PyTorch and transformers: pip install -r requirements-bench.txt
"""

import argparse
import importlib.util
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from common.argument_types import at_least, seed_number
from common.command import run_command
from common.errors import UserError
from common.files import replace_text
from common.paths import named_path, require_writable
from model.layer import Params
from model.layers.patch_embedding import height_width
from model.loss import CrossEntropy
from model.vit import ViT
from model.weights.maps import flatten, from_names, to_names
from model.weights.namings import HUGGINGFACE
from optim.adamw import AdamW
from training.device import choose_device
from training.objective import Classification
from training.weights.foreign import WRITTEN
from verify.plot import log_plot

LEAST = 1e-17  # a difference of exactly zero has no place on a logarithmic axis
RATE, DECAY = 1e-3, 0.05  # of AdamW
SPREAD = 0.02  # of what is added to PyTorch's initial weights, so that no bias is zero and no gain is one
BOUNDS = {"logits in float32": 1e-5, "logits in float64": 1e-10, "gradients": 1e-9, "losses": 1e-9}


@dataclass(frozen=True)
class Trial:
    model: ViT
    batch: int


TRIALS = {
    "small": Trial(ViT(32, 8, 3, d_model=64, heads=4, layers=4, mlp_dim=128, num_classes=10, gelu="erf", eps=1e-12), 8),
    "oblong": Trial(
        ViT((24, 32), (6, 8), 1, d_model=48, heads=3, layers=3, mlp_dim=96, num_classes=7, gelu="tanh", qkv_bias=False),
        8,
    ),
    "ViT-B/16": Trial(
        ViT(224, 16, 3, d_model=768, heads=12, layers=12, mlp_dim=3072, num_classes=1000, gelu="erf", eps=1e-12), 2
    ),
}


@dataclass(frozen=True)
class Parity:
    """How far both sides are apart. Logits: the largest difference, relative to the largest logit."""

    logits32: float
    logits64: float
    gradients: dict[str, float]  # by the name of the tensor: norm of the difference, relative to that of the gradient
    losses: list[float]  # by step: difference relative to the loss
    last_loss: float  # of ours

    @property
    def worst(self) -> dict[str, float]:
        """The largest figure of each kind, in the order of BOUNDS."""
        figures = (self.logits32, self.logits64, max(self.gradients.values()), max(self.losses))
        return dict(zip(BOUNDS, figures, strict=True))


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    for option in ("figure", "json"):
        if getattr(args, option):
            require_writable(f"--{option}", getattr(args, option))
    require_packages()
    choose_device("cpu")  # where float64 is as exact as float64 can be
    jax.config.update("jax_enable_x64", True)
    found = {}
    for name in args.trials or TRIALS:
        print(f"{name}: {TRIALS[name].batch} images, {args.steps} steps", flush=True)
        found[name] = measure(TRIALS[name], args.steps, args.seed)
    print("\n" + table(found))
    if args.json:
        values = {name: {"worst": parity.worst, "gradients": parity.gradients} for name, parity in found.items()}
        replace_text(args.json, json.dumps(values, indent=1) + "\n")
    if args.figure:
        replace_text(args.figure, figure(found))
    return 0 if all(within(parity) for parity in found.values()) else 1


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity", description="Parity with PyTorch.")
    parser.add_argument("trials", nargs="*", metavar="TRIAL", help=f"of {', '.join(TRIALS)} (default: all)")
    parser.add_argument("--steps", type=at_least(1), default=50, help="steps of AdamW (default: %(default)s)")
    parser.add_argument("--seed", type=seed_number, default=0)
    parser.add_argument("--figure", metavar="FILE", type=named_path, help="draw the differences of losses as .svg")
    parser.add_argument("--json", metavar="FILE", type=named_path, help="write every figure to FILE")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(argv)
    unknown = [name for name in args.trials if name not in TRIALS]
    if unknown:
        raise UserError(f"{unknown[0]}: no such trial; there are {', '.join(TRIALS)}")
    return args


def require_packages() -> None:
    """Raises UserError if the opponent is not installed."""
    for name in ("torch", "transformers"):
        if importlib.util.find_spec(name) is None:
            raise UserError(f"{name} is not installed: pip install -r requirements-bench.txt")


def measure(trial: Trial, steps: int, seed: int = 0) -> Parity:
    """Compare both sides. Needs JAX in double precision."""
    import torch

    model, rng = trial.model, np.random.default_rng(seed)
    images = rng.normal(size=(trial.batch, *height_width(model.image_size), model.channels))
    labels = rng.integers(0, model.num_classes, trial.batch)
    theirs = their_model(model, seed).double()
    pixels, targets = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels)
    params = from_names(HUGGINGFACE, model, arrays_of(theirs.state_dict())).params

    forward = jax.jit(lambda params, x: model.forward(params, x)[0])
    logits64 = apart(forward(params, images), theirs(pixels).logits.detach().numpy())
    single = jax.tree.map(lambda a: np.asarray(a, np.float32), params)
    with torch.no_grad():
        expected = theirs.float()(pixels.float()).logits.numpy()
    logits32 = apart(forward(single, images.astype(np.float32)), expected)
    theirs.double().load_state_dict(  # float32 has rounded them
        {name: torch.tensor(array) for name, array in in_memory(theirs, to_names(HUGGINGFACE, model, params)).items()}
    )

    batch = jax.numpy.asarray(images), jax.numpy.asarray(labels)
    objective, optimizer = Classification(model, CrossEntropy()), AdamW(RATE, weight_decay=DECAY)
    gradient = jax.jit(lambda params: objective.loss_and_grads(params, *batch, jax.random.key(0)))
    update = jax.jit(optimizer.update)
    their_optimizer = torch.optim.AdamW(groups(theirs), lr=RATE, betas=(0.9, 0.999), eps=1e-8)
    state, losses, gradients, loss = optimizer.init(params), [], {}, np.zeros(())
    for step in range(steps):
        their_optimizer.zero_grad()
        their_loss = torch.nn.functional.cross_entropy(theirs(pixels).logits, targets)
        their_loss.backward()
        loss, grads = gradient(params)
        losses.append(abs(float(loss) - their_loss.item()) / abs(their_loss.item()))
        if not step:
            gradients = gradients_apart(model, grads, theirs)
        params, state = update(params, grads, state)
        their_optimizer.step()
    return Parity(logits32, logits64, gradients, losses, float(loss))


def their_model(model: ViT, seed: int) -> Any:
    """The same model in transformers, with random weights."""
    import torch
    import transformers

    torch.manual_seed(seed)
    config = transformers.ViTConfig(
        hidden_size=model.d_model, num_hidden_layers=model.layers, num_attention_heads=model.heads,
        intermediate_size=model.mlp_dim, hidden_act=WRITTEN[model.gelu], layer_norm_eps=model.eps,
        image_size=model.image_size, patch_size=model.patch_size, num_channels=model.channels, qkv_bias=model.qkv_bias,
        num_labels=model.num_classes, attn_implementation="sdpa",  # "eager" rounds the softmax to float32
    )  # fmt: skip
    theirs = transformers.ViTForImageClassification(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(SPREAD * torch.randn_like(parameter))
    return theirs


def arrays_of(state: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in state.items()}


def in_memory(theirs: Any, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays under the names of files, under those that the module has in memory (since transformers 5 others)."""
    in_files = {next(iter(HUGGINGFACE.spelled({name: np.zeros(0)}))): name for name in theirs.state_dict()}
    return {in_files[name]: array for name, array in arrays.items()}


def groups(theirs: Any) -> list[dict[str, Any]]:
    """Weight decay acts on matrices alone, as here (optim/adamw.py): not on the class token and the positions."""
    named = list(theirs.named_parameters())
    decays = [p for name, p in named if p.ndim >= 2 and not name.endswith(("cls_token", "position_embeddings"))]
    others = [p for name, p in named if p.ndim < 2 or name.endswith(("cls_token", "position_embeddings"))]
    return [{"params": decays, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]


def gradients_apart(model: ViT, grads: Params, theirs: Any) -> dict[str, float]:
    """By tensor. The bias of the keys has no gradient but rounding (multi_head_attention.py): it is compared with the
    gradient of the whole projection, as are those of queries and values."""
    expected = arrays_of({name: parameter.grad for name, parameter in theirs.named_parameters()})
    ours, autograd = flatten(grads), flatten(from_names(HUGGINGFACE, model, expected).params)
    return {
        name: float(np.linalg.norm(ours[name] - autograd[name]) / np.linalg.norm(autograd[name])) for name in autograd
    }


def apart(ours: Any, theirs: np.ndarray) -> float:
    return float(np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max())


def within(parity: Parity) -> bool:
    return all(parity.worst[kind] <= bound for kind, bound in BOUNDS.items())


def table(found: dict[str, Parity]) -> str:
    """The largest figures, for a terminal and for a page in Markdown."""
    head = ["| configuration |", *(f" {kind} (bound {bound:.0e}) |" for kind, bound in BOUNDS.items())]
    lines = ["".join(head), "|---|" + "---|" * len(BOUNDS)]
    for name, parity in found.items():
        lines.append(f"| {name} |" + "".join(f" {figure:.1e} |" for figure in parity.worst.values()))
    return "\n".join(lines)


def figure(found: dict[str, Parity]) -> str:
    """The differences of the losses over the steps, as SVG."""
    curves = [
        (name, [(float(step), max(apart, LEAST)) for step, apart in enumerate(parity.losses, 1)])
        for name, parity in found.items()
    ]
    return log_plot(
        curves,
        title="AdamW in lockstep with PyTorch, in float64",
        x="step",
        y="relative difference of the losses",
        width=760,
        height=400,
        flip=False,
        legend="bottom right",
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
