"""The catalog: one SQLite row an image.

An image's `checksums` are its vectors' CRC-32, four little-endian bytes a space in the order of the spaces' numbers; 0
means that the image has no vector there. So one column says both what exists and whether it is still intact. A number
that the manifest gives to no space is of vectors that were replaced, or that a stop left; readers skip it.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def connect(collection: Path, *, create: bool = False) -> sqlite3.Connection:
    """Open the catalog, or begin an empty one with `create`.

    A reader needs write access only after a stop in the middle of a commit. Raises DamagedCatalogError.
    """
    path = (collection / NAME).absolute()
    with raising_damage(collection):
        if create:
            return _open(path, "rwc", _SCHEMA)
        try:
            return _open(path, "rw")
        except sqlite3.OperationalError:
            return _open(path, "ro")


@contextmanager
def reading(connection: sqlite3.Connection) -> Iterator[None]:
    """One consistent state of the catalog for all that is read within."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is written within, or nothing; the lock is taken at once, so that a busy catalog is noticed first."""
    _begin(connection)
    try:
        yield
        _commit(connection)
    finally:
        if connection.in_transaction:  # SQLite has rolled back already where the disk is full
            connection.execute("ROLLBACK")


def _begin(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")


def _commit(connection: sqlite3.Connection) -> None:
    connection.execute("COMMIT")


@contextmanager
def raising_damage(collection: Path) -> Iterator[None]:
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


def checksum(vector: bytes | memoryview) -> int:
    """CRC-32 of a vector's bytes, never 0."""
    return zlib.crc32(vector) or 1
