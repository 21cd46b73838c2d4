"""How fast a folder of photographs becomes the arrays of the cache: decoded, checked for damage, brought to a size.

    python -m benchmarks.decode [--photos N] [--size WIDTHxHEIGHT] [--to SIDE] [--kind KIND] [--workers N]

The photographs are drawn: noise with the spectrum of natural images, whose amplitude falls as the inverse of the
frequency (Field 1987, doi:10.1364/JOSAA.4.002379). As JPEG files they have about as many bytes as real ones. They are
written to a temporary folder, and read by `data.image_folder.load`, as a training would at its first start: listed,
looked at, read, hashed, decoded, resized, written to the cache. What takes the most is also timed for one photograph
alone, in one process.
"""

import argparse
import io
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from common.argument_types import at_least
from common.command import run_command
from common.cores import available_cores
from common.text import counted
from data.decode import decode
from data.form import Form, Target
from data.image_folder import load
from data.jpeg import damage

CLASSES = 10
DIFFERENT = 200  # photographs; each is written several times, with some bytes that make its content another one
KINDS: dict[str, tuple[str, dict[str, object]]] = {
    "jpeg": ("JPEG", {"quality": 90}),
    "progressive": ("JPEG", {"quality": 90, "progressive": True}),
    "png": ("PNG", {}),
    "webp": ("WEBP", {"quality": 90}),
}


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode", description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=at_least(1), default=10_000, metavar="N", help="default: %(default)s")
    parser.add_argument("--size", type=_size, default=(500, 375), metavar="WxH", help="of each, default: 500x375")
    parser.add_argument("--to", type=at_least(1), default=64, metavar="SIDE", help="default: %(default)s")
    parser.add_argument("--kind", choices=KINDS, default="jpeg", help="default: %(default)s")
    parser.add_argument(
        "--workers", type=at_least(1), default=available_cores(), metavar="N", help="default: one a core"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(argv)
    folder = Path(tempfile.mkdtemp(prefix="photographs-"))
    try:
        contents = draw(args.size, args.kind)
        write(folder, contents, args.photos, args.kind)
        began = time.perf_counter()
        dataset = load(folder, workers=args.workers, quiet=True, form=Form((args.to, args.to)))
        seconds = time.perf_counter() - began
        assert len(dataset.train.labels) == args.photos
        began = time.perf_counter()
        load(folder, workers=args.workers, quiet=True, form=Form((args.to, args.to)))
        again = time.perf_counter() - began
    finally:
        shutil.rmtree(folder)
    width, height = args.size
    mean = sum(map(len, contents)) / len(contents) / 1e3
    print(f"{counted(args.photos, 'photograph')} of {width}x{height} pixels ({args.kind}, {mean:.0f} kB each)")
    print(f"to {args.to}x{args.to}, in {counted(args.workers, 'process', 'processes')}")
    print(f"first start    {seconds:8.2f} s   {args.photos / seconds:8,.0f} photographs/s")
    print(f"later starts   {again:8.2f} s")
    print("of one photograph, in one process")
    target = Target((args.to, args.to))
    print(f"all of it      {_milliseconds(lambda content: decode(content, folder, target), contents):8.2f} ms")
    if KINDS[args.kind][0] == "JPEG":
        print(f"damage looked for {_milliseconds(damage, contents):5.2f} ms of these")
    return 0


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text}: expected WIDTHxHEIGHT, such as 500x375")
    return int(found[1]), int(found[2])


def draw(size: tuple[int, int], kind: str) -> list[bytes]:
    """The contents of DIFFERENT files, of (width, height) pixels."""
    width, height = size
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    format_, options = KINDS[kind]
    contents = []
    for _ in range(DIFFERENT):
        shape = (3, *frequency.shape)
        spectrum = (rng.normal(size=shape) + 1j * rng.normal(size=shape)) / frequency
        spectrum[1:] *= 0.3  # channels of natural images differ little
        light, *colours = np.fft.irfft2(spectrum, (height, width))
        planes = np.stack([light, light + colours[0], light + colours[1]], axis=-1)
        pixels = 128 + 50 * planes / planes.std()
        file = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, format_, **options)
        contents.append(file.getvalue())
    return contents


def write(folder: Path, contents: list[bytes], photos: int, kind: str) -> None:
    """So many files in class folders. A few bytes at the end, which decoders skip, make each another one."""
    for label in range(CLASSES):
        (folder / f"class {label}").mkdir()
    suffix = "jpg" if KINDS[kind][0] == "JPEG" else kind
    for number in range(photos):
        path = folder / f"class {number % CLASSES}" / f"{number}.{suffix}"
        path.write_bytes(contents[number % len(contents)] + number.to_bytes(8, "little"))


def _milliseconds(function: Callable[[bytes], object], contents: list[bytes]) -> float:
    began = time.process_time()
    for content in contents:
        function(content)
    return 1e3 * (time.process_time() - began) / len(contents)


if __name__ == "__main__":
    sys.exit(run_command(main))
