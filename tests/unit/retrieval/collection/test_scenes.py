"""Scenes in the catalog: read with clusters, renamed, guarded by digests, absent from older catalogs."""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from indexer.verification import check
from retrieval.collection import Collection, CollectionWriter
from retrieval.collection.catalog import NAME
from retrieval.collection.reading import DamagedRowError
from retrieval.export import export
from retrieval.filters import Filter
from retrieval.search import Searcher


@pytest.fixture
def collection(write_collection: Callable[..., Path], tmp_path: Path) -> Path:
    """Eight images; 1 and 2 are near duplicates, 1, 2, 4 and 7 one scene."""
    path: Path = write_collection(tmp_path / "c", {"s": np.eye(8, dtype=np.float32)}, ["a"] * 8)
    with CollectionWriter(path) as writer:
        writer.set_clusters({2: 1}, {})
        writer.set_scenes({1: 1, 2: 1, 4: 1, 7: 1}, 8)
    return path


def scenes(path: Path) -> list[int]:
    return Collection.open(path).images.scenes.tolist()


def test_a_scene_has_whole_clusters(collection: Path) -> None:
    assert scenes(collection) == [0, 1, 1, 3, 1, 5, 6, 1]
    with CollectionWriter(collection) as writer:  # a near duplicate that is found before scenes are looked for again
        writer.set_clusters({6: 4, 5: 0}, {})
    assert scenes(collection) == [0, 1, 1, 3, 1, 0, 1, 1]
    images = Collection.open(collection).images
    assert images.has_scenes
    assert images.ids_of_scene(1).tolist() == [1, 2, 4, 6, 7]
    assert images.ids_of_scene(99).tolist() == []


def test_without_scenes_they_are_the_clusters(write_collection: Callable[..., Path], tmp_path: Path) -> None:
    path = write_collection(tmp_path / "c", {"s": np.eye(3, dtype=np.float32)})
    images = Collection.open(path).images
    assert images.scenes is images.clusters
    assert not images.has_scenes


def test_a_scene_is_named_after_the_first_image_that_is_left(collection: Path) -> None:
    with CollectionWriter(collection) as writer:
        writer.remove([1])
    assert scenes(collection) == [0, 2, 3, 2, 5, 6, 2]
    with CollectionWriter(collection) as writer:
        writer.forget_scenes()
    assert scenes(collection) == [0, 2, 3, 4, 5, 6, 7]


def test_a_running_reader_follows(collection: Path) -> None:
    opened = Collection.open(collection)
    with CollectionWriter(collection) as writer:
        writer.set_scenes({0: 0, 3: 0}, 8)
    later, difference = opened.refreshed()
    assert difference is not None
    assert difference.changed.tolist() == [0, 3]
    assert later.images.scenes.tolist() == [0, 1, 1, 0, 1, 5, 6, 1]
    with CollectionWriter(collection) as writer:
        writer.forget_scenes()
    assert later.refreshed()[0].images.scenes.tolist() == [0, 1, 1, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("change", ["scene = 0", "digest = digest + 1"])
def test_a_row_that_says_something_else_is_told(collection: Path, change: str) -> None:
    with closing(sqlite3.connect(collection / NAME, isolation_level=None)) as connection:
        connection.execute(f"UPDATE scenes SET {change} WHERE image = 4")
    with pytest.raises(DamagedRowError, match=r"the row of 1 image .* of 4\)"):
        Collection.open(collection)
    assert [finding.ids for finding in check(collection, pictures=False) if finding.kind == "rows"] == [(4,)]
    with CollectionWriter(collection) as writer:
        writer.remove([4])
    assert scenes(collection) == [0, 1, 1, 3, 5, 6, 1]


def test_a_catalog_without_the_table_is_read_and_gets_it_by_writing(collection: Path) -> None:
    with closing(sqlite3.connect(collection / NAME, isolation_level=None)) as connection:
        for name in ("scenes_removed", "log_scene", "log_without_scene"):
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("DROP TABLE scenes")
    assert scenes(collection) == [0, 1, 1, 3, 4, 5, 6, 7]
    with CollectionWriter(collection) as writer:
        writer.set_scenes({3: 3, 6: 3}, 8)
    assert scenes(collection) == [0, 1, 1, 3, 4, 5, 3, 7]


def test_a_search_can_leave_out_the_scene(collection: Path) -> None:
    searcher = Searcher(Collection.open(collection))
    assert sorted(searcher.search(2, 8).ids) == [0, 1, 3, 4, 5, 6, 7]
    assert sorted(searcher.search(2, 8, exclude_cluster=True).ids) == [0, 3, 4, 5, 6, 7]
    assert sorted(searcher.search(2, 8, exclude_scene=True).ids) == [0, 3, 5, 6]
    assert sorted(searcher.search(2, 8, exclude_scene=True, exclude_self=False).ids) == [0, 2, 3, 5, 6]
    assert sorted(searcher.search(0, 8, filter=Filter(exclude_scenes=frozenset({1}))).ids) == [3, 5, 6]


def test_hits_say_what_they_share_with_the_query_and_each_other(collection: Path) -> None:
    searcher = Searcher(Collection.open(collection))
    hits = searcher.search(2, 8)
    assert [hit.scene for hit in sorted(hits, key=lambda hit: hit.id)] == [0, 1, 3, 1, 5, 6, 1]
    assert hits.scene_notes == {
        1: "same picture as the query",
        4: "same examination as the query?",
        7: "same examination as the query?",
    }
    vector = np.zeros(8, np.float32)
    vector[[1, 2, 4]] = (3, 2, 1)
    hits = searcher.search(vector, 3)
    assert hits.ids == [1, 2, 4]
    assert hits.scene_notes == {2: "same picture as hit 1", 4: "same examination as hit 1?"}
    assert hits.to_dict()["hits"][2]["scene"] == 1


def test_an_export_says_the_scene(collection: Path, tmp_path: Path) -> None:
    export(Collection.open(collection), tmp_path / "out")
    with (tmp_path / "out" / "s.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0][-2:] == ["cluster", "scene"]
    assert [row[-1] for row in rows[1:]] == ["0", "1", "1", "3", "1", "5", "6", "1"]
