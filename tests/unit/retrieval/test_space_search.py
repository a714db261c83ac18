"""Queries of several parts, and distances that a search computes once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import retrieval
from retrieval import Filter, Part, Query, Searcher
from retrieval.fusion import DEPTH, METHODS
from retrieval.index.protocol import EXACT

PARTS, WEIGHTS = (0, 1, 2), (1.0, 1.25, 1.0)
COUNT = 3503


@pytest.fixture(scope="module")
def engine(write_collection: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    """Three descriptors, 1,100 near each of them, and 200 between them that are nearest by the mean; and embeddings."""
    rng = np.random.default_rng(4)
    three = rng.integers(0, 8, (3, 80))
    around = np.concatenate([three, np.repeat(three, 1100, axis=0), np.repeat(np.median(three, axis=0)[None], 200, 0)])
    changed = rng.random(around.shape) < 0.05
    changed[:3] = False
    histograms = np.where(changed, rng.integers(0, 8, around.shape), around).astype(np.float32)
    vectors = rng.standard_normal((COUNT, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    path = tmp_path_factory.mktemp("several") / "c"
    return retrieval.open(write_collection(path, {"EdgeHistogram": histograms, "s": vectors}))


def _means(engine: Searcher, space: str) -> np.ndarray:
    """Mean distances of all images to the parts, inf for the parts themselves."""
    _, vectors = engine.vectors(space)
    means: np.ndarray = np.average(engine.metric(space).distances(vectors[list(PARTS)], vectors), 0, WEIGHTS)
    means[list(PARTS)] = np.inf
    return means


@pytest.fixture
def query() -> Query:
    return Query(tuple(Part(image_id=at, weight=weight) for at, weight in zip(PARTS, WEIGHTS, strict=True)))


@pytest.mark.parametrize("k", [10, 100])
def test_several_parts_find_what_comparing_every_image_finds(engine: Searcher, query: Query, k: int) -> None:
    means = _means(engine, "EdgeHistogram")
    expected = np.argsort(means, kind="stable")[:k].tolist()
    _, vectors = engine.vectors("EdgeHistogram")
    each = engine.metric("EdgeHistogram").distances(vectors[list(PARTS)], vectors)
    near = np.argsort(each, axis=1, kind="stable")[:, :DEPTH]
    assert not set(expected) & set(near.ravel().tolist())  # none is among the nearest to a part

    hits = engine.search(query, k, spaces="EdgeHistogram")

    assert engine.index("EdgeHistogram").description == EXACT
    assert hits.ids == expected
    assert [hit.distance for hit in hits] == pytest.approx(means[expected].tolist())


def test_several_parts_meet_the_filter(engine: Searcher, query: Query) -> None:
    means = _means(engine, "EdgeHistogram")
    means[np.arange(COUNT) % 3 > 0] = np.inf
    means[3399] = np.inf
    chosen = Filter(ids=frozenset(range(0, COUNT, 3)), exclude_ids=frozenset({3399}))
    hits = engine.search(query, 20, spaces="EdgeHistogram", filter=chosen)
    assert hits.ids == np.argsort(means, kind="stable")[:20].tolist()


def test_a_batch_has_queries_of_one_part_and_of_several(engine: Searcher, query: Query) -> None:
    together = engine.search([5, query, 6], 7, spaces="EdgeHistogram")
    alone = [engine.search(one, 7, spaces="EdgeHistogram") for one in (5, query, 6)]
    assert [hits.ids for hits in together] == [hits.ids for hits in alone]


@pytest.mark.parametrize("fusion", METHODS)
def test_a_fused_search_computes_no_distance_twice(
    engine: Searcher, fusion: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spaces = ["s", "EdgeHistogram"]
    plain = engine.search(7, 50, spaces=spaces, fusion=fusion)
    measured: list[np.ndarray] = []
    for name in spaces:
        index = engine.index(name)
        again: Any = index.distances

        def counted(queries: np.ndarray, ids: np.ndarray, again: Any = again) -> Any:
            measured.append(ids)
            return again(queries, ids)

        monkeypatch.setattr(index, "distances", counted)
    hits = engine.search(7, 50, spaces=spaces, fusion=fusion)
    assert hits.ids == plain.ids
    lists = {name: set(engine.search(7, DEPTH, spaces=name).ids) for name in spaces}
    wanted = lists["s"] | lists["EdgeHistogram"] if METHODS[fusion].by_score else set(hits.ids)
    assert [set(ids.tolist()) for ids in measured] == [wanted - lists[name] for name in spaces]
    for name in spaces:
        _, vectors = engine.vectors(name)
        distances = engine.metric(name).distances(vectors[[7]], vectors[hits.ids])[0]
        assert [hit.distances[name] for hit in hits] == pytest.approx(distances.tolist(), abs=1e-6)
