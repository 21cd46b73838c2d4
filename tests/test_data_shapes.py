"""The generated shapes: one seed, one data set; readable by the same loader; outlines, not colours, make the class."""

import hashlib
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from common.errors import DataError
from data import shapes
from data.dataset import Split
from data.shape_drawing import CLASSES, OUTLINES, draw, fill
from data.shapes import generate
from data.tiny_imagenet import load

REPOSITORY = Path(__file__).resolve().parent.parent


def make(root: Path, seed: int = 0, train: int = 4, val: int = 2, workers: int = 1) -> Path:
    generate(root, seed, train, val, workers=workers, quiet=True)
    return root


def contents(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_a_seed_gives_the_same_bytes_whoever_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = contents(make(tmp_path / "one"))
    monkeypatch.setattr(shapes, "CHUNK", 3)
    two = contents(make(tmp_path / "two", workers=2))
    assert one == two
    assert len(one) == len(CLASSES) * 7 + 4  # 6 images and a list of boxes a class; 3 text files and the record
    other = contents(make(tmp_path / "other", seed=1))
    assert one.keys() == other.keys()
    pictures = [name for name in one if name.endswith(".JPEG")]
    assert all(one[name] != other[name] for name in pictures)
    assert len({one[name] for name in pictures}) == len(pictures)  # train and val share none either


def test_more_pictures_are_the_same_ones_and_some(tmp_path: Path) -> None:
    few, many = contents(make(tmp_path / "few", val=1)), contents(make(tmp_path / "many", train=6, val=1))
    pictures = [name for name in few if name.endswith(".JPEG")]
    assert all(few[name] == many[name] for name in pictures)


def test_the_loader_reads_it_as_it_reads_tiny_imagenet(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = load(make(tmp_path / "shapes"), workers=1, quiet=True)
    assert len(CLASSES) >= 10
    assert data.class_ids == tuple(CLASSES)
    assert data.class_names == tuple(CLASSES.values())
    assert data.train.images.shape == (4 * len(CLASSES), 64, 64, 3)
    assert np.bincount(data.train.labels).tolist() == [4] * len(CLASSES)
    assert np.bincount(data.val.labels).tolist() == [2] * len(CLASSES)


@pytest.mark.parametrize("call", [shapes.SOURCE.load, shapes.SOURCE.list_files])
def test_another_folder_is_told_how_to_draw_them(tmp_path: Path, call: Callable[[Path], object]) -> None:
    with pytest.raises(DataError, match=rf"^{tmp_path}: no generated shapes here.*python -m data\.shapes --to DIR$"):
        call(tmp_path)


def test_boxes_files_say_which_images_must_be_there(tmp_path: Path) -> None:
    root = make(tmp_path / "shapes")
    (root / "train" / "star" / "images" / "star_2.JPEG").unlink()
    with pytest.raises(DataError, match=r"star_2\.JPEG: missing, but star_boxes\.txt lists it"):
        load(root, workers=1, quiet=True)


@pytest.mark.parametrize("class_id", CLASSES)
def test_the_box_holds_the_shape_and_the_shape_is_in_the_picture(class_id: str) -> None:
    sizes, centres = [], []
    for index in range(40):
        _, (left, top, right, bottom) = draw(class_id, np.random.default_rng(index))
        assert 0 <= left < right < 64
        assert 0 <= top < bottom < 64
        sizes.append(max(right - left, bottom - top) + 1)
        centres.append(((left + right) / 2, (top + bottom) / 2))
    assert min(sizes) >= 20  # large enough to be recognised
    assert np.ptp(sizes) >= 10  # and varied in size
    assert np.ptp(centres, axis=0).min() >= 10  # and in place


def test_outlines_differ_under_any_rotation() -> None:
    """No two classes are one outline, turned: their distances to the edge of the shape, sorted, differ."""
    profiles = {}
    for class_id, polygons in OUTLINES.items():
        mask = fill([(polygon * 28 + 32, on) for polygon, on in polygons])
        rows, columns = np.nonzero(mask > 0.5)
        radii = np.hypot(rows - rows.mean(), columns - columns.mean())
        profiles[class_id] = np.histogram(radii, bins=8, range=(0, 32), density=True)[0]
    for a in profiles:
        for b in profiles:
            if a < b:
                assert np.abs(profiles[a] - profiles[b]).max() > 0.004, (a, b)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Split, Split]:
    root = tmp_path_factory.mktemp("shapes") / "shapes"
    generate(root, seed=5, train_per_class=60, val_per_class=20, workers=2, quiet=True)
    data = load(root, workers=1, quiet=True)
    return data.train, data.val


def linear_accuracy(train: np.ndarray, train_labels: np.ndarray, val: np.ndarray, val_labels: np.ndarray) -> float:
    """Of the ridge regression from the features onto the classes."""
    centre, spread = train.mean(axis=0), train.std(axis=0) + 1e-6
    x, y = (train - centre) / spread, np.eye(len(CLASSES))[train_labels]
    weights = np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ (y - y.mean(axis=0)))
    guesses = ((val - centre) / spread @ weights).argmax(axis=1)
    return float((guesses == val_labels).mean())


def hues(images: np.ndarray) -> np.ndarray:
    """How the pixels of each image spread over 27 colours whose brightness is taken out: features (n, 27)."""
    scaled = images.reshape(len(images), -1, 3).astype(float)
    shares = np.clip(scaled / scaled.sum(axis=2, keepdims=True).clip(1) * 6 - 0.5, 0, 2.99).astype(int)
    codes = shares @ (9, 3, 1)
    return np.stack([np.bincount(row, minlength=27) for row in codes]).astype(float)


def test_colour_does_not_give_the_class_away(many: tuple[Split, Split]) -> None:
    train, val = many
    accuracy = linear_accuracy(hues(train.images), train.labels, hues(val.images), val.labels)
    assert accuracy < 2.5 / len(CLASSES)
    # The test can fail: paint one channel by class, and the same features find it out.
    tinted = np.array(train.images), np.array(val.images)
    for images, labels in zip(tinted, (train.labels, val.labels), strict=True):
        images[..., 0] = (20 * labels)[:, None, None]
    assert linear_accuracy(hues(tinted[0]), train.labels, hues(tinted[1]), val.labels) > 2.5 / len(CLASSES)


def test_what_is_already_there_is_kept(tmp_path: Path) -> None:
    root = make(tmp_path / "shapes")
    marker = root / "marker"
    marker.touch()
    make(root)
    assert marker.exists()
    (tmp_path / "empty").mkdir()
    assert contents(make(tmp_path / "empty")).keys() == contents(root).keys() - {"marker"}


def test_another_data_set_is_not_overwritten(tmp_path: Path) -> None:
    root = make(tmp_path / "shapes")
    before = contents(root)
    with pytest.raises(
        DataError, match=r"shapes: holds shapes drawn with other parameters \(seed 0, not 1\)\. Move .*--to"
    ):
        make(root, seed=1)
    record = json.loads((root / "shapes.json").read_text())
    (root / "shapes.json").write_text(json.dumps({**record, "version": 0}))
    with pytest.raises(DataError, match=r"drawn with other parameters \(version 0, not \d+\)"):
        make(root)
    for text in ("", "[]"):
        (root / "shapes.json").write_text(text)
        with pytest.raises(DataError, match="shapes: holds something other than generated shapes"):
            make(root)
    assert contents(root).keys() == before.keys()


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "shapes.partial-killed" / "train").mkdir(parents=True)
    make(tmp_path / "shapes")
    assert sorted(os.listdir(tmp_path)) == [".shapes.lock", "shapes"]


def test_a_target_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "shapes"):
        with pytest.raises(DataError, match=r"file.*--to"):
            make(root)


def test_a_failure_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    """The real thing: a limit on file sizes that the larger JPEG files exceed, in this process and in workers."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2500, 2500))\n"
        "import sys; from data.shapes import generate; from common.errors import DataError\n"
        f"try: generate({str(tmp_path / 'shapes')!r}, 0, 60, 1, workers=int(sys.argv[1]), quiet=True)\n"
        "except DataError as error: print(error)"
    )
    for workers in ("1", "2"):
        line = [sys.executable, "-c", code, workers]
        done = subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True, check=True)
        assert done.stdout.startswith(f"{tmp_path / 'shapes'}: cannot be written: File too large")
        assert done.stderr == ""
        assert os.listdir(tmp_path) == [".shapes.lock"]


def test_the_command(tmp_path: Path) -> None:
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "data.shapes", "--to", str(tmp_path / "shapes"), *arguments]
        return subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True, check=False)

    small = ("--train-per-class", "2", "--val-per-class", "1", "--workers", "1")
    done = command(*small, "--seed", "3")
    assert done.returncode == 0
    assert f"{tmp_path / 'shapes'}: {3 * len(CLASSES)} images of {len(CLASSES)} classes" in done.stdout
    assert contents(tmp_path / "shapes") == contents(make(tmp_path / "same", seed=3, train=2, val=1))
    done = command(*small)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    for bad in ("0", "x"):
        done = command("--train-per-class", bad)
        assert done.returncode == 2
        assert "--train-per-class" in done.stderr
