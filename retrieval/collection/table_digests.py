"""Digests of the catalog's small tables: where pictures lie, counters, and the device's marks.

A table has the sum of its rows' CRC-32, which every change brings up to date and opening a collection compares, as it
does the digests of the images' rows. A change by an older version leaves the sum behind; then nothing is compared.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any
from zlib import crc32

MARKS = "marks"
_COLUMNS = {"sources": ("id", "path", "kind"), "counters": ("name", "value"), MARKS: ("image", "bits", "regions")}
NAMES = tuple(_COLUMNS)
_SCHEMA = "CREATE TABLE sums (name TEXT PRIMARY KEY, sum INTEGER NOT NULL, missed INTEGER NOT NULL)"
_EVENTS = {"INSERT": ("NEW",), "DELETE": ("OLD",), "UPDATE": ("NEW", "OLD")}


def _digest(*values: Any) -> int:
    return crc32(repr(values).encode("utf-8", "surrogateescape"))


def has_sums(connection: sqlite3.Connection) -> bool:
    """Whether the catalog has digests of its tables; those of older versions have none."""
    return (
        connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'sums'").fetchone() is not None
    )


def create_sums(connection: sqlite3.Connection) -> None:
    """Create the digests of tables as they are, where there are none; to be called within a transaction."""
    if has_sums(connection):
        return
    connection.execute(_SCHEMA)
    for name in NAMES:
        for event in _EVENTS:
            connection.execute(
                f"CREATE TRIGGER sums_{name}_{event.lower()} AFTER {event} ON {name} "  # noqa: S608
                f"BEGIN UPDATE sums SET missed = missed + 1 WHERE name = '{name}'; END"
            )
    renew_sums(connection, NAMES)


def renew_sums(connection: sqlite3.Connection, names: Iterable[str]) -> None:
    """Take tables as they are for what was written; to be called within a transaction."""
    for name in names:
        connection.execute("INSERT OR REPLACE INTO sums VALUES (?, ?, 0)", (name, _sum(connection, name)))


def follow_table_changes(connection: sqlite3.Connection) -> None:
    """Let every change that is made by this connection change the sums too."""
    connection.execute("PRAGMA recursive_triggers = ON")  # else REPLACE deletes a row unseen
    connection.create_function("table_digest", -1, _digest, deterministic=True)
    for name, columns in _COLUMNS.items():
        for event, rows in _EVENTS.items():
            digests = [f"table_digest({', '.join(f'{row}.{column}' for column in columns)})" for row in rows]
            change = digests[0] if event != "DELETE" else f"-{digests[0]}"
            change += f" - {digests[1]}" if event == "UPDATE" else ""
            connection.execute(
                f"CREATE TEMP TRIGGER summed_{name}_{event.lower()} AFTER {event} ON main.{name} BEGIN "  # noqa: S608
                f"UPDATE sums SET sum = sum + ({change}), missed = missed - 1 WHERE name = '{name}'; END"
            )


def damaged_tables(connection: sqlite3.Connection, names: Iterable[str] = NAMES) -> tuple[str, ...]:
    """Tables that are not what was written; to be called within a transaction."""
    if not has_sums(connection):
        return ()
    present = "SELECT name FROM sqlite_master WHERE type = 'table'"
    sums = dict(connection.execute(f"SELECT name, sum FROM sums WHERE missed = 0 AND name IN ({present})"))  # noqa: S608
    return tuple(name for name in names if name in sums and sums[name] != _sum(connection, name))


def unchecked_tables(connection: sqlite3.Connection) -> tuple[str, ...]:
    """Tables that an older version changed last, so that nothing tells damage."""
    if not has_sums(connection):
        return NAMES
    return tuple(name for (name,) in connection.execute("SELECT name FROM sums WHERE missed != 0"))


def _sum(connection: sqlite3.Connection, name: str) -> int:
    rows = connection.execute(f"SELECT {', '.join(_COLUMNS[name])} FROM {name}")  # noqa: S608
    return sum(_digest(*row) for row in rows)
