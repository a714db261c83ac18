"""Vectors in memory as an index reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class ArrayRows:
    """Vectors (n, d) whose row number is the image id; see `Rows`."""

    def __init__(self, vectors: NDArray[Any]) -> None:
        self.vectors = vectors

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self.vectors.shape[1])

    def take(self, ids: NDArray[np.int64]) -> NDArray[Any]:
        """Vectors (m, d) of image ids (m,)."""
        taken: NDArray[Any] = self.vectors[ids]
        return taken

    def mapped(self, ids: NDArray[np.int64]) -> NDArray[Any] | None:
        """The vectors, where they lie in one piece."""
        return self.vectors if self.vectors.flags.c_contiguous else None
