"""LIRE's distances as metrics: what the six descriptors share.

Each descriptor's file ends with its own kernel. A kernel transposes a block of gallery vectors, so that one
coordinate of many vectors is processed at once; each pair's terms are still summed in LIRE's order, so that
the result rounds as LIRE's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import CollectionError

BLOCK = 128
"""Gallery vectors per block of a kernel; a block of any descriptor fits the second-level cache."""


class ForeignVectorError(CollectionError):
    """A vector has values that its descriptor cannot have."""


@dataclass(frozen=True)
class NativeDistance:
    """One descriptor's distance; satisfies `retrieval.index.protocol.Metric`.

    name: such as `lire-phog`
    length: of a stored vector
    levels: vectors hold whole numbers below this, which kernels read as bytes; None: any finite values
        that are not negative, which kernels read as float64
    typical: distance of two endoscopy images, the median over the 426,000 pairs of 924 images
    kernel: (queries (q, c), gallery (n, c), *tables, out (q, n) float64) -> None, of compact vectors
    coordinates: (n, d) stored -> (n, d') whose neighbours by L1 or L2 are good candidates
    proposes_by: that distance
    arrange: (n, d) bytes or float64 -> (n, c) compact, where the kernel wants other than the values
    tables: what else the kernel reads, since a compiled function must not see it as a global
    """

    name: str
    length: int
    levels: int | None
    typical: float
    kernel: Callable[..., None]
    coordinates: Callable[[NDArray[Any]], NDArray[Any]]
    proposes_by: Literal["L1", "L2"]
    arrange: Callable[[NDArray[Any]], NDArray[Any]] = np.ascontiguousarray
    tables: tuple[NDArray[Any], ...] = ()

    def compact(self, vectors: NDArray[Any]) -> NDArray[Any]:
        """Vectors as the kernel reads them: (n, d) stored -> (n, c), C-contiguous. Raises ForeignVectorError."""
        if vectors.ndim != 2 or vectors.shape[1] != self.length:
            raise ForeignVectorError(f"{self.name} compares rows of {self.length}, not {vectors.shape}.")
        valid = self.valid_values(vectors)
        if not valid.all():
            row, column = np.argwhere(~valid)[0]
            value = vectors[row, column]
            raise ForeignVectorError(f"{self.name} has {self.expected}; value {column} of row {row} is {value}.")
        return self.arrange(vectors.astype(np.float64 if self.levels is None else np.uint8))

    @property
    def expected(self) -> str:
        """The valid values, in words."""
        return "finite values of 0 or more" if self.levels is None else f"whole numbers of 0 to {self.levels - 1}"

    def valid_values(self, vectors: NDArray[Any]) -> NDArray[np.bool_]:
        """Boolean mask (…, d) of the values that the descriptor can have; a vector with others cannot be compared."""
        valid: NDArray[np.bool_] = (vectors >= 0) & (vectors < (np.inf if self.levels is None else self.levels))
        return valid if self.levels is None else valid & (vectors == np.floor(vectors))

    def candidate_coordinates(self, vectors: NDArray[np.generic]) -> NDArray[np.float32]:
        """The coordinates as FAISS takes them: (n, d) stored -> (n, d') float32, C-contiguous."""
        return np.ascontiguousarray(self.coordinates(vectors), dtype=np.float32)

    def distances(self, queries: NDArray[np.generic], gallery: NDArray[np.generic]) -> NDArray[np.float64]:
        """LIRE's distance of every query to every gallery vector: (q, d), (n, d) stored -> (q, n) float64.

        Runs on one core without the GIL: threads over blocks of queries scale.
        """
        return self.compact_distances(self.compact(queries), self.compact(gallery))

    def compact_distances(self, queries: NDArray[Any], gallery: NDArray[Any]) -> NDArray[np.float64]:
        """`distances` of vectors that are compact already."""
        out = np.empty((len(queries), len(gallery)))
        self.kernel(queries, gallery, *self.tables, out)
        return out

    def scores(self, distances: NDArray[np.floating]) -> NDArray[np.float64]:
        """1 / (1 + distance / typical): 1 for equal vectors, 0.5 for two endoscopy images taken at random."""
        return 1.0 / (1.0 + np.asarray(distances, dtype=np.float64) / self.typical)
