"""Some rows of an array on the disk, as if they were an array: only those that are asked for are read."""

from __future__ import annotations

from typing import Any

import numpy as np


class Rows:
    """`base[rows]`, without a copy of it in memory. Indexing it gives arrays.

    base: an array or a memory map (n, ...), or other Rows.  rows: positions in it, int (m,).
    """

    def __init__(self, base: np.ndarray | Rows, rows: np.ndarray) -> None:
        self.base: np.ndarray = base.base if isinstance(base, Rows) else base
        self.rows: np.ndarray = base.rows[rows] if isinstance(base, Rows) else rows

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.rows), *self.base.shape[1:])

    @property
    def ndim(self) -> int:
        return self.base.ndim

    @property
    def dtype(self) -> np.dtype:
        return self.base.dtype

    @property
    def nbytes(self) -> int:
        """What the array would take in memory."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> np.ndarray:
        """`index` is that of the first axis: a number, a slice or an array."""
        return np.asarray(self.base[self.rows[index]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.base[self.rows], dtype)
