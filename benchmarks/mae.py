"""What a training step without labels costs, beside that with labels of the same encoder, and what of it the decoder.

    python -m benchmarks.mae [PRESET] [section.key=value ...] [--rounds N]

The preset (default: mae_cpu) is one of a masked autoencoder. All take the same batch of noise and take turns.

supervised    seconds of a step with labels: the encoder on every token, the head, augmentation and update
autoencoder   seconds of a step without labels, and its share of the supervised step
decoder       of that, forward and backward of the decoder and its loss: from the encoder's output and back to it
"""

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.arguments import parse, step_parser
from benchmarks.augment import take_turns
from checks.compiled import random_batch, step_of
from common.command import run_command
from common.errors import UserError
from model.layer import Params
from training.config import load_config
from training.device import choose_device, describe_device
from training.objective import MaskedReconstruction


@dataclass(frozen=True)
class DecoderAlone(MaskedReconstruction):
    """The decoder's part of the loss and its gradients, on tokens that cost nothing."""

    def loss_and_grads(
        self, params: Params, images: jax.Array, labels: jax.Array, keys: jax.Array
    ) -> tuple[jax.Array, Params]:
        model, inner, B = self.model, params["decoder"], len(images)
        kept = model.draw(keys, B)
        latent = jnp.broadcast_to(images.mean(axis=(1, 2, 3))[:, None, None], (*kept.shape, model.vit.d_model))
        predicted, cache = model.decode(inner, latent, kept)
        loss, loss_cache = self.loss.forward(predicted, model.patches(images), model.hidden(kept))
        dlatent, grads = model.decode_backward(inner, cache, self.loss.backward(loss_cache))
        return loss + dlatent.sum(), {**jax.tree.map(jnp.zeros_like, params), "decoder": grads}


def main(argv: Sequence[str]) -> int:
    parser = step_parser("mae", __doc__.splitlines()[0], rounds=9)
    parser.set_defaults(preset="mae_cpu")
    args = parse(parser, argv)
    config = load_config(args.preset, args.overrides, args.config)
    if config.autoencoder is None:
        raise UserError(f"{args.preset}: no masked autoencoder; add mae.mask=0.75")
    device = choose_device(args.device)
    with_labels = replace(config, mae=replace(config.mae, mask=None))
    batch = random_batch(config)
    own, other = (step_of(chosen, device.platform) for chosen in (config, with_labels))
    assert isinstance(own.objective, MaskedReconstruction)
    alone = replace(own, objective=DecoderAlone(own.objective.model, own.objective.loss))
    pixels, labels = own.augment(jax.random.key(0), *map(jnp.asarray, batch))
    runs: dict[str, Callable[[], Any]] = {
        name: partial(jax.jit(step), jax.jit(step.init)(), *batch)
        for name, step in (("supervised", other), ("autoencoder", own))
    }
    params = jax.jit(own.init)().params
    runs["decoder"] = partial(jax.jit(alone.loss_and_grads), params, pixels, labels, jax.random.key(1))
    times = {name: statistics.median(seconds) for name, seconds in take_turns(runs, args.rounds).items()}

    print(f"{args.preset}, batch {config.train.batch_size}, {describe_device(device)}, JAX {jax.__version__}")
    print(f"{'':<12}{'seconds':>9}{'of the supervised step':>26}   {args.rounds} rounds in turn")
    for name, seconds in times.items():
        print(f"{name:<12}{seconds:9.3f}{seconds / times['supervised']:26.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
