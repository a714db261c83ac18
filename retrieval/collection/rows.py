"""Rows of the catalog as a writer reads and stores them."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection as Group
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.collection.device_marks import store_marks
from retrieval.collection.scene_rows import rename_scene
from retrieval.marks import Marks
from retrieval.names import nfc

_PARAMETERS = 500
"""Parameters of one statement; SQLite takes 999 at least."""


@dataclass(frozen=True, eq=False)
class NewImage:
    """An image to store: where its file is, what it is, its vectors by space, and the marks of the device on it."""

    source: int
    file: str
    class_name: str | None
    width: int
    height: int
    file_size: int
    stamp: int
    sha256: bytes
    vectors: Mapping[str, NDArray[np.generic]]
    marks: Marks | None = None


@dataclass(frozen=True)
class KnownImage:
    """What the catalog knows of a file: enough to tell whether it changed, and which vectors or marks it lacks."""

    id: int
    file_size: int
    stamp: int
    sha256: bytes
    class_name: str | None
    spaces: frozenset[str]
    marked: bool


class Sources:
    """Numbers of folders and zips. A new one gets its row with the first image that is stored from it."""

    def __init__(self, connection: sqlite3.Connection, folder: Path) -> None:
        self._connection = connection
        self._folder = folder.resolve()
        self._new: dict[str, tuple[int, str]] = {}

    def number(self, path: Path, kind: str) -> int:
        """The number of a source; one inside the collection is stored relative to it, so that both move together."""
        inside = path.is_relative_to(self._folder)
        stored = str(path.relative_to(self._folder) if inside else path)
        if stored in self._new:
            return self._new[stored][0]
        row = self._connection.execute("SELECT id FROM sources WHERE path = ?", (stored,)).fetchone()
        if row is not None:
            return int(row[0])
        (last,) = self._connection.execute("SELECT COALESCE(MAX(id), 0) FROM sources").fetchone()
        number = max([int(last), *(number for number, _ in self._new.values())]) + 1
        self._new[stored] = number, kind
        return number

    def store(self, numbers: Group[int]) -> None:
        """Store the new ones among these; to be called within a transaction."""
        rows = [(number, path, kind) for path, (number, kind) in self._new.items() if number in numbers]
        self._connection.executemany("INSERT OR IGNORE INTO sources (id, path, kind) VALUES (?, ?, ?)", rows)


def known_rows(
    connection: sqlite3.Connection, source: int, files: Sequence[str] | None
) -> Iterator[tuple[str, int, int, int, bytes, str | None, bytes, bool]]:
    """(file, id, bytes, stamp, sha256, class, checksums, whether it has marks) of a source's images, all or some."""
    select = (
        "SELECT file, id, bytes, stamp, sha256, class, checksums, image IS NOT NULL "
        "FROM images LEFT JOIN marks ON image = id WHERE source = ?"
    )
    if files is None:
        yield from connection.execute(select, (source,))
        return
    for block in _blocks(files):
        yield from connection.execute(f"{select} AND file IN ({', '.join('?' * len(block))})", (source, *block))


def image_places(connection: sqlite3.Connection, folder: Path, ids: Iterable[int]) -> dict[int, tuple[Path, str]]:
    """The source of each image, and its file there; of those that there are. Sources may lie relative to `folder`."""
    select = "SELECT path, file FROM images JOIN sources ON sources.id = source WHERE images.id = ?"
    rows = {image_id: connection.execute(select, (int(image_id),)).fetchone() for image_id in ids}
    return {image_id: (folder / row[0], row[1]) for image_id, row in rows.items() if row is not None}


def insert_images(
    connection: sqlite3.Connection, ids: Sequence[int], images: Sequence[NewImage], checksums: Iterable[bytes]
) -> None:
    """Store images under ascending ids; to be called within a transaction.

    An image of the same file is replaced, and an exact copy of a stored image joins its cluster.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for image_id, image, packed in zip(ids, images, checksums, strict=True):
        same = "SELECT id FROM images WHERE source = ? AND file = ?"
        replaced = connection.execute(same, (image.source, image.file)).fetchone()
        if replaced is not None:
            delete_image(connection, replaced[0])
        copied = "SELECT cluster FROM images WHERE sha256 = ? ORDER BY id LIMIT 1"
        copy = connection.execute(copied, (image.sha256,)).fetchone()
        connection.execute(
            "INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                image_id,
                image.source,
                image.file,
                image.class_name and nfc(image.class_name),
                image.width,
                image.height,
                image.file_size,
                image.stamp,
                image.sha256,
                copy[0] if copy else image_id,
                now,
                packed,
            ),
        )
    store_marks(connection, {i: one.marks for i, one in zip(ids, images, strict=True) if one.marks is not None})
    connection.execute("UPDATE counters SET value = ? WHERE name = 'next image'", (ids[-1] + 1,))


def delete_image(connection: sqlite3.Connection, image_id: int) -> bool:
    """Delete a row, if there is one; to be called within a transaction.

    A cluster or scene that was named after the image is named after the smallest id that is left in it.
    """
    deleted = connection.execute("DELETE FROM images WHERE id = ?", (image_id,)).rowcount > 0
    (smallest,) = connection.execute("SELECT MIN(id) FROM images WHERE cluster = ?", (image_id,)).fetchone()
    if smallest is not None and deleted:
        connection.execute("UPDATE images SET cluster = ? WHERE cluster = ?", (smallest, image_id))
    if deleted:
        rename_scene(connection, image_id)
    return deleted


def _blocks(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), _PARAMETERS):
        yield values[start : start + _PARAMETERS]
