from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from retrieval.collection import Collection, CollectionWriter, NewImage, catalog

Make = Callable[..., NewImage]


def stored_sources(writer: CollectionWriter) -> list[tuple[int, str]]:
    with closing(sqlite3.connect(writer.path / "catalog.sqlite")) as connection:
        return connection.execute("SELECT id, kind FROM sources ORDER BY id").fetchall()


def test_a_source_is_stored_with_its_first_image(writer: CollectionWriter, image: Make, tmp_path: Path) -> None:
    folder, archive = writer.source(tmp_path / "folder", "folder"), writer.source(tmp_path / "zip", "zip")
    assert len({1, folder, archive}) == 3
    assert stored_sources(writer) == []
    writer.append([image(0, source=archive)])
    assert stored_sources(writer) == [(archive, "zip")]
    assert writer.source(tmp_path / "zip", "zip") == archive
    assert writer.source(tmp_path / "third", "zip") not in {1, folder, archive}
    writer.append([image(1, source=folder)])
    assert stored_sources(writer) == [(folder, "folder"), (archive, "zip")]
    assert Collection.open(writer.path).source_of(1) == tmp_path / "folder"


def test_only_the_files_that_are_asked_for_are_looked_up(writer: CollectionWriter, image: Make) -> None:
    writer.append([image(n) for n in range(1200)])
    files = [f"a/{n}.jpg" for n in (3, 700, 5000)]
    assert sorted(writer.known(1, files)) == ["a/3.jpg", "a/700.jpg"]
    assert writer.known(1, []) == {}
    assert len(writer.known(1, [f"a/{n}.jpg" for n in range(1200)])) == 1200
    assert writer.known(2, files) == {}


def test_many_new_change_marks_are_one_transaction(
    writer: CollectionWriter, image: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.append([image(n) for n in range(100)])
    commits = []
    monkeypatch.setattr(
        catalog,
        "_commit",
        lambda connection: (commits.append(1), connection.execute("COMMIT")),  # type: ignore[func-returns-value]
    )
    writer.fill({}, {n: (n, 7) for n in range(100)})
    assert len(commits) == 1
    assert {known.stamp for known in writer.known(1).values()} == {7}
    writer.fill({}, {})
    assert len(commits) == 1


def test_images_with_and_without_vectors_are_appended_together(writer: CollectionWriter, image: Make) -> None:
    writer.add_space("t", "encoder", 2, "cosine", {})
    pair = {"s": np.arange(4, dtype=np.float32), "t": np.ones(2, np.float32)}
    writer.append(
        [image(0), image(1, vectors={}), image(2, vectors=pair), image(3), image(4, vectors={"t": pair["t"]})]
    )
    collection = Collection.open(writer.path)
    assert collection.ids("s").tolist() == [0, 2, 3]
    assert collection.ids("t").tolist() == [2, 4]
    assert np.array_equal(collection.vector("s", 2), pair["s"])
    assert np.array_equal(collection.vector("s", 3), image(3).vectors["s"])
    assert np.array_equal(collection.vector("t", 4), [1, 1])


def test_a_cluster_whose_first_image_goes_is_named_after_the_next(writer: CollectionWriter, image: Make) -> None:
    writer.append([image(0), image(1), image(2), image(3)])
    writer.set_clusters({2: 0, 3: 0}, {"x": 4})
    writer.remove([0])
    assert Collection.open(writer.path).images.clusters.tolist() == [1, 2, 2]
    writer.append([image(2, content=b"changed")])  # replaces image 2
    images = Collection.open(writer.path).images
    assert dict(zip(images.ids.tolist(), images.clusters.tolist(), strict=True)) == {1: 1, 3: 3, 4: 4}
