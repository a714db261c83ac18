from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import retrieval
from retrieval import Searcher
from retrieval.collection import CollectionWriter, NewImage
from retrieval.index import open_index

D = 16


def vectors(seed: int, count: int) -> np.ndarray:
    made = np.random.default_rng(seed).normal(size=(count, D)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def new_images(rows: np.ndarray, first: int) -> list[NewImage]:
    return [
        NewImage(1, f"{first + n}.jpg", "ab"[n % 2], 1, 1, 1, 1, (first + n).to_bytes(32, "big"), {"dots": row})
        for n, row in enumerate(rows)
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with CollectionWriter(tmp_path / "c", create=True) as writer:
        writer.add_space("dots", "encoder", D, "cosine", {"spec": "none"})
        writer.source(tmp_path, "folder")
        writer.append(new_images(vectors(0, 50), 0))
    return tmp_path / "c"


def answers(engine: Searcher) -> list[retrieval.Hits]:
    return [engine.search(image_id, 7) for image_id in engine.collection.images.ids.tolist()]


def test_nothing_new_is_the_same_searcher(path: Path) -> None:
    engine = retrieval.open(path)
    assert engine.refreshed() is engine


def test_a_running_index_follows_writes_and_answers_as_a_new_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = retrieval.open(path)
    engine.index("dots")
    monkeypatch.setattr("retrieval.search.open_index", None)  # nothing is built again
    for step in range(6):
        with CollectionWriter(path) as writer:
            writer.append(new_images(vectors(10 + step, 9), 50 + 9 * step))
            writer.remove([3 * step, 50 + step])
        engine = engine.refreshed()
        assert len(engine.index("dots")) == len(engine.collection)
        with monkeypatch.context() as whole:
            whole.setattr("retrieval.search.open_index", open_index)
            assert answers(engine) == answers(retrieval.open(path))


def test_an_earlier_searcher_goes_on_answering_from_its_own_state(path: Path) -> None:
    earlier = retrieval.open(path)
    before = earlier.search(0, 50)
    with CollectionWriter(path) as writer:
        writer.append(new_images(vectors(0, 1), 50))  # as near as can be to image 0
        writer.remove([before.ids[0]])
    later = earlier.refreshed()
    assert later.search(0, 1).ids == [50]
    assert earlier.search(0, 50) == before


def test_a_replaced_file_is_a_new_image(path: Path) -> None:
    engine = retrieval.open(path)
    engine.search(0)
    with CollectionWriter(path) as writer:
        (changed,) = new_images(vectors(77, 1), 5)
        writer.append([changed])
    engine = engine.refreshed()
    assert engine.collection.images.position(5) is None
    assert answers(engine) == answers(retrieval.open(path))


def test_a_mended_vector_replaces_the_old_one(path: Path) -> None:
    engine = retrieval.open(path)
    engine.search(0)
    mended = vectors(5, 1)[0]
    with CollectionWriter(path) as writer:
        writer.fill({7: {"dots": mended}})
    engine = engine.refreshed()
    assert engine.search(mended, 1)[0].distance == pytest.approx(0, abs=1e-6)
    assert engine.search(mended, 1).ids == [7]
    assert answers(engine) == answers(retrieval.open(path))
