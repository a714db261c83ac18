"""The small grey pictures that duplicates are found by, kept in the collection: row number = image id, 4 KB each.

They are made while a picture is decoded anyway. The file may be deleted: what it lacks is decoded again when needed.
A row of nothing but black counts as missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexer.alignment import SIDE


def keep_greys(collection: Path, greys: Mapping[int, NDArray[np.uint8]]) -> None:
    """Store the small greys (SIDE, SIDE) of images by id. Only for the one writer of the collection."""
    with _file(collection).open("r+b") as file:
        for image_id, grey in greys.items():
            file.seek(image_id * SIDE * SIDE)
            file.write(grey.tobytes())


def kept_greys(collection: Path, rows: int) -> NDArray[np.uint8]:
    """The first rows, (rows, SIDE, SIDE) uint8, to read and to complete. Only for the one writer of the collection."""
    path = _file(collection)
    if path.stat().st_size < rows * SIDE * SIDE:
        with path.open("r+b") as file:
            file.truncate(rows * SIDE * SIDE)
    return np.memmap(path, np.uint8, "r+", shape=(rows, SIDE, SIDE))


def _file(collection: Path) -> Path:
    path = collection / "greys.uint8"
    path.touch()
    return path
