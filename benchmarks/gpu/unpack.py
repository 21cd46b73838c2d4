"""Tiny ImageNet from a folder that has its archive: unpacked and decoded on all cores, nothing downloaded.

    python -m benchmarks.gpu.unpack --archives DIR --to DIR

DIR holds tiny-imagenet-200.zip, whose checksum is verified, or the folder tiny-imagenet-200. Prints one line of JSON.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence

from common.command import run_command
from common.errors import UserError
from common.paths import named_path
from data.download import download
from data.registry import SOURCES
from data.source import Archive

NAME = "tiny_imagenet"
CACHE = "cache"  # of decoded images, below --to: the archives may lie where nothing can be written


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.unpack", description=__doc__.splitlines()[0])
    parser.add_argument("--archives", metavar="DIR", type=named_path, required=True)
    parser.add_argument("--to", metavar="DIR", type=named_path, required=True)
    parser.add_argument("--debug", action="store_true")
    args = parser.parse_args(argv)
    source = SOURCES[NAME]
    assert isinstance(source.download, Archive)
    folder = args.to / source.download.folder
    args.to.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    if not folder.exists():
        given = args.archives.resolve() / source.download.folder
        archive = given.with_suffix(".zip")
        if given.is_dir():
            folder.symlink_to(given)
        elif archive.is_file():
            link = folder.with_suffix(".zip")
            link.unlink(missing_ok=True)
            link.symlink_to(archive)
            download(source.download, args.to, quiet=True)
        else:
            raise UserError(f"{args.archives}: neither {archive.name} nor a folder {given.name} is in it")
    unpacked = time.perf_counter()
    dataset = source.load(folder, args.to / CACHE, None, True)
    report = {
        "seconds to unpack": unpacked - began,
        "seconds to decode": time.perf_counter() - unpacked,
        "training images": len(dataset.train.labels),
        "validation images": len(dataset.val.labels),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    sys.exit(run_command(main))
