"""A row of the catalog that is not what was written is told; rows of older versions are read, and have no digest."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from indexer.verification import check, rows_without_digest
from retrieval.collection import Collection, CollectionWriter
from retrieval.collection.catalog import NAME
from retrieval.collection.reading import DamagedRowError

SHOWN = {
    "class": "'rings'",
    "cluster": "cluster + 1",
    "width": "width + 1",
    "height": "height + 1",
    "file": "file || 'x'",
    "checksums": "x'01020304'",
    "sha256": "zeroblob(32)",
}
REST = {"bytes": "bytes + 1", "stamp": "stamp + 1", "added": "'2001'"}


def damage(collection: Path, statement: str) -> None:
    """Change rows as a flipped bit does: neither triggers nor digests notice."""
    with closing(sqlite3.connect(collection / NAME, isolation_level=None)) as connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement)
        for _, text in triggers:
            connection.execute(text)


@pytest.fixture
def collection(write_collection: Callable[..., Path], tmp_path: Path) -> Path:
    vectors = {"s": np.eye(5, 8, dtype=np.float32)}
    return write_collection(tmp_path / "c", vectors, ["discs"] * 5)


def row_messages(collection: Path) -> list[str]:
    return [finding.message for finding in check(collection, pictures=False) if finding.kind == "rows"]


@pytest.mark.parametrize("column", SHOWN)
def test_a_row_that_a_reader_would_read_otherwise_is_told_by_opening_and_by_verify(
    collection: Path, column: str
) -> None:
    damage(collection, f"UPDATE images SET {column} = {SHOWN[column]} WHERE id = 1")
    with pytest.raises(DamagedRowError, match=r"the row of 1 image is not what was written .* of 1\); restore it"):
        Collection.open(collection)
    assert len(row_messages(collection)) == 1
    with CollectionWriter(collection) as writer:
        writer.remove([1])
    assert 1 not in Collection.open(collection).images.ids
    assert row_messages(collection) == []


@pytest.mark.parametrize("column", REST)
def test_the_other_columns_are_compared_by_verify(collection: Path, column: str) -> None:
    damage(collection, f"UPDATE images SET {column} = {REST[column]} WHERE id = 1")
    Collection.open(collection)
    assert len(row_messages(collection)) == 1


def test_a_running_reader_does_not_take_over_a_damaged_row(collection: Path) -> None:
    opened = Collection.open(collection)
    damage(collection, "UPDATE images SET class = 'rings' WHERE id = 1")
    with CollectionWriter(collection) as writer:
        writer.set_clusters({1: 0}, {})
    with pytest.raises(DamagedRowError):
        opened.refreshed()


def test_a_later_change_of_a_damaged_row_does_not_make_it_look_sound(collection: Path) -> None:
    damage(collection, "UPDATE images SET class = 'rings' WHERE id = 1")
    with CollectionWriter(collection) as writer:
        writer.set_clusters({1: 0}, {})
    with pytest.raises(DamagedRowError):
        Collection.open(collection)


def test_every_change_by_a_writer_is_followed(collection: Path) -> None:
    with CollectionWriter(collection) as writer:
        writer.set_clusters({1: 0, 2: 0}, {})
        writer.fill({}, {2: (77, 78)})
        writer.remove([0])  # whose cluster gets another name
    assert Collection.open(collection).images.clusters.tolist()[:2] == [1, 1]
    assert row_messages(collection) == []
    assert rows_without_digest(collection) == 0


def test_rows_of_an_older_catalog_are_read_and_get_digests_from_the_first_writer(collection: Path) -> None:
    with closing(sqlite3.connect(collection / NAME)) as connection:
        for statement in ("DROP TRIGGER digests_removed", "DROP TRIGGER digests_stale", "DROP TABLE digests"):
            connection.execute(statement)
    count = len(Collection.open(collection))
    assert rows_without_digest(collection) == count
    assert row_messages(collection) == []
    with CollectionWriter(collection):
        pass
    assert rows_without_digest(collection) == 0
    damage(collection, "UPDATE images SET class = 'rings' WHERE id = 1")
    with pytest.raises(DamagedRowError):
        Collection.open(collection)


def test_a_row_that_an_older_version_changes_has_no_digest_until_it_is_given_one(collection: Path) -> None:
    with closing(sqlite3.connect(collection / NAME)) as connection, connection:
        connection.execute("UPDATE images SET cluster = 0 WHERE id = 1")
    Collection.open(collection)
    assert rows_without_digest(collection) == 1
    with CollectionWriter(collection) as writer:
        assert writer.add_row_digests() == 1
    assert rows_without_digest(collection) == 0
