"""A file of vectors that is cut under a reader is told; nobody reads behind its end, which would be SIGBUS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from retrieval.collection import Collection
from retrieval.collection.vectors import ShortVectorsError, vectors_path
from retrieval.search import open_collection


@pytest.fixture
def collection(write_collection: Callable[..., Path], tmp_path: Path) -> Path:
    random = np.random.default_rng(1)
    vectors = {}
    for name in ("s", "t"):
        rows = random.standard_normal((4000, 64)).astype(np.float32)
        vectors[name] = rows / np.linalg.norm(rows, axis=1)[:, None]
    return write_collection(tmp_path / "c", vectors)


def test_a_search_in_a_file_that_was_cut_is_an_error_and_other_spaces_go_on(collection: Path) -> None:
    searcher = open_collection(collection)
    before = {name: searcher.search(3999, 5, spaces=name).ids for name in ("s", "t")}
    path = vectors_path(collection, searcher.collection.manifest.space("s"))
    sound = path.read_bytes()
    with path.open("r+b") as file:
        file.truncate(100)
    for image_id in (3999, 0):
        with pytest.raises(ShortVectorsError, match="kvasir verify --repair"):
            searcher.search(image_id, 5, spaces="s")
    with pytest.raises(ShortVectorsError):
        searcher.search(np.ones(64, np.float32), 5, spaces="s")
    assert searcher.search(3999, 5, spaces="t").ids == before["t"]
    path.write_bytes(sound)
    assert searcher.search(3999, 5, spaces="s").ids == before["s"]


def test_rows_that_were_mapped_are_not_read_behind_the_end(collection: Path) -> None:
    rows = Collection.open(collection).rows("s")
    rows.row(3999)
    path = vectors_path(collection, Collection.open(collection).manifest.space("s"))
    with path.open("r+b") as file:
        file.truncate(100)
    for ids in ([3999], [0, 1, 2], [5, 3]):
        with pytest.raises(ShortVectorsError):
            rows.take(np.array(ids))
