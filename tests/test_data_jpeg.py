"""Damage inside a JPEG file is found, intact files of every kind are not suspected; orientation; images too large."""

import io
import itertools
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from common.errors import DataError
from data import jpeg
from data.decode import decode, image_size
from data.form import Target
from data.tiny_imagenet import load
from tests.tiny_data import write_data_set

HEIGHT, WIDTH = 48, 64
MODES: dict[str, tuple[int, ...]] = {"L": (), "RGB": (3,), "CMYK": (4,)}
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "optimized": {"optimize": True},
    "fine": {"quality": 100, "subsampling": 0},
    "coarse": {"quality": 5, "subsampling": 1, "optimize": True},
    "restart markers": {"restart_marker_blocks": 3},
    "progressive": {"progressive": True},
    "progressive restart markers": {"progressive": True, "restart_marker_blocks": 3, "quality": 95, "subsampling": 0},
}


def picture(seed: int, mode: str = "RGB", size: tuple[int, int] = (HEIGHT, WIDTH), smooth: bool = True) -> Image.Image:
    """Smooth noise, as photographs have it, or noise."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (*size, *MODES[mode]), dtype=np.uint8)
    if not smooth:
        return Image.fromarray(noise, mode)
    small = Image.fromarray(noise[: max(1, size[0] // 4), : max(1, size[1] // 4)], mode)
    return small.resize(size[::-1], Image.Resampling.BICUBIC)


def encoded(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def codes(content: bytes) -> tuple[int, int]:
    """Where the compressed pixels of the last scan begin and end."""
    scan = content.rfind(b"\xff\xda")
    return scan + 2 + int.from_bytes(content[scan + 2 : scan + 4]), content.rfind(b"\xff\xd9")


def decoded(content: bytes, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    return decode(content, Path("x.JPEG"), Target(size, same_as="first.JPEG", jpeg=True))[0]


def is_refused(content: bytes, size: tuple[int, int] = (HEIGHT, WIDTH)) -> bool:
    try:
        decoded(content, size)
    except DataError:
        return True
    return False


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_intact_files_of_all_kinds_are_accepted(mode: str, kind: str) -> None:
    shape = (HEIGHT, WIDTH, *MODES[mode])
    contents = [Image.fromarray(np.full(shape, level, np.uint8), mode) for level in (0, 128, 255)]
    contents += [picture(1, mode), picture(2, mode, smooth=False)]
    contents += [picture(3, mode, size) for size in ((1, 1), (7, 9), (17, 33))]
    for image in contents:
        content = encoded(image, **KINDS[kind])
        with Image.open(io.BytesIO(content)) as again:
            expected = np.asarray(again.convert("RGB"))
        np.testing.assert_array_equal(decoded(content, expected.shape[:2]), expected)


def test_bytes_left_over_by_a_camera_are_no_damage() -> None:
    content = encoded(picture(0))
    _, end = codes(content)
    decoded(content[:end] + b"\x00\x00" + content[end:])
    decoded(content[:end] + b"\xff\xff\xff" + content[end:] + b"and more behind the end")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "progressive" not in kind])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_zeros_in_the_middle_of_the_pixels_are_found(mode: str, kind: str) -> None:
    for seed, many in itertools.product(range(4), (20, 100, 400)):
        content = encoded(picture(seed, mode, smooth=False), **KINDS[kind])
        start, end = codes(content)
        place = (start + end) // 2
        many = min(many, (end - start) // 3)
        damaged = content[:place] + bytes(many) + content[place + many :]
        with pytest.raises(DataError, match=r"x\.JPEG: not an intact JPEG image \(.*\)\. Replace it"):
            decoded(damaged)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_file_with_an_end_marker_is_found(kind: str) -> None:
    content = encoded(picture(0), **KINDS[kind])
    start, end = codes(content)
    for cut in range(start + 1, end - 8, (end - start) // 40):
        with pytest.raises(DataError, match="not an intact JPEG"):
            decoded(content[:cut].rstrip(b"\xff") + content[end:])


PROGRESSIVE = [kind for kind in KINDS if "progressive" in kind]


@pytest.mark.parametrize("kind", ["plain", "optimized", "restart markers", *PROGRESSIVE])
def test_most_lost_or_overwritten_parts_are_found(kind: str) -> None:
    """What is not found left as many blocks as there were: in a small picture that happens by chance."""
    found, rng = 0, np.random.default_rng(0)
    for seed in range(20):
        content = encoded(picture(seed, smooth=False), **KINDS[kind])
        start, end = content.find(b"\xff\xda") + 14, codes(content)[1]
        place = int(rng.integers(start, end - 100))
        for part in (b"", bytes(rng.integers(0, 255, 100, dtype=np.uint8))):
            found += is_refused(content[:place] + part + content[place + 100 :])
    assert found >= 34  # of 40


@pytest.mark.parametrize("kind", ["plain", "optimized", "restart markers", *PROGRESSIVE])
def test_lost_or_overwritten_sectors_of_large_files_are_found(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg, "LARGE", 0)
    size, found, rng = (80, 112), 0, np.random.default_rng(0)
    for seed in range(10):
        content = encoded(picture(seed, size=size, smooth=False), **KINDS[kind])
        start, end = content.find(b"\xff\xda") + 14, codes(content)[1]
        place = int(rng.integers(start, end - 512))
        for part in (b"", bytes(rng.integers(0, 255, 512, dtype=np.uint8))):
            found += is_refused(content[:place] + part + content[place + 512 :], size)
    assert found >= 16  # of 20


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_intact_large_files_are_accepted_at_a_quick_look(mode: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg, "LARGE", 0)
    monkeypatch.setattr(jpeg, "read", lambda *_: pytest.fail("the codes were read in Python, which takes long"))
    for size, smooth in (((HEIGHT, WIDTH), True), ((HEIGHT, WIDTH), False), ((17, 33), True), ((50, 70), False)):
        assert jpeg.damage(encoded(picture(1, mode, size, smooth), **KINDS[kind])) == ""


def test_a_progressive_file_cut_exactly_behind_a_scan_is_a_coarser_image() -> None:
    """The format allows it, so it cannot be told from damage."""
    content = encoded(picture(0), progressive=True)
    decoded(content[: content.rfind(b"\xff\xc4")] + b"\xff\xd9")


@pytest.mark.parametrize("kind", ["plain", "optimized", "progressive"])
def test_a_quantization_table_of_zeros_is_found(kind: str) -> None:
    content = encoded(picture(0), **KINDS[kind])
    for found in re.finditer(rb"\xff\xdb..", content):
        for many in (1, 64):
            damaged = content[: found.end() + 1] + bytes(many) + content[found.end() + 1 + many :]
            with pytest.raises(DataError, match="a quantization table was overwritten"):
                decoded(damaged)


def test_a_zero_in_a_quantization_table_of_two_bytes_is_found_and_half_a_zero_is_none() -> None:
    content = encoded(picture(0))
    place = content.find(b"\xff\xdb")
    rest = content[place + 2 + int.from_bytes(content[place + 2 : place + 4]) :]
    for zero, intact in ((b"\x01\x00", True), (b"\x00\x00", False)):
        table = b"\xff\xdb\x00\x83\x10" + b"\x00\x07" * 63 + zero
        changed = content[:place] + table + rest
        if intact:
            decoded(changed)
        else:
            with pytest.raises(DataError, match="a quantization table was overwritten"):
                decoded(changed)


def test_a_huffman_table_with_a_symbol_twice_is_found() -> None:
    content = encoded(picture(0), optimize=True)
    for found in re.finditer(rb"\xff\xc4..", content):
        symbols = found.end() + 17
        damaged = content[:symbols] + content[symbols + 1 : symbols + 2] + content[symbols + 1 :]
        with pytest.raises(DataError, match="a table of its codes was overwritten"):
            decoded(damaged)


def test_most_changes_of_a_byte_of_a_huffman_table_are_found() -> None:
    found, rng = 0, np.random.default_rng(0)
    for seed in range(40):
        content = encoded(picture(seed), optimize=True)
        tables = [match.start() for match in re.finditer(b"\xff\xc4", content)]
        start = tables[seed % len(tables)] + 4
        place = int(rng.integers(start, start - 2 + int.from_bytes(content[start - 2 : start])))
        changed = bytes([content[place] ^ int(rng.integers(1, 256))])
        found += is_refused(content[:place] + changed + content[place + 1 :])
    assert found >= 36  # of 40


def test_a_damaged_image_is_named_whatever_place_it_has(tmp_path: Path) -> None:
    root = write_data_set(tmp_path / "tiny", size=(HEIGHT, WIDTH))
    for name in ("train/n03/images/n03_0.JPEG", "val/images/val_2.JPEG"):
        whole = (root / name).read_bytes()
        start, end = codes(whole)
        middle = (start + end) // 2
        (root / name).write_bytes(whole[:middle] + bytes(400) + whole[middle + 400 :])
        with pytest.raises(DataError, match=rf"{name}: not an intact JPEG image \(a part of its pixels"):
            load(root, workers=1, quiet=True)
        (root / name).write_bytes(whole)
    load(root, workers=1, quiet=True)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_upright_as_exif_says(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(picture(5), exif=exif)
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert expected.shape[:2] == ((HEIGHT, WIDTH) if orientation < 5 else (WIDTH, HEIGHT))
    np.testing.assert_array_equal(decoded(content, expected.shape[:2]), expected)
    (tmp_path / "first.JPEG").write_bytes(content)
    assert image_size(tmp_path / "first.JPEG") == expected.shape[:2]


@pytest.mark.parametrize("exif", [b"Exif\x00\x00MM\x00", b"Exif\x00\x00nonsense", b"Exif\x00\x00"])
def test_exif_that_cannot_be_read_changes_nothing(exif: bytes) -> None:
    plain = decoded(encoded(picture(5)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(decoded(encoded(picture(5), exif=exif)), plain)


@pytest.mark.parametrize("place", ["first", "another"])
def test_an_image_that_pillow_finds_too_large_is_named(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_data_set(tmp_path / "tiny", size=(8, 8))
    path = root / "train/n03/images" / ("n03_0.JPEG" if place == "first" else "n03_2.JPEG")
    path.write_bytes(encoded(picture(0)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match=rf"{path.name}: more than 2,000 pixels, which is too many .resize it"):
        load(root, workers=1, quiet=True)


def test_an_image_that_pillow_only_warns_of_is_read_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(picture(0))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", HEIGHT * WIDTH - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoded(content)
