"""Rows of the catalog as a writer reads and stores them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Collection as Group
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.collection.device_marks import store_marks
from retrieval.collection.manifest import SpaceDefinition
from retrieval.collection.scene_rows import rename_scene
from retrieval.marks import Marks
from retrieval.names import nfc
from retrieval.sources import has_pictures
from retrieval.sources.address import stored_place


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


@dataclass(frozen=True)
class ImportedImage:
    """What the catalog knows of an image that was stored as vectors alone."""

    id: int
    class_name: str | None
    checksums: bytes

    def checksum(self, space: SpaceDefinition) -> int:
        """CRC-32 of its vector in a space, 0 where it has none."""
        return int.from_bytes(self.checksums[4 * space.number : 4 * space.number + 4], "little")


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


class KnownImages(Mapping[str, KnownImage]):
    """What is stored from one source, by file: all files, or only some. Read row by row as they are looked up.

    connection: the writer's, whose changes show at once. spaces_in: checksums -> the names of the spaces that they are
    of.
    """

    _SELECT = (
        "SELECT id, bytes, stamp, sha256, class, checksums, image IS NOT NULL "
        "FROM images LEFT JOIN marks ON image = id WHERE source = ? AND file = ?"
    )

    def __init__(
        self,
        connection: sqlite3.Connection,
        source: int,
        files: Sequence[str] | None,
        spaces_in: Callable[[bytes], frozenset[str]],
    ) -> None:
        self._connection = connection
        self._source = source
        self._files = None if files is None else frozenset(files)
        self._spaces_in = spaces_in

    def __getitem__(self, file: str) -> KnownImage:
        row = None
        if self._files is None or file in self._files:
            row = self._connection.execute(self._SELECT, (self._source, file)).fetchone()
        if row is None:
            raise KeyError(file)
        i, size, stamp, sha256, name, checksums, marked = row
        return KnownImage(i, size, stamp, sha256, name and nfc(name), self._spaces_in(checksums), bool(marked))

    def __contains__(self, file: object) -> bool:
        if self._files is not None and file not in self._files:
            return False
        one = "SELECT 1 FROM images WHERE source = ? AND file = ?"
        return self._connection.execute(one, (self._source, file)).fetchone() is not None

    def __iter__(self) -> Iterator[str]:
        if self._files is not None:
            return (file for file in self._files if file in self)
        rows = self._connection.execute("SELECT file FROM images WHERE source = ?", (self._source,))
        return (file for (file,) in rows)

    def __len__(self) -> int:
        if self._files is not None:
            return sum(file in self for file in self._files)
        (count,) = self._connection.execute("SELECT COUNT(*) FROM images WHERE source = ?", (self._source,)).fetchone()
        return int(count)


def imported_images(connection: sqlite3.Connection, files: Iterable[str]) -> Iterator[ImportedImage | None]:
    """What is stored as vectors alone under each of these files, None where nothing is."""
    rows = connection.execute("SELECT id, kind FROM sources").fetchall()
    numbers = [number for number, kind in rows if not has_pictures(kind)]
    select = "SELECT id, class, checksums FROM images WHERE source = ? AND file = ?"
    for file in files:
        found = (connection.execute(select, (number, file)).fetchone() for number in numbers)
        row = next((row for row in found if row is not None), None)
        yield None if row is None else ImportedImage(row[0], row[1] and nfc(row[1]), row[2])


def image_places(connection: sqlite3.Connection, folder: Path, ids: Iterable[int]) -> dict[int, tuple[Path, str]]:
    """The source of each image, and its file there; of those that there are. Sources may lie relative to `folder`."""
    select = "SELECT path, file FROM images JOIN sources ON sources.id = source WHERE images.id = ?"
    rows = {image_id: connection.execute(select, (int(image_id),)).fetchone() for image_id in ids}
    return {image_id: (stored_place(folder, row[0]), row[1]) for image_id, row in rows.items() if row is not None}


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
    store_marks(connection, {i: image.marks for i, image in zip(ids, images, strict=True) if image.marks is not None})
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
