"""A folder of images of one's own: what is read, what is left alone, how it is divided, and what is refused."""

import io
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.errors import ConfigError, DataError
from data import build as building
from data.dataset import Dataset
from data.decode import BrokenImageError
from data.decode import decode as decode_file
from data.form import Form, Target
from data.holdout import held_out_by_content
from data.image_folder import load
from data.tiny_imagenet import load as load_tiny
from tests.tiny_data import jpeg, write_data_set
from training.config import load_config
from training.setup import fit_to_data, load_dataset

Save = Callable[[Image.Image], bytes]


def picture(seed: int = 0, size: tuple[int, int] = (40, 60)) -> Image.Image:
    """A smooth picture of (height, width) pixels, so that a lossy format changes little."""
    coarse = np.random.default_rng(seed).integers(40, 216, (3, 3, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((size[1], size[0]), Image.Resampling.BICUBIC)


def decode(content: bytes, path: Path, target: Target) -> np.ndarray:
    return decode_file(content, path, target)[0]


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def write_folder(root: Path, classes: dict[str, int], split: str = "") -> Path:
    """Different JPEG files of 8x8 random pixels, so many in each class."""
    for number, (name, count) in enumerate(classes.items()):
        folder = root / split / name
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(count):
            (folder / f"{index}.jpg").write_bytes(jpeg(10_000 * len(split) + 1000 * number + index))
    return root


def read(root: Path, **options: object) -> Dataset:
    return load(root, workers=1, quiet=True, **options)  # type: ignore[arg-type]


def held(root: Path, *options: str) -> Dataset:
    given = [f"data.root={root}", "data.workers=1", "model.image_size=8", *options]
    return load_dataset(load_config("image_folder", given), quiet=True)


def refusal(root: Path, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        read(root, **options)
    return str(caught.value)


# What is read: any file of an image, in any form.

KINDS: dict[str, tuple[Save, float]] = {  # how it is written, and by how much a pixel may differ
    "a.jpg": (lambda p: saved(p, "JPEG", quality=98), 12),
    "progressive.jpeg": (lambda p: saved(p, "JPEG", quality=98, progressive=True), 12),
    "cmyk.jpg": (lambda p: saved(p.convert("CMYK"), "JPEG", quality=98), 12),
    "a.png": (lambda p: saved(p, "PNG"), 0),
    "palette.png": (lambda p: saved(p.quantize(256), "PNG"), 40),
    "a.webp": (lambda p: saved(p, "WEBP", lossless=True), 0),
    "a.bmp": (lambda p: saved(p, "BMP"), 0),
    "a.gif": (lambda p: saved(p, "GIF"), 60),
    "a.tiff": (lambda p: saved(p, "TIFF"), 0),
    "A.TIF": (lambda p: saved(p, "TIFF", compression="tiff_lzw"), 0),
    "opaque.png": (lambda p: saved(p.convert("RGBA"), "PNG"), 0),
    "a.ppm": (lambda p: saved(p, "PPM"), 0),
}


@pytest.mark.parametrize("name", KINDS)
def test_formats(name: str) -> None:
    save, tolerance = KINDS[name]
    pixels = decode(save(picture()), Path(name), Target((40, 60)))
    assert pixels.shape == (40, 60, 3)
    assert np.abs(pixels.astype(int) - np.asarray(picture())).max() <= tolerance


def test_several_frames_give_the_first() -> None:
    content = saved(picture(1), "GIF", save_all=True, append_images=[picture(2)])
    first = np.abs(decode(content, Path("a.gif"), Target((40, 60))).astype(int) - np.asarray(picture(1)))
    assert first.max() <= 60


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_picture_is_upright(kind: str, orientation: int) -> None:
    """The corner that is bright is up left when EXIF is heeded; also in a large JPEG, decoded at a part of its size."""
    upright = Image.new("RGB", (400, 200))
    upright.paste((255, 255, 255), (0, 0, 200, 100))
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # of Image.Transpose, that undoes what EXIF says
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(turns[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(stored, kind, exif=exif)
    for target in (Target((200, 400), same_as="x"), Target((8, 16)), Target((8, 8), resize="pad")):
        pixels = decode(content, Path("a.x"), target)[..., 0]
        middle = pixels[len(pixels) // 4 : -len(pixels) // 4] if target.resize == "pad" else pixels
        H, W = middle.shape
        assert middle[H // 4, W // 4] > 200
        assert middle[H // 4, 3 * W // 4] < 50
        assert middle[3 * H // 4, W // 4] < 50


def test_another_odd_tag_does_not_lose_the_orientation() -> None:
    entries = struct.pack("<HHII", 0x0112, 3, 1, 6) + struct.pack("<HHI4s", 0x011A, 2, 3, b"72")  # a resolution as text
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + entries + bytes(4)
    content = saved(picture(1, (20, 30)), "JPEG", quality=98, exif=exif)
    turned = np.asarray(picture(1, (20, 30)).transpose(Image.Transpose.ROTATE_270)).astype(int)
    assert np.abs(decode(content, Path("a.jpg"), Target((30, 20), same_as="x")) - turned).max() <= 12


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "JPEG"])
def test_upright_sizes_are_those_of_the_decoded_images(tmp_path: Path, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    root = tmp_path / "pics"
    for name in "ab":
        (root / name).mkdir(parents=True)
        for number in range(2):
            content = saved(picture(10 * ord(name) + number, (20, 30)), kind, exif=exif)
            if kind == "PNG":  # moved behind the pixels
                start = content.index(b"eXIf") - 4
                length = int.from_bytes(content[start : start + 4]) + 12
                chunk, content = content[start : start + length], content[:start] + content[start + length :]
                content = content[:-12] + chunk + content[-12:]
            (root / name / f"{number}.{kind.lower()}").write_bytes(content)
    assert read(root).train.images.shape == (4, 30, 20, 3)


def test_what_is_transparent_is_white() -> None:
    image = Image.new("RGBA", (4, 2), (255, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 2, 2))
    pixels = decode(saved(image, "PNG"), Path("a.png"), Target((2, 4)))
    assert pixels[0].tolist() == [[255] * 3] * 2 + [[255, 0, 0]] * 2
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    assert decode(saved(palette, "PNG", transparency=1), Path("a.png"), Target((2, 2))).min() == 255
    assert decode(saved(Image.new("LA", (2, 2), (0, 0)), "PNG"), Path("a.png"), Target((2, 2), 1)).min() == 255


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_brought_to_8(channels: int) -> None:
    values = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    for kind, name in (("PNG", "a.png"), ("TIFF", "a.tiff")):
        pixels = decode(saved(Image.fromarray(values), kind), Path(name), Target((1, 4), channels))
        assert pixels[..., 0].tolist() == [[0, 1, 128, 255]]


def test_pixels_of_no_known_range_are_refused() -> None:
    content = saved(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF")
    with pytest.raises(BrokenImageError, match="floating-point numbers"):
        decode(content, Path("a.tiff"), Target((2, 2)))


def test_a_large_photograph_is_decoded_smaller_and_looks_the_same() -> None:
    large = picture(3, (1500, 2000))
    content = saved(large, "JPEG", quality=95)
    pixels = decode(content, Path("a.jpg"), Target((30, 40)))
    exact = decode(saved(large, "PNG"), Path("a.png"), Target((30, 40)))
    assert np.abs(pixels.astype(int) - exact).mean() < 2


# Sizes, channels, splits.


def test_images_of_one_size_need_no_words_and_others_are_brought_to_one(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pics", {"a": 3, "b": 3})
    assert read(root).train.images.shape == (6, 8, 8, 3)
    (root / "a" / "wide.png").write_bytes(saved(picture(), "PNG"))
    assert "images of 2 sizes (a/0.jpg has 8x8 pixels, a/wide.png 60x40): say what they are brought to" in refusal(root)
    assert read(root, form=Form((16, 12))).train.images.shape == (7, 16, 12, 3)


def test_channels_are_those_of_the_images_unless_said(tmp_path: Path) -> None:
    root = tmp_path / "pics"
    for name, modes in {"a": "LL", "b": "LL"}.items():
        (root / name).mkdir(parents=True)
        for number, mode in enumerate(modes):
            (root / name / f"{number}.jpg").write_bytes(jpeg(10 * ord(name) + number, mode=mode))
    grey = read(root)
    assert (grey.train.images.shape, len(grey.mean), grey.notes) == ((4, 8, 8, 1), 1, ())
    three = read(root, form=Form(channels=3)).train.images
    np.testing.assert_array_equal(three, np.repeat(np.asarray(grey.train.images), 3, axis=-1))
    (root / "b" / "2.jpg").write_bytes(jpeg(7))
    mixed = read(root)
    assert (mixed.train.images.shape, mixed.notes) == (
        (5, 8, 8, 3), ("4 grey images of 5, read as three equal channels",),
    )  # fmt: skip
    one = read(root, form=Form(channels=1))
    assert (one.train.images.shape, one.notes) == ((5, 8, 8, 1), ("1 image in colour of 5, read as grey",))


@pytest.mark.parametrize("name", ["val", "valid", "Validation", "test"])
def test_a_folder_beside_train_is_validated_on(tmp_path: Path, name: str) -> None:
    root = write_folder(write_folder(tmp_path / "pics", {"a": 3, "b": 2}, "train"), {"b": 1, "a": 2}, name)
    data = read(root)
    assert (data.train.labels.tolist(), data.val.labels.tolist()) == ([0, 0, 0, 1, 1], [0, 0, 1])
    assert data.class_ids == ("a", "b")
    assert held(root).held_out == 0.0


def test_of_val_and_test_the_first_is_used_and_the_other_at_wish(tmp_path: Path) -> None:
    root = tmp_path / "pics"
    for split, count in (("train", 4), ("val", 2), ("test", 3)):
        write_folder(root, {"a": count, "b": count}, split)
    assert len(held(root).val.labels) == 4
    assert held(root).notes == ("folders beside train/ that are not used: test",)
    assert len(held(root, "data.val_folder=test").val.labels) == 6
    built = {path.name: path.stat().st_mtime_ns for path in (root / ".cache").glob("v*/about.json")}
    assert len(held(root).val.labels) == 4
    assert {path.name: path.stat().st_mtime_ns for path in (root / ".cache").glob("v*/about.json")} == built
    with pytest.raises(DataError, match=r"pics/tset: no such folder beside train/; data\.val_folder names"):
        held(root, "data.val_folder=tset")
    with pytest.raises(ConfigError, match=r"data\.val_folder=val: data\.name=tiny_imagenet has no such folders"):
        load_dataset(load_config("baseline", [f"data.root={write_data_set(tmp_path / 't')}", "data.val_folder=val"]))


def test_a_folder_to_validate_on_and_a_holdout_exclude_each_other(tmp_path: Path) -> None:
    root = write_folder(write_folder(tmp_path / "pics", {"a": 4, "b": 4}, "train"), {"a": 1, "b": 1}, "test")
    with pytest.raises(ConfigError, match=r"data\.val_folder=test and data\.holdout=0\.2 both say what to validate on"):
        held(root, "data.val_folder=test", "data.holdout=0.2")
    assert len(held(root, "data.val_folder=Test/").val.labels) == 2


def test_names_of_classes(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "my pics", {"a b": 1, "50% off": 1, "狐": 1, "x\x1b[31m": 1})
    assert read(root).class_ids == ("50% off", "a b", "x\x1b[31m", "狐")
    assert read(root).class_names == ("50% off", "a b", r"x\x1b[31m", "狐")
    (root / "words.txt").write_text("a b\tthe first\nother\tno class\n狐\tfox\n", encoding="utf-8")
    assert read(root).class_names == ("50% off", "the first", r"x\x1b[31m", "fox")
    (root / "classes.txt").write_text("狐\tthe fox\na b\n50% off\nx\x1b[31m\n", encoding="utf-8")
    assert read(root).class_ids == ("狐", "a b", "50% off", "x\x1b[31m")
    assert read(root).class_names == ("the fox", "the first", "50% off", r"x\x1b[31m")
    (root / "classes.txt").write_text("a b\nc\n")
    assert "classes.txt, line 2: 'c' is no class folder; write FOLDER TAB NAME" in refusal(root)


def test_other_files_are_left_alone_and_counted(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pics", {"a": 2, "b": 2})
    for name in (".DS_Store", "Thumbs.db", "notes.txt", "._0.jpg"):
        (root / "a" / name).write_text("no image")
    (root / "b" / "IMG_1.HEIC").write_text("a photograph of a telephone")
    (root / "b" / "deeper" / "still").mkdir(parents=True)
    shutil.move(root / "b" / "1.jpg", root / "b" / "deeper" / "still" / "1.jpg")
    (root / "loose.png").write_bytes(saved(picture(), "PNG"))
    (root / "__MACOSX").mkdir()
    (root / ".git").mkdir()
    data = read(root)
    assert data.train.labels.tolist() == [0, 0, 1, 1]
    assert data.notes == (
        "no images, and left alone: 1 .DS_Store, 1 .db, 1 .jpg, 1 .txt",
        "pictures that are not read: 1 .heic; convert them to JPEG or PNG",
        "images outside the class folders, and left alone: 1",
    )


# Broken images.


def test_broken_images_are_refused_together_or_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "CHUNK", 3)
    root = write_folder(tmp_path / "pics", {"a": 5, "b": 5})
    intact = read(root)
    for place in ("a/1.jpg", "a/4.jpg", "b/0.jpg", "b/3.jpg"):
        path = root / place
        path.with_name(f"{path.stem}x.jpg").write_bytes(path.read_bytes()[:-30])
    (root / "b" / "text.png").write_text("no image")
    told = refusal(root)
    assert told.startswith(f"{root}: 5 broken images: a/1x.jpg: not an intact image (")
    assert "; b/0x.jpg: " in told
    assert ", and 2 more. Replace them, or remove them from the data set, or leave them out with data.broken=s" in told
    assert list((root / ".cache").glob("v*partial*")) == []
    skipped = read(root, form=Form(broken="skip"))
    np.testing.assert_array_equal(skipped.train.images, intact.train.images)
    assert skipped.train.labels.tolist() == intact.train.labels.tolist()
    assert skipped.train.hashes is not None
    assert intact.train.hashes is not None
    assert skipped.train.hashes.tolist() == intact.train.hashes.tolist()
    assert (skipped.mean, skipped.std) == (intact.mean, intact.std)
    assert skipped.notes[0].startswith("broken, and left out (data.broken=skip): a/1x.jpg: not an intact image")
    assert skipped.notes[0].endswith(", and 4 more")
    assert "5 broken images" in refusal(root)  # although there is a build without them


def test_a_class_of_broken_images_only_is_refused(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pics", {"a": 2, "b": 2})
    for path in (root / "b").iterdir():
        path.write_bytes(path.read_bytes()[:-30])
    assert "all training images of class b are broken" in refusal(root, form=Form(broken="skip"))


def test_an_image_of_tiny_imagenet_may_be_skipped_too(tmp_path: Path) -> None:
    root = write_data_set(tmp_path / "tiny")
    (root / "train/n03/images/n03_0.JPEG").write_text("broken")
    with pytest.raises(DataError, match=r"n03_0\.JPEG: not an intact JPEG"):
        load_tiny(root, workers=1, quiet=True)
    assert load_tiny(root, workers=1, quiet=True, form=Form(broken="skip")).train.images.shape == (11, 8, 8, 3)


# The part that is held out.


def test_a_part_is_held_out_by_content(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pics", {"a": 60, "b": 40, "c": 3})
    data = held(root)
    counts = np.bincount(data.val.labels, minlength=3)
    assert data.held_out == 0.1
    assert 2 <= counts[0] <= 12
    assert 1 <= counts[1] <= 9
    assert counts[2] == 1  # a class of its own share of 0.3 images has one all the same
    assert len(data.train.labels) + counts.sum() == 103
    validated = images_of(data)
    write_folder(root, {"d": 5})  # other files; old ones with other names
    for path in (root / "a").iterdir():
        path.rename(path.with_name(f"renamed {path.name}"))
    for index in range(200, 220):
        (root / "a" / f"{index}.jpg").write_bytes(jpeg(index))
    assert validated <= images_of(held(root))


def images_of(data: Dataset) -> set[bytes]:
    return {image.tobytes() for image in np.asarray(data.val.images)}


def test_a_copy_of_a_training_image_is_never_validated_on(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pics", {"a": 20, "b": 20})
    for number, path in enumerate(sorted((root / "a").iterdir())):
        shutil.copy(path, root / "a" / f"copy {number}.jpg")
    shutil.copy(root / "b" / "0.jpg", root / "a" / "torn.jpg")
    data = held(root)
    assert images_of(data).isdisjoint({image.tobytes() for image in np.asarray(data.train.images)})
    assert "21 training images are copies of others" in data.notes
    assert "1 image with copies in two classes: `python -m data.inspect` names them" in data.notes


def test_a_class_of_copies_gives_what_it_can_spare() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 2])
    hashes = np.array([10, 20, 30, 40, 10, 10, 40], np.uint64) << np.uint64(56)
    assert held_out_by_content(labels, hashes, 0.001, 3).tolist() == [False, True] + 5 * [False]


def test_a_single_image_is_trained_on(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pics", {"a": 20, "lonely": 1})
    data = held(root, "data.holdout=0.5")
    assert (data.train.labels == 1).sum() == 1
    assert data.notes[-2:] == (
        "classes of very unequal size: 1 (lonely) to 20 (a) images",
        "class without an image to spare for validation: lonely",
    )
    with pytest.raises(DataError, match="no class has an image to spare"):
        held(write_folder(tmp_path / "two", {"a": 1, "b": 1}))


# What is refused.


def test_folders_that_are_no_data_set(tmp_path: Path) -> None:
    root = tmp_path / "pics"
    assert "pics: no such folder. Make a folder for each class" in refusal(root)
    root.mkdir()
    assert "pics: no folder with images. Make a folder for each class" in refusal(root)
    (root / "0.jpg").write_bytes(jpeg(0))
    assert "no folder with images; 1 image in the folder itself. Make" in refusal(root)
    (root / "a").mkdir()
    (root / "b").mkdir()
    (root / "a" / "0.jpg").write_bytes(jpeg(0))
    assert f"{root / 'b'}: a class folder without images that can be read. Put images there" in refusal(root)
    (root / "b").rmdir()
    assert "pics: a single class, a, and there must be two to tell apart; add a folder" in refusal(root)
    (root / "1.jpg").write_bytes(jpeg(1))
    assert f"if the 2 images beside it are a class, name the folder above: data.root={tmp_path}" in refusal(root)
    file = tmp_path / "file"
    file.touch()
    assert "file: a file, where a folder of images is expected" in refusal(file)


def test_a_folder_too_deep_is_pointed_at(tmp_path: Path) -> None:
    write_folder(tmp_path / "download" / "my pics", {"a": 2, "b": 2})
    told = refusal(tmp_path / "download")
    assert f"a single class, my pics, .* data.root='{tmp_path / 'download' / 'my pics'}'".replace(".*", "") not in told
    assert f"if its folders are the classes, name it with data.root='{tmp_path / 'download' / 'my pics'}'" in told


def test_validation_folders_that_do_not_fit(tmp_path: Path) -> None:
    root = write_folder(write_folder(tmp_path / "pics", {"Cat": 2, "dog": 2}, "train"), {"cat": 1}, "val")
    assert f"{root / 'val' / 'cat'}: a class without a folder in train/; rename it to Cat." in refusal(root)
    shutil.rmtree(root / "val" / "cat")
    assert f"{root / 'val'}: no images; put some there, in a folder for each class, or remove" in refusal(root)
    loose = write_folder(tmp_path / "loose", {"train": 2, "val": 2})
    assert "train/ and val/, and no class folders in train/: make a folder for each class there" in refusal(loose)
    tiny = write_data_set(tmp_path / "tiny")
    assert "val/images: this is the layout of Tiny ImageNet: use data.name=tiny_imagenet" in refusal(tiny)


def test_two_data_sets_in_a_folder_are_no_classes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        for part in ("train", "val"):
            write_folder(tmp_path / "both" / name, {"a": 1, "b": 1}, part)
    assert "both/one: holds train/ and folders to validate on, as a data set of its own" in refusal(tmp_path / "both")


def test_folders_that_look_the_same(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pics", {"caf\u00e9": 1, "cafe\u0301": 1, "tea": 1})
    assert "look the same; rename one of them" in refusal(root)


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pics", {"a": 2, "b": 2})
    (root / "a" / "gone.jpg").symlink_to(tmp_path / "unmounted" / "gone.jpg")
    assert f"{root / 'a' / 'gone.jpg'}: cannot be read: No such file" in refusal(root)


@pytest.mark.parametrize("inside", ["cache", "a/cache"])
def test_a_cache_within_the_data_is_no_part_of_them(tmp_path: Path, inside: str) -> None:
    root = write_folder(tmp_path / "pics", {"a": 2, "b": 2})
    for _ in range(2):
        data = read(root, cache=root / inside)
        assert (len(data.train.labels), data.notes) == (4, ())
    assert "data.cache" in refusal(root, cache=root)


def test_links_in_a_circle(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pics", {"a": 2, "b": 2})
    (root / "a" / "again").symlink_to(root / "a")
    assert "folders in a circle" in refusal(root)


def test_a_name_that_is_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems refuse such a name, so it is put in where names are read."""
    root = write_folder(tmp_path / "pics", {"a": 2, "b": 2})
    monkeypatch.setattr("data.folder_scan.os.path.relpath", lambda path, start: "a/\udcff.jpg")
    assert refusal(root) == f"{root}/a/\udcff.jpg: its name is not text in UTF-8; rename it."


# The cache, and Tiny ImageNet beside it.


def test_the_same_files_as_tiny_imagenet_and_as_a_folder_give_the_same_arrays(tmp_path: Path) -> None:
    tiny = write_data_set(tmp_path / "tiny", val=6)
    folder = tmp_path / "folder"
    shutil.copytree(tiny / "train", folder / "train")
    shutil.copy(tiny / "wnids.txt", folder)
    for line in (tiny / "val" / "val_annotations.txt").read_text().splitlines():
        name, wnid, *_ = line.split("\t")
        (folder / "val" / wnid).mkdir(parents=True, exist_ok=True)
        shutil.copy(tiny / "val" / "images" / name, folder / "val" / wnid)
    one, other = load_tiny(tiny, workers=1, quiet=True), read(folder)
    np.testing.assert_array_equal(one.train.images, other.train.images)
    assert one.train.labels.tolist() == other.train.labels.tolist()
    assert (one.mean, one.std, one.class_ids) == (other.mean, other.std, other.class_ids)
    order = np.argsort(one.val.labels, kind="stable")
    np.testing.assert_array_equal(np.asarray(one.val.images)[order], other.val.images)


def test_builds_of_several_forms_lie_beside_each_other(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pics", {"a": 2, "b": 2})
    forms = [Form(), Form((4, 4)), Form((4, 4), 1), Form((4, 6), resize="pad"), Form((4, 6), resize="squash")]
    shapes = [read(root, form=form).train.images.shape[1:] for form in forms]
    assert shapes == [(8, 8, 3), (4, 4, 3), (4, 4, 1), (4, 6, 3), (4, 6, 3)]
    assert len(list((root / ".cache").glob("v*"))) == 5
    (root / "a" / "9.jpg").write_bytes(jpeg(77))
    assert len(read(root).train.labels) == 5  # of the old builds, the one of the same form goes
    assert len(list((root / ".cache").glob("v*"))) == 5


def test_tiny_imagenet_in_its_own_size_is_one_build(tmp_path: Path) -> None:
    root = write_data_set(tmp_path / "tiny")
    whole = load_tiny(root, workers=1, quiet=True)
    same = load_tiny(root, workers=1, quiet=True, form=Form((8, 8), 3, "pad"))
    assert same.train.images.filename == whole.train.images.filename  # type: ignore[union-attr]
    assert load_tiny(root, workers=1, quiet=True, form=Form((4, 4))).train.images.shape == (12, 4, 4, 3)


def test_what_a_run_writes_of_its_data_finds_the_build_that_it_made(tmp_path: Path) -> None:
    """Its configuration has the size and channels that were left to the data."""
    root = write_folder(tmp_path / "pics", {"a": 9, "b": 9})
    for options in (["model.image_size=null", "model.patch_size=4"], ["model.image_size=6", "model.patch_size=3"]):
        config = load_config("image_folder", [f"data.root={root}", "data.workers=1", *options])
        first = load_dataset(config, quiet=True)
        built = sorted((root / ".cache").glob("v*"))
        again = load_dataset(fit_to_data(config, first), quiet=True)
        np.testing.assert_array_equal(first.train.images, again.train.images)
        assert sorted((root / ".cache").glob("v*")) == built


def test_images_that_have_the_size_that_was_asked_for_are_built_once(tmp_path: Path) -> None:
    root = write_data_set(tmp_path / "tiny")
    for form in (Form((8, 8), 3), Form(), Form(channels=3), Form((8, 8))):
        load_tiny(root, workers=1, quiet=True, form=form)
    assert len(list((root / "cache").glob("v*"))) == 1
    (root / "train/n03/images/n03_0.JPEG").write_bytes(jpeg(1, (8, 9)))
    assert load_tiny(root, workers=1, quiet=True, form=Form((8, 8))).train.images.shape == (12, 8, 8, 3)


def test_another_file_of_the_same_name_size_and_time_is_another_one(tmp_path: Path) -> None:
    roots = [write_folder(tmp_path / name, {"a": 2, "b": 2}) for name in ("one", "two")]
    for seed, root in enumerate(roots):
        for number, path in enumerate(sorted(root.rglob("*.jpg"))):
            path.unlink()
            path.with_suffix(".bmp").write_bytes(saved(picture(10 * seed + number, (8, 8)), "BMP"))
            os.utime(path.with_suffix(".bmp"), ns=(0, 0))
    one, two = (read(root, cache=tmp_path / "cache") for root in roots)
    assert one.fingerprint != two.fingerprint


def test_the_model_takes_its_sizes_from_the_data(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pics", {"a": 5, "b": 5, "c": 5})
    given = [f"data.root={root}", "data.workers=1", "model.image_size=null", "model.patch_size=4"]
    config = load_config("image_folder", given)
    assert config.from_data == ("image_size", "channels", "num_classes")
    fitted = fit_to_data(config, load_dataset(config, quiet=True))
    assert (fitted.model.image_size, fitted.model.channels, fitted.model.num_classes) == (8, 3, 3)
    assert (fitted.data.holdout, fitted.from_data) == (0.1, ())
    odd = load_config("image_folder", [*given, "model.patch_size=3"])
    with pytest.raises(ConfigError, match=r"The images have 8x8 pixels; model\.image_size=64, for example, has them"):
        fit_to_data(odd, load_dataset(odd, quiet=True))
    with pytest.raises(ConfigError, match=r"model\.channels=2: images have 1 \(grey\) or 3 \(RGB\)"):
        load_dataset(load_config("image_folder", [*given, "model.channels=2"]))
