"""A picture of what the model sees: training images after the augmentation of a preset.

    python -m training.preview tiny_imagenet --out grid.png
    python -m training.preview demo augment.policy=trivial_augment augment.cutmix=1 --out grid.png --originals
    python -m training.preview RUN --out grid.png                   a run, with its options

Of a run that was trained without labels (a masked autoencoder), the picture shows validation images: each as it is, the
patches that the encoder sees, and what it predicts of the others.

The images are augmented by the function that the training step calls; the normalization is undone for display. Below
each image is its label, and for a mixed image the labels with their weights.
"""

import argparse
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from common.argument_types import at_least, seed_number
from common.command import run_command
from common.errors import UserError
from common.files import replacing
from common.memory import format_bytes, machine_memory
from common.paths import named_path, require_writable
from common.text import counted
from data.augment import normalize
from data.dataset import Dataset
from data.loader import epoch_rows
from model.layers.patch_embedding import PatchifyCache
from model.masked_squared_error import MaskedSquaredError
from training.arguments import preset_and_overrides, preset_parser
from training.config import Config, load_config
from training.device import choose_device
from training.new_folder import CONFIG
from training.presets import DEFAULT_PRESET
from training.reconstruction import ReconstructionStep
from training.run_folder import RunFolder
from training.setup import check_fit, check_padding, load_dataset
from training.trained import Trained, load_trained

SCALE = 2  # enlargement of each image
MARGIN = 4  # pixels around each image
CELL_BYTES = 4 + SCALE**2  # for each number of an image: as float32, and in the picture
LINES = 2  # lines of text below each image
PLACES = ("data.root", "data.cache", "data.workers")  # options of a run that may change
MIN_WEIGHT = 0.005  # labels of less weight are left out: they would be shown as 0.00


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    require_writable("--out", args.out)  # before the work, not after it
    run = None if args.run is None else RunFolder.open(args.run)
    config = run.read_config(args.overrides, PLACES) if run else load_config(args.preset, args.overrides, args.config)
    choose_device(args.device)
    trained = load_trained(run, args.overrides, PLACES, without_labels=True) if run and config.autoencoder else None
    dataset = load_dataset(config, draw=run is None)
    check_padding(config.augment, *dataset.train.images.shape[1:3])
    count = args.rows * args.columns
    if trained:
        check_fit(config.model, dataset, trained.run.path)
    split, images = (dataset.val, "validation image") if trained else (dataset.train, "training image")
    if count > len(split.labels):
        raise UserError(
            f"--rows {args.rows} --columns {args.columns}: {counted(count, 'picture')}, but there are only "
            f"{counted(len(split.labels), images)}"
        )
    needed = count * (3 if trained else 1 + args.originals) * CELL_BYTES * dataset.train.images[0].size
    if needed > (machine_memory() or needed):
        raise UserError(
            f"--rows {args.rows} --columns {args.columns}: the picture takes {format_bytes(needed)} of memory or more, "
            f"and there are {format_bytes(machine_memory() or 0)}: choose fewer"
        )
    if trained:
        cells = reconstructions(trained, dataset, count, args.seed)
    else:
        cells = make_cells(config, dataset, count, args.seed, args.originals)
    with replacing(args.out) as file:
        draw_grid(cells, args.columns).save(file, format="PNG")
    if trained:
        print(f"{trained.description}\n{args.out}:\n{counted(count, images)}, what is seen of them, what is predicted")
    else:
        shows = f"{run.path} was" if run else f"the preset {config.preset} is"
        print(f"{args.out}: {counted(count, images)} as {shows} shown them")
    return 0


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    about = "Draw what the model sees: training images through the augmentation of a preset."
    parser = preset_parser("python -m training.preview", about, DEFAULT_PRESET)
    parser.add_argument(
        "--out", metavar="FILE.png", type=named_path, required=True, help="the picture to write, or replace"
    )
    parser.add_argument("--rows", type=at_least(1), default=6, help="default: %(default)s")
    parser.add_argument("--columns", type=at_least(1), default=8, help="default: %(default)s")
    parser.add_argument(
        "--seed", type=seed_number, default=0, help="of the images and the augmentation (default: %(default)s)"
    )
    parser.add_argument("--originals", action="store_true", help="show the original above each image")
    args = parser.parse_intermixed_args(argv)
    if args.out.suffix.lower() != ".png":
        parser.error(f"--out {args.out}: a PNG is written; choose a name that ends in .png")
    folders = [argument for argument in args.arguments if (named_path(argument) / CONFIG).is_file()]
    args.run = named_path(folders[0]) if folders else None
    if folders and len([argument for argument in args.arguments if "=" not in argument]) > 1:
        parser.error(f"{folders[0]} is a run: name no preset or other run beside it")
    if not folders:
        preset, _ = preset_and_overrides(args)
        args.preset = preset or DEFAULT_PRESET
    elif args.config or args.originals:
        parser.error(f"{folders[0]} is a run: leave {'--config' if args.config else '--originals'} out")
    args.overrides = [argument for argument in args.arguments if "=" in argument]
    return args


Cell = tuple[np.ndarray, str]  # an image, uint8 (H, W, 1 or 3), and its label


def make_cells(config: Config, dataset: Dataset, count: int, seed: int, originals: bool) -> list[list[Cell]]:
    """The cells of each of `count` images: the augmented image, with `originals` after the original."""
    rows = epoch_rows(dataset.train.labels, count, seed, epoch=0, sampling=config.data.sampling)[0]
    images, classes = dataset.train.images[rows], dataset.train.labels[rows]
    names = [name.partition(",")[0] for name in dataset.class_names]  # the first of several synonyms
    augmented = jax.jit(config.augment, static_argnums=(3, 4, 5, 6))
    pixels, labels = augmented(
        jax.random.key(seed), images, classes, dataset.mean, dataset.std, len(names), jnp.dtype("float32")
    )
    seen = denormalize(np.asarray(pixels), dataset)
    cells = [[(image, describe(label, names))] for image, label in zip(seen, np.asarray(labels), strict=True)]
    if originals:
        for cell, image, label in zip(cells, images, classes, strict=True):
            cell.insert(0, (image, names[label]))
    return cells


def reconstructions(trained: Trained, dataset: Dataset, count: int, seed: int) -> list[list[Cell]]:
    """Three cells of each of `count` validation images: the image, what is seen of it, what is predicted.

    Hidden patches are grey in the second. In the third they are predicted, and the others are as they are. Where the
    targets are normalized, the prediction says nothing of the brightness and the contrast of a patch: the true ones are
    used.
    """
    model, classes, config = trained.config.autoencoder, trained.classes, trained.config
    assert model is not None
    chosen = np.sort(np.random.default_rng(seed).choice(len(dataset.val.labels), size=count, replace=False))
    pixels = normalize(jnp.asarray(dataset.val.images[chosen]), classes.mean, classes.std, jnp.float32)
    step = ReconstructionStep(model, classes.mean, classes.std)
    predicted, hidden = jax.jit(step.predict)(trained.params, pixels, jnp.asarray(chosen))
    patches, hidden = model.patches(pixels), hidden[:, :, None]
    if config.mae.normalize_patches:
        mean, scale = MaskedSquaredError().contrast(patches)
        predicted = predicted * scale + mean
    grey = (0.5 - jnp.asarray(classes.mean)) / jnp.asarray(classes.std)
    hole = jnp.tile(grey, patches.shape[-1] // len(classes.mean))
    shown = [patches, jnp.where(hidden, hole, patches), jnp.where(hidden, predicted, patches)]
    stacks = [denormalize(np.asarray(model.patchify.backward({}, PatchifyCache(), part)[0]), dataset) for part in shown]
    names = [dataset.class_names[label].partition(",")[0] for label in dataset.val.labels[chosen]]
    titles = [names, [f"{config.mae.mask:.0%} hidden"] * count, ["predicted"] * count]
    columns = [zip(images, labels, strict=True) for images, labels in zip(stacks, titles, strict=True)]
    return [list(stack) for stack in zip(*columns, strict=True)]


def denormalize(pixels: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Undo the normalization: (B, H, W, C) -> uint8 (B, H, W, C), clipped to 0..255."""
    colours = 255 * (pixels * np.array(dataset.std) + np.array(dataset.mean))
    return colours.round().clip(0, 255).astype(np.uint8)


def describe(label: np.ndarray, names: Sequence[str]) -> str:
    """The name of a class, or of (C,) probabilities the classes in descending order: `cat 0.70 + bus 0.30`."""
    if label.ndim == 0:
        return names[int(label)]
    parts = [int(i) for i in np.argsort(-label, kind="stable") if label[i] >= MIN_WEIGHT]
    return names[parts[0]] if len(parts) == 1 else " + ".join(f"{names[i]} {label[i]:.2f}" for i in parts)


def draw_grid(cells: Sequence[Sequence[Cell]], columns: int) -> Image.Image:
    """All images in rows of `columns`, enlarged, with their labels below."""
    font = ImageFont.load_default()
    line_height = int(font.getbbox("Ag")[3]) + 2
    height, width = (SCALE * side for side in cells[0][0][0].shape[:2])
    cell_height, cell_width = height + LINES * line_height + 2 * MARGIN, width + 2 * MARGIN
    stacked = len(cells[0])
    rows = -(-len(cells) // columns) * stacked
    grid = Image.new("RGB", (columns * cell_width, rows * cell_height), "white")
    draw = ImageDraw.Draw(grid)
    for index, stack in enumerate(cells):
        row, column = divmod(index, columns)
        for level, (image, label) in enumerate(stack):
            x, y = column * cell_width + MARGIN, (row * stacked + level) * cell_height + MARGIN
            pixels = image[..., 0] if image.shape[-1] == 1 else image  # Pillow's grey images have no axis of channels
            picture = Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)
            grid.paste(picture, (x, y))
            for number, line in enumerate(wrap(label, width, font)):
                draw.text((x, y + height + 1 + number * line_height), line, fill="black", font=font)
    return grid


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def wrap(text: str, width: int, font: Font) -> list[str]:
    """At most LINES lines of at most `width` pixels, one for each part of a mixed label; long lines are shortened."""
    lines = text.replace(" + ", "\n+ ").split("\n")[:LINES]
    return [shorten(line, width, font) for line in lines]


def shorten(line: str, width: int, font: Font) -> str:
    """`line` without some letters before its last word, so that it fits; a weight at the end remains."""
    head, _, tail = line.rpartition(" ")
    if not head:
        head, tail = line, ""
    shown = line
    while font.getlength(shown) > width and head:
        head = head[:-1]
        shown = f"{head.rstrip()}.. {tail}".rstrip()
    return shown


if __name__ == "__main__":
    sys.exit(run_command(main))
