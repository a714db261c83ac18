"""The change log of the catalog: which images changed since a reader last looked.

SQLite triggers fill it, so that no writer can forget to, an older version of this program included. Only the last
LENGTH entries are stored; a reader that is further behind reads the whole catalog.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.collection.images import Images, Row, read_rows

LENGTH = 50_000
"""Entries that the log keeps, some 10 bytes each."""

FEW = 1_000
"""Entries that are read in a few milliseconds."""

_COUNTER = "change log"
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS changes (sequence INTEGER PRIMARY KEY AUTOINCREMENT, image INTEGER NOT NULL)",
    "CREATE TRIGGER IF NOT EXISTS log_added AFTER INSERT ON images "
    "BEGIN INSERT INTO changes (image) VALUES (NEW.id); END",
    "CREATE TRIGGER IF NOT EXISTS log_removed AFTER DELETE ON images "
    "BEGIN INSERT INTO changes (image) VALUES (OLD.id); END",
    "CREATE TRIGGER IF NOT EXISTS log_changed "
    "AFTER UPDATE OF source, file, class, width, height, cluster, checksums ON images "
    "BEGIN INSERT INTO changes (image) VALUES (NEW.id); END",
    "CREATE INDEX IF NOT EXISTS images_by_cluster ON images (cluster)",
)


@dataclass(frozen=True)
class LogPosition:
    """Position of a reader in the log: the log's own random number, the catalog's inode, and the last entry's sequence.

    The first two differ where the catalog was replaced by another, whose entries mean nothing to this reader.
    """

    log: int
    inode: int
    sequence: int

    def is_near(self, later: LogPosition) -> bool:
        """Whether a reader is brought from here to a later position by few rows."""
        same = (self.log, self.inode) == (later.log, later.inode)
        return same and 0 <= later.sequence - self.sequence <= FEW


@dataclass(frozen=True, eq=False)
class Difference:
    """What changed between two states of a collection; arrays of ids are ascending int64.

    added, removed: ids that are only in the later or the earlier state. changed: ids in both whose class, cluster, file
    or vectors may differ. gained, lost: by space, ids that have a new vector in it, or whose earlier vector is no
    longer valid; a replaced vector is in both, so that an index removes the lost ones first and then adds the gained.
    """

    added: NDArray[np.int64]
    removed: NDArray[np.int64]
    changed: NDArray[np.int64]
    gained: Mapping[str, NDArray[np.int64]]
    lost: Mapping[str, NDArray[np.int64]]


def has_log(connection: sqlite3.Connection) -> bool:
    """Whether the catalog has a change log; those of older versions have none."""
    return connection.execute("SELECT 1 FROM counters WHERE name = ?", (_COUNTER,)).fetchone() is not None


def create_log(connection: sqlite3.Connection) -> None:
    """Create the change log; to be called within a transaction."""
    for statement in _SCHEMA:
        connection.execute(statement)
    # 63 bits: SQLite's integers are signed.
    connection.execute("INSERT OR IGNORE INTO counters VALUES (?, ?)", (_COUNTER, secrets.randbits(63)))


def renew_log(connection: sqlite3.Connection) -> None:
    """Give the log another number, in a catalog that takes the place of one with the same; within a transaction."""
    connection.execute("UPDATE counters SET value = ? WHERE name = ?", (secrets.randbits(63), _COUNTER))


def trim_log(connection: sqlite3.Connection) -> None:
    """Delete all but the last LENGTH entries; to be called within a transaction."""
    connection.execute("DELETE FROM changes WHERE sequence <= (SELECT MAX(sequence) FROM changes) - ?", (LENGTH,))


def log_position(connection: sqlite3.Connection, catalog: Path) -> LogPosition | None:
    """The end of the log, or None where the catalog has none; to be called within a transaction."""
    row = connection.execute("SELECT value FROM counters WHERE name = ?", (_COUNTER,)).fetchone()
    if row is None:
        return None
    (last,) = connection.execute("SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'changes'").fetchone()
    return LogPosition(int(row[0]), catalog.stat().st_ino, int(last))


def read_changed_rows(connection: sqlite3.Connection, before: LogPosition, now: LogPosition) -> list[Row] | None:
    """The rows that changed between two positions, or None where the log does not tell.

    To be called within the transaction that `now` was read in.
    """
    if (before.log, before.inode) != (now.log, now.inode) or before.sequence > now.sequence:
        return None
    (first,) = connection.execute("SELECT MIN(sequence) FROM changes").fetchone()
    if now.sequence > before.sequence and (first is None or first > before.sequence + 1):
        return None
    return read_rows(connection, "SELECT DISTINCT image AS id FROM changes WHERE sequence > ?", before.sequence)


def read_changed_ids(connection: sqlite3.Connection, before: int, last: int) -> NDArray[np.int64] | None:
    """Ids (m,) ascending of entries after sequence `before` up to `last`; None where the log has lost some of them."""
    (first,) = connection.execute("SELECT MIN(sequence) FROM changes").fetchone()
    if last > before and (first is None or first > before + 1):
        return None
    rows = connection.execute("SELECT DISTINCT image FROM changes WHERE sequence > ? AND sequence <= ?", (before, last))
    return np.unique(np.fromiter((image for (image,) in rows), np.int64))


def difference(before: Images, after: Images, ids: NDArray[np.int64], spaces: Mapping[str, int]) -> Difference:
    """How two states differ in the images of these ids, ascending; spaces: their numbers by name."""
    was, old = _checksums(before, ids)
    now, new = _checksums(after, ids)
    differs = old != new
    return Difference(
        added=ids[now & ~was],
        removed=ids[was & ~now],
        changed=ids[was & now],
        gained={name: ids[differs[:, at] & (new[:, at] != 0)] for name, at in spaces.items()},
        lost={name: ids[differs[:, at] & (old[:, at] != 0)] for name, at in spaces.items()},
    )


def _checksums(images: Images, ids: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.uint32]]:
    """Which ids exist, (m,) bool, and their checksums, (m, columns) uint32, 0 where they do not."""
    places = images.places(ids)
    exists = places < len(images)
    exists[exists] = images.ids[places[exists]] == ids[exists]
    stored = images.taken("checksums", places[exists])
    checksums = np.zeros((len(ids), stored.shape[1]), np.uint32)
    checksums[exists] = stored
    return exists, checksums
