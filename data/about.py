"""What a build of the cache says of itself, in its file about.json."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

SPLITS = ("train", "val")
UNSEALED = "none"
ADDED = ("skipped", "notes")  # fields that came after the first seals, which know nothing of them


@dataclass(frozen=True)
class About:
    stamp: str
    source: str  # the folder of the data set, and behind it the form of the images unless it is their own
    fingerprint: str
    wnids: tuple[str, ...]
    names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    seal: str = UNSEALED  # of the fields above and of the labels; builds of earlier versions have none
    skipped: tuple[str, ...] = ()  # the broken images that were left out, each with the reason
    notes: tuple[str, ...] = ()  # what a user should know of the images, in lines

    def __post_init__(self) -> None:
        """Raises ValueError for what no data set can have."""
        if not 0 < len(set(self.wnids)) == len(self.wnids) == len(self.names):
            raise ValueError("its classes have no names, or the same identifiers")
        if len(self.mean) != len(self.std) or not self.mean:
            raise ValueError("its mean and standard deviation are not those of the channels")
        if not all(0 <= mean <= 1 for mean in self.mean) or not all(0 < std <= 1 for std in self.std):
            raise ValueError("its mean or standard deviation is not that of pixels from 0 to 1")

    def sealed(self, labels: Mapping[str, np.ndarray], hashes: Mapping[str, np.ndarray]) -> About:
        """The same with a seal: a hash of everything but the pixels, which are too many to be read at each start."""
        fields = dataclasses.asdict(dataclasses.replace(self, seal=""))
        fields = {name: value for name, value in fields.items() if value or name not in ADDED}
        content = [fields, *(labels[s].tolist() for s in SPLITS)]
        content += [hashlib.sha256(hashes[s].tobytes()).hexdigest() for s in SPLITS if s in hashes]
        return dataclasses.replace(self, seal=hashlib.sha256(json.dumps(content).encode()).hexdigest())
