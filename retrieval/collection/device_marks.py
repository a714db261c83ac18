"""Marks of the device in the catalog, in a table of their own, so that older versions still read and write it.

An image has no row where an older version stored it, or where it has no picture.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence

from retrieval.marks import Marks

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS marks (image INTEGER PRIMARY KEY, bits INTEGER NOT NULL, regions TEXT NOT NULL)",
    "CREATE TRIGGER IF NOT EXISTS marks_removed AFTER DELETE ON images "
    "BEGIN DELETE FROM marks WHERE image = OLD.id; END",
    "CREATE TRIGGER IF NOT EXISTS log_marked AFTER INSERT ON marks "
    "BEGIN INSERT INTO changes (image) VALUES (NEW.image); END",
)


def create_table(connection: sqlite3.Connection) -> None:
    """Create the table where there is none; to be called within a transaction, after `create_log`."""
    for statement in _SCHEMA:
        connection.execute(statement)


def has_table(connection: sqlite3.Connection) -> bool:
    """Whether the catalog has the table; those of older versions have none."""
    table = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'marks'"
    return connection.execute(table).fetchone() is not None


def store_marks(connection: sqlite3.Connection, marks: Mapping[int, Marks]) -> None:
    """Store the marks of images by id; to be called within a transaction."""
    connection.executemany(
        "INSERT OR REPLACE INTO marks VALUES (?, ?, ?)",
        [(image_id, of.bits, json.dumps(_rounded(of))) for image_id, of in marks.items()],
    )


def _rounded(marks: Marks) -> dict[str, list[float]]:
    return {name: [round(value, 4) for value in region] for name, region in marks.regions.items()}


def read_marks(connection: sqlite3.Connection, ids: Sequence[int]) -> dict[int, Marks]:
    """The marks of those images that have a row."""
    if not has_table(connection):
        return {}
    rows = (
        connection.execute("SELECT image, regions FROM marks WHERE image = ?", (image_id,)).fetchone()
        for image_id in ids
    )
    return {
        image_id: Marks({name: tuple(region) for name, region in json.loads(regions).items()})
        for image_id, regions in filter(None, rows)
    }
