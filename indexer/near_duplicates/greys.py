"""Small grey pictures that near duplicates are detected by, stored in the collection: row number = image id, 4 KB each.

They are made when a picture is decoded for indexing. A row has its own checksum: one that is missing or damaged is
never compared but made again from its picture when it is needed, so the file may be deleted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from indexer.near_duplicates.alignment import SIDE
from retrieval.collection.catalog import checksum
from retrieval.collection.vectors import RowFile

NAME = "greys.rows"
_ROW = np.dtype([("checksum", "<u4"), ("grey", "u1", (SIDE, SIDE))])


class GreyFile:
    """The file, to read and to complete, from any thread. Only for the one writer of the collection.

    It is not memory-mapped: a full disk would end the process, where a row cannot be written.
    """

    def __init__(self, collection: Path) -> None:
        self._file = RowFile(collection / NAME, _ROW.itemsize)

    def has(self, image_id: int) -> bool:
        """Whether an image's row is there and sound."""
        return _sound(self._row(image_id))

    def put(self, image_id: int, grey: NDArray[np.uint8]) -> None:
        """Keep an image's small grey, (SIDE, SIDE) uint8."""
        self._file.write(image_id, np.array((checksum(grey.tobytes()), grey), _ROW).tobytes())

    def forget(self, image_id: int) -> None:
        """Make an image's row a missing one, which is black and resembles nothing."""
        self._file.write(image_id, bytes(_ROW.itemsize))

    def stack(self, ids: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Small greys (n, SIDE, SIDE) uint8, as they are."""
        return np.stack([self._row(image_id)["grey"] for image_id in ids.tolist()])

    def _row(self, image_id: int) -> Any:
        """One row; a black one where the file ends before."""
        return np.frombuffer(self._file.read(image_id).ljust(_ROW.itemsize, b"\0"), _ROW)[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def store_greys(collection: Path, greys: Mapping[int, NDArray[np.uint8]]) -> None:
    """Store the small greys (SIDE, SIDE) of images by id. Only for the one writer of the collection."""
    if not greys:
        return
    with GreyFile(collection) as file:
        for image_id, grey in greys.items():
            file.put(image_id, grey)


def stored_greys(collection: Path, ids: Sequence[int]) -> dict[int, NDArray[np.uint8]]:
    """The small greys (SIDE, SIDE) of images by id, without those that are missing or damaged; for any reader."""
    path = collection / NAME
    greys: dict[int, NDArray[np.uint8]] = {}
    if not path.exists():
        return greys
    with path.open("rb") as file:
        for image_id in ids:
            file.seek(image_id * _ROW.itemsize)
            row = np.frombuffer(file.read(_ROW.itemsize).ljust(_ROW.itemsize, b"\0"), _ROW)[0]
            if row["checksum"] and _sound(row):
                greys[image_id] = row["grey"]
    return greys


def damaged_greys(collection: Path) -> list[int]:
    """The rows that hold something and are not what was written."""
    path = collection / NAME
    if not path.exists():
        return []
    damaged = []
    with path.open("rb") as file:
        for at in range(path.stat().st_size // _ROW.itemsize):
            row = np.frombuffer(file.read(_ROW.itemsize), _ROW)[0]
            if not _sound(row) and (row["checksum"] or row["grey"].any()):
                damaged.append(at)
    return damaged


def _sound(row: Any) -> bool:
    return bool(row["checksum"] == checksum(row["grey"].tobytes()))
