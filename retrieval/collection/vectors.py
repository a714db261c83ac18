"""Vectors of one space on disk: a plain array whose row number is the image id.

Rows are only ever written before the catalog says that they exist, so a row that a reader knows of never changes, but
for a damaged one that is mended, and whatever a stop left half written is never looked at or known as damaged.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.collection.manifest import SpaceDefinition


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
