from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.collection import Collection, CollectionWriter, Difference, FormatError, Images, NewImage, changes
from retrieval.collection.vectors import GatheredVectors
from retrieval.evaluation.retrievers import SpaceRetriever
from retrieval.index.cosine import Cosine

Make = Callable[..., NewImage]


def opened(writer: CollectionWriter) -> Collection:
    return Collection.open(writer.path)


def refreshed(collection: Collection) -> tuple[Collection, Difference]:
    later, difference = collection.refreshed()
    assert difference is not None
    return later, difference


def require_equal(one: Images, other: Images) -> None:
    assert one.classes == other.classes
    assert one.source_paths == other.source_paths
    assert one.source_numbers == other.source_numbers
    assert one.files == other.files
    for name in ("ids", "labels", "clusters", "sizes", "checksums", "marks", "sources"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert mine.dtype == theirs.dtype, name
        assert mine.tolist() == theirs.tolist(), name


def test_a_collection_that_did_not_change_is_itself(writer: CollectionWriter, image: Make) -> None:
    writer.append([image(0)])
    collection = opened(writer)
    later, difference = refreshed(collection)
    assert later is collection
    assert not any(len(ids) for ids in (difference.added, difference.removed, difference.changed))
    assert {name: ids.tolist() for name, ids in difference.gained.items()} == {"s": []}


def test_added_images_are_seen_and_named(writer: CollectionWriter, image: Make) -> None:
    writer.append([image(0), image(1)])
    collection = opened(writer)
    writer.append([image(2, class_name="b"), image(3, vectors={}), image(4, content=b"0")])
    later, difference = refreshed(collection)
    assert difference.added.tolist() == [2, 3, 4]
    assert difference.removed.tolist() == difference.changed.tolist() == []
    assert difference.gained["s"].tolist() == [2, 4]
    assert difference.lost["s"].tolist() == []
    assert later.images.clusters.tolist() == [0, 1, 2, 3, 0]
    assert [later.class_of(i) for i in range(5)] == ["a", "a", "b", "a", "a"]
    assert np.array_equal(later.vector("s", 2), image(2).vectors["s"])
    assert np.array_equal(later.vectors("s")[1], [image(n).vectors["s"] for n in (0, 1, 2, 4)])
    require_equal(later.images, opened(writer).images)


def test_removed_images_are_named_and_the_map_of_the_vectors_is_shared(writer: CollectionWriter, image: Make) -> None:
    writer.append([image(n) for n in range(5)])
    collection = opened(writer)
    rows = collection.rows("s")
    writer.remove([1, 4])
    later, difference = refreshed(collection)
    assert difference.removed.tolist() == difference.lost["s"].tolist() == [1, 4]
    assert difference.added.tolist() == difference.changed.tolist() == difference.gained["s"].tolist() == []
    left = np.array([0, 2, 3])
    assert np.shares_memory(later.rows("s").take(left[1:]), rows.take(left[1:]))
    assert np.array_equal(later.rows("s").take(left), [image(n).vectors["s"] for n in left.tolist()])
    require_equal(later.images, opened(writer).images)


def test_many_vectors_are_not_copied_for_a_removal_and_retrieve_alike(
    writer: CollectionWriter, image: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.append([image(n) for n in range(9)])
    writer.remove([1, 4])
    copied = opened(writer).vectors("s")[1]
    monkeypatch.setattr("retrieval.collection.reading.COPIED_UP_TO", 0)
    gathered: Any = opened(writer).vectors("s")[1]
    assert isinstance(gathered, GatheredVectors)
    assert np.array_equal(gathered, copied)
    monkeypatch.setattr("retrieval.evaluation.retrievers.IN_DOUBLE", 3)
    gallery, queries = np.array([0, 2, 3, 6]), np.array([1, 5])
    of_gathered, of_copied = (
        SpaceRetriever(vectors, Cosine()).distances_to(gallery)(queries) for vectors in (gathered, copied)
    )
    assert np.array_equal(of_gathered, of_copied)
    every = np.arange(7)
    assert np.array_equal(*(SpaceRetriever(v, Cosine()).distances_to(every)(queries) for v in (gathered, copied)))


def test_consecutive_rows_are_no_copy_and_see_what_is_appended(writer: CollectionWriter, image: Make) -> None:
    writer.append([image(n) for n in range(5)])
    writer.remove([1])
    collection = opened(writer)
    rows = collection.rows("s")
    assert np.shares_memory(rows.take(np.arange(2, 5)), rows.take(np.arange(3, 5)))
    assert not rows.take(np.arange(2, 5)).flags.owndata
    for ids in ([0, 2, 3, 4], [4, 2], [2, 3, 2], [3, 2], []):
        taken = rows.take(np.array(ids, np.int64))
        assert np.array_equal(taken, np.reshape([image(n).vectors["s"] for n in ids], (len(ids), 4)))
    assert np.array_equal(rows.row(3), image(3).vectors["s"])
    writer.append([image(n) for n in range(5, 8)])
    assert np.array_equal(rows.take(np.array([7])), [image(7).vectors["s"]])
    with pytest.raises(FormatError, match=r"s.float32 does not hold the vectors .* --repair"):
        rows.take(np.array([3, 8]))
    assert collection.ids("s").tolist() == [0, 2, 3, 4]
    assert collection.ids("s").tolist() == collection.vectors("s")[0].tolist()


def test_a_changed_cluster_changes_no_vector(writer: CollectionWriter, image: Make) -> None:
    writer.append([image(n) for n in range(3)])
    collection = opened(writer)
    writer.set_clusters({2: 0}, {"looked for": 3})
    later, difference = refreshed(collection)
    assert difference.changed.tolist() == [2]
    assert difference.gained["s"].tolist() == difference.lost["s"].tolist() == []
    assert later.images.clusters.tolist() == [0, 1, 0]
    assert later.images.ids_of_cluster(0).tolist() == [0, 2]


def test_a_vector_that_replaces_another_is_lost_and_gained(writer: CollectionWriter, image: Make) -> None:
    writer.append([image(0), image(1, vectors={}), image(2)])
    collection = opened(writer)
    writer.fill({0: {"s": np.ones(4, np.float32)}, 1: {"s": np.zeros(4, np.float32)}})
    later, difference = refreshed(collection)
    assert difference.changed.tolist() == [0, 1]
    assert difference.gained["s"].tolist() == [0, 1]
    assert difference.lost["s"].tolist() == [0]
    assert later.vector("s", 0) is not None


def test_the_class_of_the_last_removed_image_goes_and_a_new_one_comes_between(
    writer: CollectionWriter, image: Make
) -> None:
    writer.append(
        [image(0, class_name="a"), image(1, class_name="c"), image(2, class_name="d"), image(3, class_name=None)]
    )
    collection = opened(writer)
    writer.remove([0])
    writer.append([image(4, class_name="b")])
    later, _ = refreshed(collection)
    assert later.classes == ("b", "c", "d")
    assert [later.class_of(i) for i in (1, 2, 3, 4)] == ["c", "d", None, "b"]


def test_a_later_source_is_known(writer: CollectionWriter, image: Make, tmp_path: Path) -> None:
    writer.append([image(0)])
    collection = opened(writer)
    writer.append([image(1, source=writer.source(tmp_path / "zip", "zip"))])
    later, _ = refreshed(collection)
    assert [later.source_of(i) for i in (0, 1)] == [tmp_path, tmp_path / "zip"]


def test_a_new_space_or_recipe_needs_everything_read_again(writer: CollectionWriter, image: Make) -> None:
    writer.append([image(0)])
    collection = opened(writer)
    writer.add_space("late", "descriptor", 2, "lire-phog", {}, "float64")
    writer.fill({0: {"late": np.array([1, 2.0])}})
    later, difference = collection.refreshed()
    assert difference is None
    assert later.images.checksums.shape == (1, 2)
    writer.update_recipe("late", {"variant": "other"})
    later, difference = later.refreshed()
    assert difference is None
    assert later.manifest == writer.manifest


def test_a_reader_that_is_further_behind_than_the_log_reads_everything(
    writer: CollectionWriter, image: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "LENGTH", 3)
    writer.append([image(0)])
    behind = opened(writer)
    writer.append([image(1), image(2), image(3)])
    assert behind.refreshed()[1] is not None
    writer.append([image(4)])
    later, difference = behind.refreshed()
    assert difference is None
    assert len(later) == 5
    with closing(sqlite3.connect(writer.path / "catalog.sqlite")) as catalog:
        assert catalog.execute("SELECT COUNT(*) FROM changes").fetchone() == (3,)


def test_a_catalog_that_was_replaced_is_read_again(writer: CollectionWriter, image: Make, tmp_path: Path) -> None:
    writer.append([image(0)])
    copied = shutil.copytree(writer.path, tmp_path / "copy")
    writer.append([image(1)])
    collection = opened(writer)
    with CollectionWriter(copied) as other:
        other.append([image(7)])
    writer.close()
    (copied / "catalog.sqlite").replace(writer.path / "catalog.sqlite")
    later, difference = collection.refreshed()
    assert difference is None
    assert later.images.files == ("a/0.jpg", "a/7.jpg")


def without_log(path: Path) -> None:
    """Make a catalog as an older version wrote it."""
    with closing(sqlite3.connect(path / "catalog.sqlite")) as catalog, catalog:
        for trigger in ("log_added", "log_removed", "log_changed"):
            catalog.execute(f"DROP TRIGGER {trigger}")
        catalog.execute("DROP TABLE changes")
        catalog.execute("DELETE FROM counters WHERE name = 'change log'")


def test_a_collection_of_an_older_version_is_read_and_upgraded_with_a_word(
    writer: CollectionWriter, image: Make, caplog: pytest.LogCaptureFixture
) -> None:
    writer.append([image(0)])
    writer.close()
    without_log(writer.path)
    old = opened(writer)
    assert old.refreshed()[1] is None
    with CollectionWriter(writer.path) as later:
        assert caplog.messages == [
            f"{writer.path}: catalog upgraded, it now logs its changes; older versions still read it"
        ]
        later.append([image(1)])
        assert old.refreshed()[1] is None
        upgraded = opened(writer)
        later.append([image(2)])
        assert refreshed(upgraded)[1].added.tolist() == [2]
    caplog.clear()
    CollectionWriter(writer.path).close()
    assert caplog.messages == []


def test_what_is_rolled_back_is_no_change(writer: CollectionWriter, image: Make) -> None:
    writer.append([image(0)])
    collection = opened(writer)
    with pytest.raises(sqlite3.IntegrityError):
        writer.append([image(1), image(2, width=None)])
    assert collection.refreshed()[0] is collection
    writer.append([image(3)])
    assert refreshed(collection)[1].added.tolist() == [1]


def test_a_collection_equals_itself_only(writer: CollectionWriter, image: Make) -> None:
    writer.append([image(0)])
    one, other = opened(writer), opened(writer)
    assert one == one
    assert one != other
    assert one.images != other.images
    assert image(0) != image(0)
    assert len({one, other, one}) == 2


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 30), st.sampled_from(["a", "b", "c", None]), st.booleans()),
        st.tuples(st.just("remove"), st.integers(0, 30)),
        st.tuples(st.just("cluster"), st.integers(0, 30), st.integers(0, 30)),
        st.tuples(st.just("fill"), st.integers(0, 30)),
        st.tuples(st.just("refresh")),
    ),
    max_size=25,
)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(operations=OPERATIONS)
def test_a_refreshed_collection_equals_one_that_is_opened(image: Make, operations: list[tuple[Any, ...]]) -> None:
    """Whatever was written, in whatever order, and the difference accounts for it."""
    folder = Path(tempfile.mkdtemp())
    try:
        with CollectionWriter(folder / "c", create=True) as writer:
            writer.add_space("s", "encoder", 4, "cosine", {})
            writer.add_space("t", "encoder", 4, "cosine", {})
            writer.source(folder, "folder")
            collection = opened(writer)
            for name, *values in operations:
                if name == "append":
                    number, class_name, both = values
                    vectors = dict.fromkeys(("s", "t") if both else ("t",), np.full(4, number, np.float32))
                    writer.append([image(number, class_name=class_name, vectors=vectors)])
                elif name == "remove":
                    writer.remove([values[0]])
                elif name == "cluster":
                    writer.set_clusters({values[0]: values[1]}, {"x": 1})
                elif name == "fill" and opened(writer).images.position(values[0]) is not None:
                    writer.fill({values[0]: {"s": np.full(4, values[0], np.float32)}})
                elif name == "refresh":
                    collection = require_right_refresh(collection, opened(writer))
            require_right_refresh(collection, opened(writer))
    finally:
        shutil.rmtree(folder)


def require_right_refresh(before: Collection, now: Collection) -> Collection:
    after, difference = refreshed(before)
    require_equal(after.images, now.images)
    ids = set(before.images.ids.tolist()) - set(difference.removed.tolist()) | set(difference.added.tolist())
    assert ids == set(now.images.ids.tolist())
    for space in ("s", "t"):
        vectors = set(before.ids(space).tolist()) - set(difference.lost[space].tolist())
        vectors |= set(difference.gained[space].tolist())
        assert sorted(vectors) == now.ids(space).tolist()
        assert np.array_equal(after.vectors(space)[1], now.vectors(space)[1])
    return after
