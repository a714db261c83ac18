from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from retrieval.collection import Collection, CollectionWriter, NewImage
from retrieval.collection.facts import marks_counted
from retrieval.marks import BLACK_BOX, SCOPE_GUIDE, TEXT, Marks

Make = Callable[..., NewImage]
GREEN = Marks({SCOPE_GUIDE: (0.0, 0.66666, 0.25, 0.3333), TEXT: (0.0, 0.1, 0.2, 0.3)})
BLACK = Marks({BLACK_BOX: (0.0, 0.5, 0.25, 0.5)})


def without_table(collection: Path) -> None:
    """The catalog as older versions left it."""
    with closing(sqlite3.connect(collection / "catalog.sqlite")) as catalog:
        catalog.executescript("DROP TRIGGER marks_removed; DROP TRIGGER log_marked; DROP TABLE marks;")


def test_marks_are_stored_with_their_regions(writer: CollectionWriter, image: Make) -> None:
    writer.append([image(0, marks=GREEN), image(1, marks=Marks()), image(2)])
    collection = Collection.open(writer.path)
    assert collection.images.marks.tolist() == [0b10001, 0, -1]
    stored = collection.marks_of(0)
    assert stored is not None
    assert stored.regions[SCOPE_GUIDE] == pytest.approx(GREEN.regions[SCOPE_GUIDE], abs=1e-4)
    assert collection.marks_of(1) == Marks()
    assert collection.marks_of(2) is None


def test_marks_that_come_later_are_seen_by_a_reader(writer: CollectionWriter, image: Make) -> None:
    writer.append([image(0), image(1, marks=BLACK)])
    collection = Collection.open(writer.path)
    writer.fill({}, marks={0: GREEN})
    later, difference = collection.refreshed()
    assert later.images.marks.tolist() == [0b10001, 0b10]
    assert difference is not None
    assert difference.changed.tolist() == [0]
    assert [len(ids) for ids in (difference.gained["s"], difference.lost["s"])] == [0, 0]


def test_an_image_that_goes_takes_its_marks_along(writer: CollectionWriter, image: Make) -> None:
    writer.append([image(0, marks=GREEN), image(1, marks=BLACK)])
    writer.remove([0])
    with closing(sqlite3.connect(writer.path / "catalog.sqlite")) as catalog:
        assert catalog.execute("SELECT image FROM marks").fetchall() == [(1,)]


def test_a_catalog_of_an_older_version_is_read_without_marks_and_upgraded_by_the_next_writer(
    writer: CollectionWriter, image: Make
) -> None:
    writer.append([image(0, marks=GREEN), image(1)])
    writer.close()
    without_table(writer.path)
    old = Collection.open(writer.path)
    assert old.images.marks.tolist() == [-1, -1]
    assert old.marks_of(0) is None
    with CollectionWriter(writer.path) as again:
        assert [known.marked for known in again.known(1).values()] == [False, False]
        again.append([image(2, marks=BLACK)])
    assert Collection.open(writer.path).images.marks.tolist() == [-1, -1, 0b10]
    later, _ = old.refreshed()
    assert later.images.marks.tolist() == [-1, -1, 0b10]


def test_marks_are_counted_and_those_not_known_apart(writer: CollectionWriter, image: Make) -> None:
    writer.append([image(0, marks=GREEN), image(1, marks=BLACK), image(2, marks=Marks()), image(3)])
    counted = marks_counted(Collection.open(writer.path).images.marks)
    assert counted == {"ScopeGuide": 1, "black box": 1, "border": 0, "octagon": 0, "text": 1, "unknown": 1}
