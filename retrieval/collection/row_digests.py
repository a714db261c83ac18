"""Digests of the catalog's rows, in a table of their own, so that older versions still read and write the catalog.

SQLite has no checksum of its pages: a flipped bit in a class or a cluster is a sound row that says something else. A
row has two CRC-32: `shown` of what every reader reads, which opening a collection compares, and `rest` of the other
columns, which `kvasir verify` compares as well. A row that an older version wrote has none, or a stale one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

SHOWN = "id, class, cluster, width, height, file, source, checksums, sha256"
_REST = "bytes, stamp, added"

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS digests (image INTEGER PRIMARY KEY, shown INTEGER NOT NULL, rest INTEGER NOT NULL, "
    "stale INTEGER NOT NULL DEFAULT 0)",
    "CREATE TRIGGER IF NOT EXISTS digests_removed AFTER DELETE ON images "
    "BEGIN DELETE FROM digests WHERE image = OLD.id; END",
    "CREATE TRIGGER IF NOT EXISTS digests_stale BEFORE UPDATE ON images "
    "BEGIN UPDATE digests SET stale = 1 WHERE image = OLD.id; END",
)


def _of(row: str, columns: str) -> str:
    function = "shown_digest" if columns == SHOWN else "rest_digest"
    return f"{function}({', '.join(f'{row}.{column}' for column in columns.split(', '))})"


# Only where the row was what its digest says does a change give it another: else it stays a row that does not fit.
_TRIGGERS = tuple(
    text.format(
        shown=_of("NEW", SHOWN), rest=_of("NEW", _REST), old_shown=_of("OLD", SHOWN), old_rest=_of("OLD", _REST)
    )
    for text in (
        "CREATE TEMP TRIGGER digests_added AFTER INSERT ON main.images BEGIN "
        "INSERT OR REPLACE INTO digests VALUES (NEW.id, {shown}, {rest}, 0); END",
        "CREATE TEMP TRIGGER digests_changed AFTER UPDATE ON main.images BEGIN "
        "UPDATE digests SET shown = {shown} WHERE image = NEW.id AND shown = {old_shown}; "
        "UPDATE digests SET rest = {rest} WHERE image = NEW.id AND rest = {old_rest}; "
        "UPDATE digests SET stale = 0 WHERE image = NEW.id; END",
    )
)


@dataclass(frozen=True)
class RowFaults:
    """Ids of images whose row is not what was written, and of those whose row has no digest to tell by."""

    damaged: tuple[int, ...] = ()
    unchecked: tuple[int, ...] = ()


def shown_digest(
    image_id: Any,
    name: Any,
    cluster: Any,
    width: Any,
    height: Any,
    file: Any,
    source: Any,
    checksums: Any,
    sha256: Any,
) -> int:
    """CRC-32 of what a reader reads of a row."""
    text = f"{image_id} {cluster} {width} {height} {source} {name}\0{file}"
    return crc32(sha256, crc32(checksums, crc32(text.encode())))


def rest_digest(size: Any, stamp: Any, added: Any) -> int:
    """CRC-32 of the other columns."""
    return crc32(repr((size, stamp, added)).encode())


def has_table(connection: sqlite3.Connection) -> bool:
    """Whether the catalog has digests; those of older versions have none."""
    table = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'digests'"
    return connection.execute(table).fetchone() is not None


def create_table(connection: sqlite3.Connection) -> None:
    """Create the table where there is none, with digests of the rows as they are; to be called within a transaction."""
    if has_table(connection):
        return
    for statement in _SCHEMA:
        connection.execute(statement)
    add_missing(connection)


def add_missing(connection: sqlite3.Connection) -> int:
    """Give rows without a digest the one of what they say now; returns how many. To be called within a transaction."""
    rows = connection.execute(
        f"SELECT {SHOWN}, {_REST} FROM images LEFT JOIN digests ON image = id WHERE image IS NULL OR stale"  # noqa: S608
    ).fetchall()
    connection.executemany(
        "INSERT OR REPLACE INTO digests VALUES (?, ?, ?, 0)",
        [(row[0], shown_digest(*row[:9]), rest_digest(*row[9:])) for row in rows],
    )
    return len(rows)


def follow_changes(connection: sqlite3.Connection) -> None:
    """Let every change that is made by this connection change the digests too."""
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.create_function("shown_digest", 9, shown_digest, deterministic=True)
    connection.create_function("rest_digest", 3, rest_digest, deterministic=True)
    for trigger in _TRIGGERS:
        connection.execute(trigger)


def damaged_rows(
    connection: sqlite3.Connection, rows: Sequence[Sequence[Any]], consecutive: bool = True
) -> tuple[int, ...]:
    """Ids of rows that are not what was written.

    rows: the columns of SHOWN and others, ascending by id. consecutive: no image lies between them.
    """
    if not rows or not has_table(connection):
        return ()
    if consecutive:
        between = "SELECT image, shown FROM digests WHERE image BETWEEN ? AND ? AND NOT stale"
        digests = dict(connection.execute(between, (rows[0][0], rows[-1][0])))
    else:
        one = "SELECT image, shown FROM digests WHERE image = ? AND NOT stale"
        digests = dict(found for row in rows for found in connection.execute(one, (row[0],)))
    # `shown_digest` in place, since opening a collection of 100,000 images takes 0.1 s for this.
    made = {
        number: crc32(
            sha256, crc32(checksums, crc32(f"{number} {cluster} {width} {height} {source} {name}\0{file}".encode()))
        )
        for number, name, cluster, width, height, file, source, checksums, sha256, *_ in rows
    }
    return tuple(number for number, digest in made.items() if digests.get(number, digest) != digest)


def row_faults(connection: sqlite3.Connection) -> RowFaults:
    """All that is wrong with the rows, by both digests; to be called within a transaction."""
    if not has_table(connection):
        return RowFaults(unchecked=tuple(number for (number,) in connection.execute("SELECT id FROM images")))
    damaged, unchecked = [], []
    for *row, shown, rest, stale in connection.execute(
        f"SELECT {SHOWN}, {_REST}, shown, rest, stale FROM images LEFT JOIN digests ON image = id ORDER BY id"  # noqa: S608
    ):
        if shown is None or stale:
            unchecked.append(row[0])
        elif (shown, rest) != (shown_digest(*row[:9]), rest_digest(*row[9:])):
            damaged.append(row[0])
    return RowFaults(tuple(damaged), tuple(unchecked))
