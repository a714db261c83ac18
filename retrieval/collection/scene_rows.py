"""Scenes in the catalog, in a table of their own, so that older versions still read and write it.

An image has a row where its scene has images of several clusters of near duplicates; every other scene is a cluster. A
row's digest is the CRC-32 of what it says, as a flipped bit would make it say something else.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any
from zlib import crc32

COUNTER = "scenes looked for"
"""Counter of the catalog: images of lower ids have been compared with all others; 0 where scenes never were."""

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS scenes (image INTEGER PRIMARY KEY, scene INTEGER NOT NULL, digest INTEGER NOT NULL)",
    "CREATE INDEX IF NOT EXISTS images_by_scene ON scenes (scene)",
    "CREATE TRIGGER IF NOT EXISTS scenes_removed AFTER DELETE ON images "
    "BEGIN DELETE FROM scenes WHERE image = OLD.id; END",
    "CREATE TRIGGER IF NOT EXISTS log_scene AFTER INSERT ON scenes "
    "BEGIN INSERT INTO changes (image) VALUES (NEW.image); END",
    "CREATE TRIGGER IF NOT EXISTS log_without_scene AFTER DELETE ON scenes "
    "BEGIN INSERT INTO changes (image) VALUES (OLD.image); END",
)


def create_table(connection: sqlite3.Connection) -> None:
    """Create the table where there is none; to be called within a transaction, after `create_log`."""
    for statement in _SCHEMA:
        connection.execute(statement)


def has_table(connection: sqlite3.Connection) -> bool:
    """Whether the catalog has the table; those of older versions have none."""
    table = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'scenes'"
    return connection.execute(table).fetchone() is not None


def store_scenes(connection: sqlite3.Connection, scenes: Mapping[int, int]) -> None:
    """Store the scenes of images by id; to be called within a transaction."""
    rows = [(image_id, scene, _digest(image_id, scene)) for image_id, scene in scenes.items()]
    connection.executemany("INSERT OR REPLACE INTO scenes VALUES (?, ?, ?)", rows)


def rename_scene(connection: sqlite3.Connection, removed: int) -> None:
    """Name the scene that was named after a removed image after the smallest id that is left in it."""
    members = [row[0] for row in connection.execute("SELECT image FROM scenes WHERE scene = ?", (removed,))]
    if members:
        store_scenes(connection, dict.fromkeys(members, min(members)))


def damaged_scenes(rows: Iterable[tuple[Any, Any, Any]]) -> set[int]:
    """Ids of images whose row of a scene, (image, scene, digest) or None but for the id, is not what was written."""
    return {
        image_id
        for image_id, scene, digest in rows
        if (scene is not None or digest is not None) and _digest(image_id, scene) != digest
    }


def faults(connection: sqlite3.Connection) -> set[int]:
    """Ids of all images whose row of a scene is not what was written."""
    if not has_table(connection):
        return set()
    return damaged_scenes(connection.execute("SELECT image, scene, digest FROM scenes"))


def _digest(image_id: Any, scene: Any) -> int:
    return crc32(f"{image_id} {scene}".encode())
