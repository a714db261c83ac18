"""Vectors of one space on disk: a plain array whose row number is the image id.

Rows are only ever written before the catalog says that they exist, so a row that a reader knows of never changes, but
for a damaged one that is mended, and whatever a stop left half written is never looked at or known as damaged.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.collection.manifest import FormatError, SpaceDefinition


def vectors_path(collection: Path, space: SpaceDefinition) -> Path:
    """The file that holds a space's vectors."""
    return collection / "vectors" / f"{space.name}.{space.dtype}"


def map_vectors(collection: Path, space: SpaceDefinition, rows: int) -> NDArray[np.generic]:
    """The first rows of a space, (rows, d), memory-mapped and read-only.

    Where the file is shorter than the catalog says, ValueError; an empty array needs no file.
    """
    if rows == 0:
        return np.empty((0, space.dimension), space.dtype)
    path = vectors_path(collection, space)
    return np.memmap(path, np.dtype(space.dtype), "r", shape=(rows, space.dimension))


class StoredRows:
    """A space's vectors by image id, memory-mapped; sees rows that are appended later.

    `take` raises FormatError where the file is shorter than it must be to have the row of an id.
    """

    def __init__(self, collection: Path, space: SpaceDefinition) -> None:
        self._collection = collection
        self._space = space
        self._map: NDArray[Any] = np.empty((0, space.dimension), space.dtype)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._space.dimension

    def take(self, ids: NDArray[np.int64]) -> NDArray[Any]:
        """Vectors (m, d) of image ids (m,); a view, not a copy, where the ids are consecutive and ascending."""
        if not len(ids):
            return self._map[:0]
        first, last = int(ids[0]), int(ids[-1])
        if last - first == len(ids) - 1 and bool((ids[1:] > ids[:-1]).all()):
            return self._first(last + 1)[first : last + 1]
        return self._first(int(ids.max()) + 1)[ids]

    def one(self, image_id: int) -> NDArray[Any]:
        """A copy of one vector, (d,)."""
        return np.array(self._first(image_id + 1)[image_id])

    def _first(self, rows: int) -> NDArray[Any]:
        """The first rows of the file, at least so many; mapped again only where more are needed than before."""
        mapped = self._map
        if len(mapped) < rows:
            path = vectors_path(self._collection, self._space)
            try:
                stride = self._space.dimension * np.dtype(self._space.dtype).itemsize
                existing = path.stat().st_size // stride
                # As a plain array: indexing numpy's own class for maps takes ten times as long.
                mapped = map_vectors(self._collection, self._space, max(rows, existing)).view(np.ndarray)
            except (OSError, ValueError) as error:
                raise FormatError(
                    f"{path} does not hold the vectors that the catalog lists ({error}); "
                    f"`kvasir verify --repair {self._collection}` makes them anew"
                ) from error
            self._map = mapped
        return mapped


class RowFile:
    """A file of rows of one length, open to write and to read them in any order, from any thread."""

    def __init__(self, path: Path, stride: int) -> None:
        self._path = path
        self._stride = stride
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)

    def write(self, row: int, data: bytes) -> None:
        """Write one row."""
        assert len(data) == self._stride
        try:
            written = os.pwrite(self._descriptor, data, row * self._stride)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error
        if written != self._stride:  # a full disk takes a part without complaint
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))

    def read(self, row: int) -> bytes:
        """The bytes of one row; fewer where the file ends before."""
        return os.pread(self._descriptor, self._stride, row * self._stride)

    def sync(self) -> None:
        """Force what was written to disk."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


class VectorFile(RowFile):
    """A space's file, open for writing rows."""

    def __init__(self, collection: Path, space: SpaceDefinition) -> None:
        path = vectors_path(collection, space)
        path.parent.mkdir(exist_ok=True)
        self._dtype = space.dtype
        super().__init__(path, space.dimension * np.dtype(space.dtype).itemsize)

    def put(self, row: int, vector: NDArray[np.generic]) -> bytes:
        """Write one vector; returns its bytes."""
        data = np.ascontiguousarray(vector, self._dtype).tobytes()
        self.write(row, data)
        return data
