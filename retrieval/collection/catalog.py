"""The catalog: one SQLite row an image.

An image's `checksums` are its vectors' CRC-32, four little-endian bytes a space in the order of the spaces' numbers; 0
means that the image has no vector there. So one column says both what exists and whether it is still intact.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import CollectionError

NAME = "catalog.sqlite"
REMEDY = "restore it from a copy, or index the pictures into a new collection"
"""What helps against a damaged catalog or manifest: they are truths and cannot be made from anything else."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS sources (id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, kind TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS images (
    id INTEGER PRIMARY KEY,
    source INTEGER NOT NULL REFERENCES sources (id),
    file TEXT NOT NULL,
    class TEXT,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    stamp INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    cluster INTEGER NOT NULL,
    added TEXT NOT NULL,
    checksums BLOB NOT NULL,
    UNIQUE (source, file)
);
CREATE INDEX IF NOT EXISTS images_by_content ON images (sha256);
INSERT OR IGNORE INTO counters VALUES ('next image', 0);
"""


class DamagedCatalogError(CollectionError):
    """The catalog cannot be read."""


@dataclass(frozen=True)
class Images:
    """The images of a collection as arrays of one length n, in order of their ids.

    ids (n,) int64; labels (n,) int32, an index into `classes` or -1 where the class is unknown; clusters (n,) int64;
    sizes (n, 2) int32, width and height; checksums (n, spaces) uint32, 0 where the image has no vector in that space;
    files: the path inside its source; sources: an index into `source_paths`.
    """

    classes: tuple[str, ...]
    source_paths: tuple[tuple[Path, str], ...]
    ids: NDArray[np.int64]
    labels: NDArray[np.int32]
    clusters: NDArray[np.int64]
    sizes: NDArray[np.int32]
    checksums: NDArray[np.uint32]
    files: tuple[str, ...]
    sources: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def position(self, image_id: int) -> int | None:
        """Where an id stands in the arrays, or None."""
        at = int(np.searchsorted(self.ids, image_id))
        return at if at < len(self.ids) and self.ids[at] == image_id else None

    def ids_of_label(self, label: int) -> NDArray[np.int64]:
        """The ids of one class's images, ascending int64; -1 is the label of those without a class."""
        order, starts = self._by_label
        return order[starts[label + 1] : starts[label + 2]]

    def ids_of_cluster(self, cluster: int) -> NDArray[np.int64]:
        """The ids of one cluster's images, ascending int64; none where there is no such cluster."""
        order, sorted_clusters = self._by_cluster
        first, last = np.searchsorted(sorted_clusters, [cluster, cluster + 1])
        return order[first:last]

    @cached_property
    def _by_label(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ids ordered by label, then by id, and where each label begins, that of -1 first."""
        order = np.argsort(self.labels, kind="stable")
        starts = np.searchsorted(self.labels[order], np.arange(-1, len(self.classes) + 1))
        return self.ids[order], starts.astype(np.int64)

    @cached_property
    def _by_cluster(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ids ordered by cluster, then by id, and the cluster of each."""
        order = np.argsort(self.clusters, kind="stable")
        return self.ids[order], self.clusters[order]


def connect(collection: Path, *, create: bool = False) -> sqlite3.Connection:
    """Open the catalog, or begin an empty one with `create`.

    A reader needs write access only after a stop in the middle of a commit. Raises DamagedCatalogError.
    """
    path = (collection / NAME).absolute()
    with damage_told(collection):
        if create:
            return _open(path, "rwc", _SCHEMA)
        try:
            return _open(path, "rw")
        except sqlite3.OperationalError:
            return _open(path, "ro")


@contextmanager
def damage_told(collection: Path) -> Iterator[None]:
    """Raise DamagedCatalogError, with the path and what helps, where the catalog cannot be read within."""
    try:
        yield
    # A damaged value may have another type, and sqlite3 may fail to decode its own message.
    except (sqlite3.DatabaseError, LookupError, TypeError, ValueError, OverflowError) as error:
        path = (collection / NAME).absolute()
        raise DamagedCatalogError(f"{path} is damaged or cannot be opened ({error}); {REMEDY}") from error


def _open(path: Path, mode: str, schema: str = "") -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, timeout=30, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(schema)
        # An emptied file is a sound database too, but one that would give ids out again.
        if connection.execute("SELECT value FROM counters WHERE name = 'next image'").fetchone() is None:
            raise sqlite3.DatabaseError("it does not say which id comes next")
    except BaseException:
        connection.close()
        raise
    return connection


def load_images(connection: sqlite3.Connection, spaces: int, folder: Path) -> Images:
    """Every image, in one consistent read; sources inside the collection's own folder move with it."""
    connection.execute("BEGIN")
    rows = connection.execute(
        "SELECT id, class, cluster, width, height, file, source, checksums FROM images ORDER BY id"
    ).fetchall()
    sources = connection.execute("SELECT id, path, kind FROM sources ORDER BY id").fetchall()
    connection.execute("COMMIT")
    ids, names, clusters, widths, heights, files, source_ids, checksums = zip(*rows, strict=True) if rows else ((),) * 8
    classes = tuple(sorted({name for name in names if name is not None}))
    label = {name: number for number, name in enumerate(classes)} | {None: -1}
    place = {source: at for at, (source, _, _) in enumerate(sources)}
    packed = b"".join(blob[: 4 * spaces].ljust(4 * spaces, b"\0") for blob in checksums)
    return Images(
        classes=classes,
        source_paths=tuple((folder / path, kind) for _, path, kind in sources),
        ids=np.array(ids, np.int64),
        labels=np.array([label[name] for name in names], np.int32),
        clusters=np.array(clusters, np.int64),
        sizes=np.array([widths, heights], np.int32).T.reshape(-1, 2),
        checksums=np.frombuffer(packed, "<u4").reshape(len(ids), spaces),
        files=tuple(files),
        sources=tuple(place[source] for source in source_ids),
    )


def checksum(vector: bytes) -> int:
    """CRC-32 of a vector's bytes, never 0."""
    return zlib.crc32(vector) or 1
