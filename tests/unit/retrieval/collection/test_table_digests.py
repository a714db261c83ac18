"""What changes in the catalog's small tables behind a writer's back is told; what older versions write is not."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.repair import repair
from indexer.verification import check
from retrieval.backup import restore_backup, write_backup
from retrieval.collection import Collection, CollectionWriter
from retrieval.collection.catalog import NAME
from retrieval.collection.reading import DamagedRowError
from retrieval.collection.table_digests import NAMES, create_sums, damaged_tables, unchecked_tables
from retrieval.marks import BORDER, Marks

Write = Callable[..., Path]


@pytest.fixture
def collection(write_collection: Write, tmp_path: Path) -> Path:
    vectors = np.random.default_rng(0).standard_normal((12, 4)).astype(np.float32)
    path = write_collection(tmp_path / "c", {"s": vectors}, ["a", "b"] * 6)
    with CollectionWriter(path) as writer:
        writer.fill({}, marks={number: Marks({BORDER: (0.1, 0.1, 0.8, 0.8)}) for number in range(12)})
        writer.fill({}, marks={3: Marks()})  # takes the place of the earlier row
        writer.set_clusters({1: 0}, {"clusters": 7})
        writer.set_clusters({}, {"clusters": 8})
        writer.remove([5])
    return path


def execute(collection: Path, *statements: str) -> None:
    """Change the catalog without its triggers, as damage does."""
    with closing(sqlite3.connect(collection / NAME)) as connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
        for _, sql in triggers:
            connection.execute(sql)
        connection.commit()


DAMAGE = {
    "sources": "UPDATE sources SET path = path || 'x'",
    "counters": "UPDATE counters SET value = value + 1 WHERE name = 'next image'",
    "marks": "UPDATE marks SET bits = bits + 1 WHERE image = 7",
}


def test_what_a_writer_changes_is_sound(collection: Path) -> None:
    with closing(sqlite3.connect(collection / NAME)) as connection:
        assert damaged_tables(connection) == ()
        assert unchecked_tables(connection) == ()
    assert check(collection, pictures=False) == []


@pytest.mark.parametrize("table", NAMES)
def test_a_changed_table_is_told_by_opening_and_by_verify(collection: Path, table: str) -> None:
    opened = Collection.open(collection)
    execute(collection, DAMAGE[table])
    with pytest.raises(DamagedRowError, match=f"the table '{table}' is not what was written"):
        Collection.open(collection)
    (finding,) = check(collection, pictures=False)
    assert (finding.kind, finding.repairable) == (table, table == "marks")
    if table != "marks":
        with CollectionWriter(collection) as writer:
            writer.remove([2])
        with pytest.raises(DamagedRowError, match=table):
            opened.refreshed()


def test_damaged_marks_are_looked_for_again(indexed: Any, tmp_path: Path) -> None:
    collection = Path(shutil.copytree(indexed.path, tmp_path / "c"))
    before = Collection.open(collection).images.marks.tolist()
    execute(collection, "UPDATE marks SET bits = bits + 1 WHERE image = 7")
    mended = repair(collection, check(collection, pictures=False))
    assert "the marks of the device are looked for again" in mended.done
    assert Collection.open(collection).images.marks.tolist() == before
    assert check(collection, pictures=False) == []


def test_an_older_version_leaves_nothing_to_compare_until_repair(collection: Path) -> None:
    with closing(sqlite3.connect(collection / NAME)) as connection:  # which knows the persistent triggers alone
        connection.execute("INSERT INTO counters VALUES ('clusters of later', 3)")
        connection.execute("UPDATE sources SET kind = 'zip'")
        connection.commit()
        assert set(unchecked_tables(connection)) == {"counters", "sources"}
    Collection.open(collection)
    repair(collection, [])
    with closing(sqlite3.connect(collection / NAME)) as connection:
        assert unchecked_tables(connection) == ()
    execute(collection, DAMAGE["counters"])
    with pytest.raises(DamagedRowError):
        Collection.open(collection)


def test_a_catalog_of_an_older_version_gets_digests_from_its_next_writer(collection: Path) -> None:
    execute(collection, "DROP TABLE sums")
    with closing(sqlite3.connect(collection / NAME)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE name LIKE 'sums_%'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.commit()
        assert damaged_tables(connection) == ()
        assert unchecked_tables(connection) == NAMES
    Collection.open(collection)
    CollectionWriter(collection).close()
    with closing(sqlite3.connect(collection / NAME)) as connection:
        assert unchecked_tables(connection) == ()
        create_sums(connection)  # a second time changes nothing


def test_a_restored_catalog_has_another_log_and_sound_tables(collection: Path, tmp_path: Path) -> None:
    write_backup(collection, tmp_path / "b.tar")
    earlier = Collection.open(collection)
    restore_backup(tmp_path / "b.tar", collection, replace=True)
    later, difference = earlier.refreshed()
    assert later is not earlier
    assert difference is None  # everything was read again
    assert check(collection, pictures=False) == []
    with closing(sqlite3.connect(collection / NAME)) as connection:
        assert unchecked_tables(connection) == ()
