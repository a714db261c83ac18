"""The small grey pictures that duplicates are found by, kept in the collection: row number = image id, 4 KB each.

They are made while a picture is decoded anyway. A row has its own checksum: one that is missing or damaged is never
compared but decoded again when it is needed, so the file may be deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.alignment import SIDE
from retrieval.collection.catalog import checksum

NAME = "greys.rows"
_ROW = np.dtype([("checksum", "<u4"), ("grey", "u1", (SIDE, SIDE))])


class KeptGreys:
    """The first rows of the file, memory-mapped to read and to complete. Only for the one writer of the collection."""

    def __init__(self, collection: Path, rows: int) -> None:
        path = collection / NAME
        path.touch()
        if path.stat().st_size < rows * _ROW.itemsize:
            with path.open("r+b") as file:
                file.truncate(rows * _ROW.itemsize)
        self._rows: NDArray[Any] = np.memmap(path, _ROW, "r+", shape=(rows,))

    def has(self, image_id: int) -> bool:
        """Whether an image's row is there and sound."""
        return _sound(self._rows[image_id])

    def put(self, image_id: int, grey: NDArray[np.uint8]) -> None:
        """Keep an image's small grey, (SIDE, SIDE) uint8."""
        self._rows[image_id] = (checksum(grey.tobytes()), grey)

    def forget(self, image_id: int) -> None:
        """Make an image's row a missing one, which is black and resembles nothing."""
        self._rows[image_id] = np.zeros((), _ROW)

    def stack(self, ids: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Small greys (n, SIDE, SIDE) uint8, as they are."""
        greys: NDArray[np.uint8] = self._rows["grey"][ids]
        return greys


def keep_greys(collection: Path, greys: Mapping[int, NDArray[np.uint8]]) -> None:
    """Store the small greys (SIDE, SIDE) of images by id. Only for the one writer of the collection."""
    path = collection / NAME
    path.touch()
    with path.open("r+b") as file:
        for image_id, grey in greys.items():
            file.seek(image_id * _ROW.itemsize)
            file.write(np.array((checksum(grey.tobytes()), grey), _ROW).tobytes())


def damaged_greys(collection: Path) -> list[int]:
    """The rows that hold something and are not what was written."""
    path = collection / NAME
    if not path.exists() or path.stat().st_size < _ROW.itemsize:
        return []
    rows = np.memmap(path, _ROW, "r", shape=(path.stat().st_size // _ROW.itemsize,))
    return [at for at, row in enumerate(rows) if not _sound(row) and (row["checksum"] or row["grey"].any())]


def _sound(row: Any) -> bool:
    return bool(row["checksum"] == checksum(row["grey"].tobytes()))
