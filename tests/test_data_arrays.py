"""MNIST, FashionMNIST and CIFAR: what is read, and what is refused in one sentence that names the file."""

import gzip
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.errors import DataError
from data import cifar10, cifar100, fashion_mnist, in_memory, mnist
from data.dataset import Dataset
from data.form import Form
from data.registry import SOURCES
from data.source import Load
from tests.array_data import IDX_FILES, NAMES_10, idx, records, write_cifar10, write_cifar100, write_idx

IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = IDX_FILES


def pixels(name: str, root: Path) -> np.ndarray:
    packed = root / f"{name}.gz"
    content = gzip.decompress(packed.read_bytes()) if packed.exists() else (root / name).read_bytes()
    return np.frombuffer(content, np.uint8, offset=16).reshape(-1, 8, 6, 1)


# What is read.


def test_mnist_is_read_with_one_channel(tmp_path: Path) -> None:
    root = write_idx(tmp_path)
    dataset = mnist.load(root)
    np.testing.assert_array_equal(dataset.train.images, pixels(IMAGES, root))
    np.testing.assert_array_equal(dataset.val.images, pixels(TEST_IMAGES, root))
    np.testing.assert_array_equal(dataset.train.labels, np.arange(30) % 10)
    assert dataset.train.labels.dtype == np.int32
    assert dataset.class_ids == dataset.class_names == tuple("0123456789")
    np.testing.assert_allclose(dataset.mean, [dataset.train.images.mean() / 255])
    np.testing.assert_allclose(dataset.std, [dataset.train.images.std() / 255])


def test_fashion_mnist_has_names_for_its_classes(tmp_path: Path) -> None:
    dataset = fashion_mnist.load(write_idx(tmp_path))
    assert dataset.class_ids == tuple("0123456789")
    assert (dataset.class_names[0], dataset.class_names[9]) == ("T-shirt/top", "ankle boot")


def test_it_does_not_matter_which_files_are_compressed(tmp_path: Path) -> None:
    packed, plain = mnist.load(write_idx(tmp_path / "a")), mnist.load(write_idx(tmp_path / "b", packed=False))
    np.testing.assert_array_equal(packed.train.images, plain.train.images)
    assert packed[2:] == plain[2:]
    odd = write_idx(tmp_path / "c", packed=False)  # as a browser leaves it that unpacks and keeps the name, or reversed
    (odd / LABELS).rename(odd / f"{LABELS}.gz")
    (odd / TEST_LABELS).write_bytes(gzip.compress((odd / TEST_LABELS).read_bytes()))
    assert mnist.load(odd).fingerprint == plain.fingerprint


def test_the_fingerprint_follows_images_and_labels(tmp_path: Path) -> None:
    root = write_idx(tmp_path, packed=False)
    seen = {mnist.load(root).fingerprint}
    assert mnist.load(root, form=Form(size=(4, 4))).fingerprint in seen  # it is that of the files
    for name in IDX_FILES:
        content = bytearray((root / name).read_bytes())
        content[-1] ^= 1
        (root / name).write_bytes(content)
        seen.add(mnist.load(root).fingerprint)
    assert len(seen) == 5


def test_cifar_10_is_read_from_planes(tmp_path: Path) -> None:
    root = write_cifar10(tmp_path)
    dataset = cifar10.load(root)
    assert dataset.train.images.shape == (60, 32, 32, 3)
    assert dataset.val.images.shape == (12, 32, 32, 3)
    np.testing.assert_array_equal(dataset.train.labels, np.tile(np.arange(12) % 10, 5))
    assert dataset.class_ids == dataset.class_names == NAMES_10
    third = (root / "data_batch_3.bin").read_bytes()
    for row, column, channel in ((0, 0, 0), (5, 7, 1), (31, 31, 2), (2, 30, 2)):
        place = 7 * 3073 + 1 + 1024 * channel + 32 * row + column  # of image 7
        assert dataset.train.images[24 + 7, row, column, channel] == third[place]
    np.testing.assert_allclose(dataset.mean, dataset.train.images.mean(axis=(0, 1, 2)) / 255)


def test_cifar_100_is_read_with_its_fine_labels(tmp_path: Path) -> None:
    root = write_cifar100(tmp_path)
    dataset = cifar100.load(root)
    np.testing.assert_array_equal(dataset.train.labels, np.arange(120) % 100)
    assert (dataset.class_ids[7], dataset.class_names[7]) == ("fine_7", "fine 7")
    assert dataset.train.images[3, 1, 2, 1] == (root / "train.bin").read_bytes()[3 * 3074 + 2 + 1024 + 32 + 2]


def test_images_are_brought_to_a_form(tmp_path: Path) -> None:
    grey = mnist.load(write_idx(tmp_path / "mnist"), form=Form(size=(16, 16), channels=3, resize="pad"), quiet=True)
    assert grey.train.images.shape == (30, 16, 16, 3)
    assert (grey.train.images[..., :1] == grey.train.images).all()
    assert not grey.train.images[:, :, :2].any()  # the images are higher than wide
    assert len(grey.mean) == 3
    root = write_cifar10(tmp_path / "cifar")
    colour, single = cifar10.load(root), cifar10.load(root, form=Form(channels=1), quiet=True)
    assert single.val.images.shape == (12, 32, 32, 1)
    expected = np.asarray(Image.fromarray(colour.val.images[3]).convert("L"))
    np.testing.assert_array_equal(single.val.images[3, ..., 0], expected)
    same = cifar10.load(root, form=Form(size=(32, 32), channels=3))
    np.testing.assert_array_equal(same.train.images, colour.train.images)


def test_images_that_do_not_fit_into_memory_are_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_memory, "machine_memory", lambda: 10_000_000_000)
    with pytest.raises(
        DataError, match=r"40 images of 20000x20000 take 16 GB of memory, .* has 10 GB: choose a smaller"
    ):
        mnist.load(write_idx(tmp_path), form=Form(size=(20_000, 20_000)))


@pytest.mark.parametrize("name", [name for name, source in SOURCES.items() if source.known])
def test_what_is_known_of_a_data_set(name: str, tmp_path: Path) -> None:
    known, write = SOURCES[name].known, {"cifar10": write_cifar10, "cifar100": write_cifar100}.get(name)
    assert known is not None
    assert known == {"tiny_imagenet": ((64, 64), 3, 200), "shapes": ((64, 64), 3, 12), "cifar10": ((32, 32), 3, 10),
                     "cifar100": ((32, 32), 3, 100)}.get(name, ((28, 28), 1, 10))  # fmt: skip
    if write:
        dataset = SOURCES[name].load(write(tmp_path), None, None, True)
        assert (dataset.train.images.shape[1:], len(dataset.class_ids)) == (
            (*known.size, known.channels),
            known.classes,
        )


# What is refused.


def refused(load: Load | Callable[[Path], Dataset], root: Path) -> str:
    with pytest.raises(DataError) as caught:
        load(root)  # type: ignore[call-arg]
    message = str(caught.value)
    assert "\n" not in message
    return message


def header(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


WHOLE_IMAGES = idx(np.zeros((30, 8, 6)))
PACKED_IMAGES = gzip.compress(WHOLE_IMAGES)
OTHER_IMAGES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", r"damaged or cut short \(it has 0 bytes\)"),
    "another magic number": (header(2052, 30, 8, 6) + bytes(1440), r"not an idx file of images \(magic number 2052"),
    "little-endian": (struct.pack("<4I", 2051, 30, 8, 6) + bytes(1440), "magic number 50855936, not 2051"),
    "labels": (idx(np.zeros(30)), "holds labels, where images are expected"),
    "cut short": (WHOLE_IMAGES[:-1], "it has 1,455 bytes, and 1,456 by its header"),
    "too long": (WHOLE_IMAGES + b"x", "it has 1,457 bytes, and 1,456 by its header"),
    "a header of too much": (header(2051, 2**32 - 1, 2**32 - 1, 2**32 - 1), "it has 16 bytes, and 79,228,162,458,924,"),
    "no images": (header(2051, 0, 8, 6), "it holds no images"),
    "images of no size": (header(2051, 30, 0, 6), "it holds no images"),
    "fewer images": (idx(np.zeros((29, 8, 6))), "30 labels for 29 images of"),
    "images of another size": (idx(np.zeros((30, 8, 8))), "images of 8x6, while .* has images of 8x8"),
    "a page": (b"<html>not found</html>", "not an idx file of images"),
    "packed, cut short": (PACKED_IMAGES[:-9], r"damaged or cut short \(Compressed file ended"),
    "packed, garbled": (PACKED_IMAGES[:-8] + b"12345678", r"damaged or cut short \(CRC check failed"),
    "packed, more than it says": (gzip.compress(WHOLE_IMAGES + b"x"), "it unpacks to more bytes, and 1,456 by"),
    "packed, less than it says": (gzip.compress(WHOLE_IMAGES[:-1]), "it unpacks to 1,455 bytes, and 1,456 by"),
    "packed, a header too large": (gzip.compress(header(2051, 2**14, 2**8, 2**8)), "bytes before unpacking, and 1,073"),
    "packed, nothing": (gzip.compress(b""), "it has 0 bytes"),
    "no packed file": (b"\x1f\x8bxyz", "damaged or cut short"),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHER_IMAGES)
def test_damaged_images_are_refused(tmp_path: Path, case: str) -> None:
    root = write_idx(tmp_path / "mnist", packed=False)
    content, reason = OTHER_IMAGES[case]
    (root / IMAGES).write_bytes(content)
    message = refused(mnist.load, root)
    assert message.startswith(str(root))
    assert IMAGES in message
    with pytest.raises(DataError, match=reason):
        mnist.load(root)
    if case != "images of another size":
        assert message.endswith(f"Remove the file and download it again: python -m data.download mnist --to {tmp_path}")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (idx(np.arange(30) % 11), r"damaged \(label 11 is 10, and MNIST has the labels 0 to 9\)"),
        (idx(np.full(30, 255)), r"damaged \(label 1 is 255, and"),
        (idx(np.zeros(31)), "31 labels for 30 images of train-images"),
        (WHOLE_IMAGES, r"holds images, where labels are expected \(magic number 2051\)"),
    ],
    ids=["out of range", "255", "too many", "images"],
)
def test_damaged_labels_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    root = write_idx(tmp_path)
    (root / f"{LABELS}.gz").write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match=rf"{LABELS}\.gz: {reason}"):
        mnist.load(root)


@pytest.mark.parametrize("ratio", [1, 1000])
def test_a_small_file_takes_little_memory(tmp_path: Path, ratio: int) -> None:
    """A packed file of zeros, whose header says less or far more than there is."""
    root = write_idx(tmp_path, packed=False)
    (root / IMAGES).unlink()
    says = header(2051, 30 * ratio, 100, 100)
    (root / f"{IMAGES}.gz").write_bytes(gzip.compress(says + bytes(50_000_000 if ratio == 1 else 1000)))
    tracemalloc.start()
    message = refused(mnist.load, root)
    assert tracemalloc.get_traced_memory()[1] < 8_000_000
    tracemalloc.stop()
    assert "damaged or cut short" in message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    root = write_idx(tmp_path)
    (root / f"{TEST_LABELS}.gz").unlink()
    assert refused(mnist.load, root) == (
        f"{root / TEST_LABELS}: missing, and so is {TEST_LABELS}.gz; the data set is incomplete. To get it: "
        "python -m data.download mnist --to datasets"
    )
    (root / f"{TEST_LABELS}.gz").mkdir()
    assert "missing" in refused(mnist.load, root)


def test_the_advice_for_a_folder_of_another_name_names_the_folder_of_the_download(tmp_path: Path) -> None:
    root = write_idx(tmp_path / "raw")
    (root / f"{LABELS}.gz").write_bytes(b"x")
    assert refused(mnist.load, root).endswith(
        "Replace it, or download the data set to datasets/mnist and use that: "
        "python -m data.download mnist --to datasets"
    )


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_cifar10(tmp_path)

    def refuse(path: Path, version: object) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("data.cifar._read", refuse)
    assert f"{root / 'data_batch_1.bin'}: cannot be read: Permission denied. Fix" in refused(cifar10.load, root)


RECORD = records(12, (10,)).tobytes()
OTHER_BATCHES: dict[str, tuple[str, bytes | None, str]] = {
    "missing": ("data_batch_4.bin", None, "data_batch_4.bin: missing; the data set is incomplete"),
    "empty": ("data_batch_4.bin", b"", r"damaged or cut short \(it has 0 bytes\)"),
    "cut short": ("test_batch.bin", RECORD[:-1], "it has 36,875 bytes, which is no multiple of 3,073"),
    "a label out of range": (
        "data_batch_2.bin", RECORD[:3073] + b"\x0a" + RECORD[3074:], r"label 10 of image 2, and the labels are 0 to 9"
    ),
    "no names": ("batches.meta.txt", None, "missing, which has the names of the classes"),
    "a name too few": ("batches.meta.txt", b"\n".join([b"a", b"b"]), r"damaged \(it has 2 different names, not 10\)"),
    "a name twice": ("batches.meta.txt", b"a\n" * 10, r"damaged \(it has 1 different names, not 10\)"),
    "names that are no text": ("batches.meta.txt", b"\xff" * 10, "not a text file in UTF-8"),
    "a name with an escape code": (
        "batches.meta.txt", "\n".join([*NAMES_10[:9], "\x1b[2J"]).encode(), r"damaged \('\\x1b\[2J' is no name\)"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHER_BATCHES)
def test_damaged_batches_are_refused(tmp_path: Path, case: str) -> None:
    root = write_cifar10(tmp_path / "cifar-10-batches-bin")
    name, content, reason = OTHER_BATCHES[case]
    (root / name).unlink() if content is None else (root / name).write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        cifar10.load(root)
    assert str(caught.value).startswith(str(root / name))
    advice = f"Move the data set away and download it again: python -m data.download cifar10 --to {tmp_path}"
    assert str(caught.value).endswith(advice)


def test_labels_of_cifar_100_are_both_tested(tmp_path: Path) -> None:
    root = write_cifar100(tmp_path)
    rows = records(20, (20, 100))
    for column, label in ((0, 20), (1, 100)):
        changed = rows.copy()
        changed[4, column] = label
        (root / "test.bin").write_bytes(changed.tobytes())
        assert f"label {label} of image 5, and the labels are 0 to {label - 1}" in refused(cifar100.load, root)


def test_a_batch_that_is_cut_between_two_images_is_told_by_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in cifar10.VERSION.published:
        monkeypatch.setitem(cifar10.VERSION.published, name, 12)
    root = write_cifar10(tmp_path)
    (root / "data_batch_3.bin").write_bytes(RECORD[: 6 * 3073])
    assert f"{root / 'data_batch_3.bin'}: damaged or cut short (it has 6 images, not 12)" in refused(cifar10.load, root)


# Folders that are not the right ones.


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("mnist", "MNIST/raw"),
        ("fashion_mnist", "fashion-mnist"),
        ("cifar10", "cifar-10-batches-bin"),
        ("cifar100", "a/b"),
    ],
)
def test_a_data_set_that_lies_deeper_is_found(tmp_path: Path, name: str, made: str) -> None:
    {"cifar10": write_cifar10, "cifar100": write_cifar100}.get(name, write_idx)(tmp_path / made)
    load = SOURCES[name].load
    assert refused(load, tmp_path) == f"{tmp_path}: the data set is deeper in this folder; use {tmp_path / made}."


def test_of_several_that_lie_deeper_the_one_of_this_name_is_meant(tmp_path: Path) -> None:
    for folder in ("fashion-mnist", "mnist"):
        write_idx(tmp_path / folder)
    assert f"use {tmp_path / 'mnist'}." in refused(mnist.load, tmp_path)
    assert f"use {tmp_path / 'fashion-mnist'}." in refused(fashion_mnist.load, tmp_path)


@pytest.mark.parametrize(
    ("name", "files"), [("cifar10", ["data_batch_1", "batches.meta"]), ("cifar100", ["train", "meta"])]
)
def test_the_version_for_python_is_told_apart(tmp_path: Path, name: str, files: list[str]) -> None:
    for file in files:
        (tmp_path / file).write_bytes(b"\x80\x02")
    message = refused(SOURCES[name].load, tmp_path)
    assert "in the version for Python, while the binary version is read" in message
    assert f"python -m data.download {name} --to datasets" in message


def test_a_folder_of_something_else_says_how_to_get_the_data(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    message = refused(cifar100.load, tmp_path)
    assert message == (
        f"{tmp_path}: no train.bin here, so this is not CIFAR-100. To get CIFAR-100: "
        "python -m data.download cifar100 --to datasets"
    )
    (tmp_path / "file").touch()
    assert "a file, where the folder" in refused(cifar100.load, tmp_path / "file")
