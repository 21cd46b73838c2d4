"""The data sets that `data.name` can select. To add one, write a file and add a line to SOURCES.

The file defines a `SOURCE` (see data/source.py): the default folder and a function `load`. A data set of image files
needs no decoding of its own. `load` lists the files and passes the list to the cache, which decodes them, brings them
to the size of the model, and computes the statistics and the fingerprint:

    def load(root, cache=None, workers=None, quiet=False, form=Form()):
        def list_files() -> Listing:
            return Listing(class_ids, class_names, train, train_labels, val, val_labels)
        return cached_dataset(root, cache, stamp, list_files, workers, quiet, form)  # of data/cache.py

    SOURCE = Source(folder="datasets/flowers", load=load)

`stamp` is a string that changes whenever a file of the data set does: `stamp` of data/scan.py hashes the names, sizes
and times of all files. With the same stamp the cache is used as it is.
Everything after loading (class selection, holdout, loader, augmentation) works on any `Dataset`. The configuration and
`python -m data.download` take their names from the registry. Only the comment of `data.name` in configs.yml, which
`train.py --help` shows, repeats them; a test compares the two.
"""

from __future__ import annotations

from data import cifar10, cifar100, fashion_mnist, image_folder, imagenette, mnist, shapes, tiny_imagenet
from data.source import Archive, Source

SOURCES: dict[str, Source] = {
    "tiny_imagenet": tiny_imagenet.SOURCE,
    "image_folder": image_folder.SOURCE,
    "cifar10": cifar10.SOURCE,
    "cifar100": cifar100.SOURCE,
    "mnist": mnist.SOURCE,
    "fashion_mnist": fashion_mnist.SOURCE,
    "shapes": shapes.SOURCE,
}

# Image folders to download. They are no names for `data.name`: image_folder reads them.
FOLDERS: dict[str, Archive] = {
    "imagenette": imagenette.ARCHIVE,
}
