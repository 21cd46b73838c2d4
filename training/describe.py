"""What train.py prints about a run before the first step, and after the last one of an autoencoder."""

import shlex

import jax

from common.command import in_one_line
from common.text import counted
from data.augment import Augmentation
from data.dataset import Dataset
from model.vit import ViT
from training.device import describe_device
from training.fields import show
from training.setup import describe_validation
from training.summary import format_summary, summarize
from training.trainer import Trainer


def describe(trainer: Trainer, brief: bool) -> None:
    """Print what will be trained, before the first step."""
    config, dataset, plan = trainer.config, trainer.dataset, trainer.plan
    rows = summarize(config.network, depth=1)
    images, classes = counted(len(dataset.train.labels), "training image"), len(dataset.class_ids)
    sharing = f"; {trainer.devices.count} devices share each batch" if trainer.devices.count > 1 else ""
    print(f"device  {describe_device(trainer.device)} (JAX {jax.__version__}){sharing}")
    print(f"data    {config.data.folder}")
    height, width, channels = dataset.train.images.shape[1:]
    print(f"        {images} of {counted(classes, 'class', 'classes')}; chance: {1 / classes:.2%} top-1")
    print(f"        {width}x{height} pixels with {counted(channels, 'channel')}")
    if config.data.sampling == "balanced":
        print("        drawn equally often from each class (data.sampling=balanced)")
    print(f"        evaluated on {describe_validation(dataset)}")
    print_notes(dataset)
    print(f"model   {rows[0].parameters:,} parameters; forward pass of one image: {rows[0].flops / 1e9:.2f} GFLOPs")
    for line in advice(config.model):
        print(f"        {line}")
    for line in left_out(config.augment, dataset.train.images.shape[-1]):
        print(f"augment {line}")
    if not brief:
        print(f"\n{format_summary(rows[1:])}\n")
    print(f"run     {trainer.run.path}")
    steps = f"{counted(plan.total_steps, 'step')} of {counted(trainer.batch_size, 'image')}"
    print(f"        {steps}, {plan.steps_per_epoch:,} an epoch", flush=True)


def print_notes(dataset: Dataset) -> None:
    """Print what is odd about the data, each in a line."""
    for note in dataset.notes:
        print(f"note    {in_one_line(note)}")


def left_out(augment: Augmentation, channels: int) -> list[str]:
    """What images with so many channels are not given of an augmentation, in a line of a terminal if there is any."""
    names = augment.left_out(channels)
    verb = "are" if len(names) > 1 else "is"
    return [f"the images have one channel, so {' and '.join(names)} {verb} left out"] if names else []


def advice(model: ViT) -> list[str]:
    """What is unusual about a model, in lines of a terminal."""
    if not model.shifted_patches or model.patch_norm_before:
        return []
    return [
        "model.shifted_patches was published with a layer norm before the",
        "projection: add model.patch_norm_before=true",
    ]


def print_continuation(trainer: Trainer) -> None:
    """Print how a classifier begins with what an autoencoder has learned."""
    if trainer.config.autoencoder is None:
        return
    model, run = trainer.config.model, shlex.quote(str(trainer.run.path))
    print(f"train a classifier from it with model.pooling={model.pooling} model.class_token={show(model.class_token)}")
    print(f"and train.start_from={run}")
