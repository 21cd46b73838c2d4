"""The picture of what the model sees: it shows what the augmentation makes, and its labels say what is in it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageFont

from data.loader import epoch_rows
from tests.tiny_runs import ROOT, random_dataset
from training import preview
from training.config import load_config

DATASET = random_dataset(classes=3)
NAMES = ["class 0", "class 1", "class 2"]


def test_pictures_and_labels_are_those_of_the_augmentation() -> None:
    config = load_config("baseline", ["augment.flip=true", "augment.crop_padding=2", "augment.cutmix=1"])
    cells = preview.make_cells(config, DATASET, 6, seed=3, originals=True)
    [rows, *_] = epoch_rows(DATASET.train.labels, 6, 3, 0)
    pixels, labels = config.augment(
        jax.random.key(3),
        jnp.asarray(DATASET.train.images[rows]),
        jnp.asarray(DATASET.train.labels[rows]),
        DATASET.mean,
        DATASET.std,
        3,
        jnp.float32,
    )
    seen = (np.asarray(pixels) * DATASET.std + DATASET.mean) * 255
    for i, [(original, name), (image, label)] in enumerate(cells):
        np.testing.assert_array_equal(original, DATASET.train.images[rows][i])
        assert name == NAMES[DATASET.train.labels[rows][i]]
        np.testing.assert_allclose(image, seen[i], atol=0.51)
        assert label == preview.describe(np.asarray(labels)[i], NAMES)
    assert [len(stack) for stack in preview.make_cells(config, DATASET, 2, seed=3, originals=False)] == [1, 1]


def test_without_augmentation_the_pictures_are_the_images() -> None:
    for [(image, label)], other in zip(
        preview.make_cells(load_config("baseline"), DATASET, 5, seed=0, originals=False),
        DATASET.train.images[epoch_rows(DATASET.train.labels, 5, 0, 0)[0]],
        strict=True,
    ):
        np.testing.assert_array_equal(image, other)
        assert label in NAMES


@pytest.mark.parametrize(
    ("label", "text"),
    [
        (np.int32(1), "bus"),
        ([0, 1, 0], "bus"),
        ([0.7, 0, 0.3], "cat 0.70 + lamp 0.30"),
        ([0.25, 0.75, 0], "bus 0.75 + cat 0.25"),
        ([0.5, 0, 0.5], "cat 0.50 + lamp 0.50"),
        ([0.999, 0.001, 0], "cat"),
    ],
)
def test_labels_in_words(label: object, text: str) -> None:
    assert preview.describe(np.asarray(label), ["cat", "bus", "lamp"]) == text


def test_long_labels_are_wrapped_and_keep_their_weights() -> None:
    font = ImageFont.load_default()
    lines = preview.wrap("miniature long-haired something 0.70 + a very long name of a thing 0.30", 100, font)
    assert all(font.getlength(line) <= 100 for line in lines)
    assert (lines[0][:4], lines[0][-7:]) == ("mini", ".. 0.70")
    assert (lines[1][:4], lines[1][-7:]) == ("+ a ", ".. 0.30")
    assert preview.wrap("cat", 100, font) == ["cat"]


def test_the_grid_shows_each_picture_in_its_place() -> None:
    rng = np.random.default_rng(0)
    cells = [[(rng.integers(0, 256, (8, 6, 3), dtype=np.uint8), "a") for _ in range(2)] for _ in range(5)]
    grid = np.asarray(preview.draw_grid(cells, columns=3))
    found = 0
    height, width = grid.shape[0] // 4, grid.shape[1] // 3  # 2 rows of 2
    for i, stack in enumerate(cells):
        for level, (image, _) in enumerate(stack):
            y, x = (i // 3 * 2 + level) * height + preview.MARGIN, i % 3 * width + preview.MARGIN
            shown = grid[y : y + 8 * preview.SCALE, x : x + 6 * preview.SCALE]
            np.testing.assert_array_equal(shown[:: preview.SCALE, :: preview.SCALE], image)
            below = grid[y + 8 * preview.SCALE : y - preview.MARGIN + height, x : x + 6 * preview.SCALE]
            assert (below < 128).any()  # text
            found += 1
    assert found == 10


@pytest.mark.parametrize("policy", ["none", "trivial_augment"])
def test_one_channel_is_shown_in_grey(policy: str) -> None:
    train, [mean, *_], [std, *_] = DATASET.train, DATASET.mean, DATASET.std
    dataset = DATASET._replace(train=train._replace(images=train.images[..., :1]), mean=(mean,), std=(std,))
    config = load_config("baseline", [f"augment.policy={policy}", "augment.color_jitter=0.4"])
    cells = preview.make_cells(config, dataset, 4, seed=3, originals=True)
    assert {image.shape for stack in cells for image, _ in stack} == {(8, 8, 1)}
    grid = np.asarray(preview.draw_grid(cells, columns=4))
    top, left, size = preview.MARGIN, preview.MARGIN, 8 * preview.SCALE
    shown = grid[top : top + size, left : left + size][:: preview.SCALE, :: preview.SCALE]
    np.testing.assert_array_equal(shown, cells[0][0][0].repeat(3, axis=-1))


def test_the_pictures_are_drawn_as_the_training_draws_them() -> None:
    config = load_config("baseline", ["data.sampling=balanced"])
    cells = preview.make_cells(config, DATASET, 6, seed=0, originals=False)
    assert sorted(label for [(_, label)] in cells) == sorted(2 * NAMES)  # two of each class


# The command.


@pytest.fixture
def overrides(shapes_root: Path) -> tuple[str, ...]:
    return ("demo", f"data.root={shapes_root}", "data.workers=1", "--device", "cpu")


def test_the_command_writes_a_picture(call: Callable[..., Any], overrides: tuple[str, ...], tmp_path: Path) -> None:
    out = tmp_path / "grid.png"
    ended = call(preview.main, *overrides, "augment.mixup=0.8", "--out", out, "--rows", "2", "--columns", "3")
    assert (ended.code, ended.err) == (0, "")
    assert str(out) in ended.out
    small = Image.open(out)
    assert small.format == "PNG"
    assert len(np.unique(np.asarray(small))) > 100
    first = out.read_bytes()
    call(preview.main, *overrides, "augment.mixup=0.8", "--out", out, "--rows", "2", "--columns", "3")
    assert out.read_bytes() == first  # the same for the same seed
    call(preview.main, *overrides, "augment.mixup=0.8", "--out", out, "--rows", "2", "--columns", "3", "--originals")
    assert Image.open(out).height == 2 * small.height
    call(preview.main, *overrides, "augment.mixup=0.8", "--out", out, "--rows", "2", "--columns", "3", "--seed", "1")
    assert out.read_bytes() != first


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--out", "nowhere/grid.png"], "--out nowhere/grid.png: there is no folder nowhere; make it first"),
        (["--out", "g.png", "augment.policy=other"], "augment.policy=other: expected one of none, trivial_augment"),
        (["--out", "g.png", "augment.erasing=2"], "erasing is a probability, from 0 to 1, got 2.0"),
        (["--out", "g.png", "--rows", "40"], "--rows 40 --columns 8: 320 pictures, but there are only 48"),
    ],
)
def test_bad_input(call: Callable[..., Any], overrides: tuple[str, ...], arguments: list[str], told: str) -> None:
    ended = call(preview.main, *overrides, *arguments)
    assert ended.code == 2
    assert told in ended.err
    assert not list(Path().glob("*.png"))


def test_a_picture_that_no_memory_has_room_for_is_refused(
    call: Callable[..., Any], overrides: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "machine_memory", lambda: 1_000_000)
    ended = call(preview.main, *overrides, "--out", "g.png", "--rows", "6", "--columns", "8")
    told = "--rows 6 --columns 8: the picture takes 4.72 MB of memory or more, and there are 1 MB: choose fewer"
    assert (ended.code, ended.err) == (2, f"error: {told}\n")
    assert not list(Path().glob("*.png"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "--out"),
        (["--out", "grid.jpg"], "choose a name that ends in .png"),
        (["--out", "g.png", "--columns", "0"], "argument --columns: 0 is less than 1"),
        (["--out", "g.png", "--seed", "-1"], "argument --seed: -1 is not from 0 to"),
    ],
)
def test_bad_usage(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        preview.main(["demo", *arguments])
    assert told in capsys.readouterr().err


def test_the_old_name_of_the_command_leads_to_the_new_one() -> None:
    ended = subprocess.run([sys.executable, "-m", "data.preview", "demo"], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "python -m training.preview" in ended.stderr
