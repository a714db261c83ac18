"""Many queries in one call get, to the bit, what each gets alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from retrieval.filters import Selection
from retrieval.index import cosine_batch
from retrieval.index.cosine_batch import PAYS_FROM, search_many
from retrieval.index.int8_scan import Int8Index
from retrieval.index.rows import ArrayRows

Array = NDArray[Any]


def unit(rows: Array) -> Array:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def mixed(count: int, dimension: int, sources: int, noise: float = 0, seed: int = 0) -> Array:
    """Mixtures of two of a few vectors: near a subspace, as embeddings are."""
    random = np.random.default_rng(seed)
    few = random.standard_normal((sources, dimension))
    first, second = random.integers(0, sources, (2, count))
    share = random.random((count, 1)) / 2
    return unit((1 - share) * few[first] + share * few[second] + noise * random.standard_normal((count, dimension)))


GALLERIES: dict[str, Callable[[], Array]] = {
    "near a subspace": lambda: mixed(4_000, 1_200, 120),
    "partly near a subspace": lambda: mixed(4_000, 1_200, 300, 0.1),
    "nowhere near a subspace": lambda: unit(np.random.default_rng(1).standard_normal((1_000, 900))),
    "hundreds of equal ones": lambda: np.repeat(mixed(10, 100, 20), 80, axis=0),
    "far too near": lambda: unit(1 + 1e-5 * np.random.default_rng(2).standard_normal((300, 400))),
    "more than one block": lambda: mixed(17_000, 8, 50, 0.3),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", GALLERIES)
def test_a_batch_is_its_single_searches(name: str) -> None:
    vectors = GALLERIES[name]()
    count = len(vectors)
    ids = np.arange(count)[np.random.default_rng(3).random(count) < 0.9]
    index = Int8Index(ArrayRows(vectors), ids)
    without = [np.unique([at, (at * 7) % count]) for at in range(count)]
    selection = Selection(ids, None, ids[3:40])
    distances, found = index.search(vectors, 12, selection, without)
    for at in range(0, count, count // 40):
        alone = index.search(vectors[at : at + 1], 12, selection, without[at : at + 1])
        assert found[at].tolist() == alone[1][0].tolist()
        assert distances[at].tolist() == alone[0][0].tolist()


@pytest.mark.slow
def test_a_subspace_is_used_where_it_saves_work() -> None:
    rows, ids = ArrayRows(mixed(4_000, 1_200, 120)), np.arange(4_000)
    assert cosine_batch._Subspace.of(rows, ids, 4_000).basis is not None
    assert cosine_batch._Subspace.of(rows, ids, 100).basis is None
    spread = ArrayRows(unit(np.random.default_rng(1).standard_normal((4_000, 1_200))))
    assert cosine_batch._Subspace.of(spread, ids, 4_000).basis is None


@pytest.mark.slow
@pytest.mark.parametrize("subspace", [True, False])
def test_bounds_are_never_below_the_cosine(subspace: bool) -> None:
    others = unit(np.random.default_rng(4).standard_normal((100, 1_200)))
    vectors = np.concatenate([mixed(3_900, 1_200, 120), others])
    space = cosine_batch._Subspace.of(ArrayRows(vectors), np.arange(4_000), 4_000 if subspace else 1)
    assert (space.basis is not None) == subspace
    bounds = space.coordinates(vectors[::5]) @ space.coordinates(vectors).T + space.error(1_200)
    assert (bounds >= vectors[::5].astype(float) @ vectors.T.astype(float)).all()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(0, 120),
    k=st.integers(0, 130),
    dimension=st.sampled_from([1, 2, 7, 40]),
)
def test_any_batch_is_brute_force(seed: int, count: int, k: int, dimension: int, request: Any) -> None:
    random = np.random.default_rng(seed)
    vectors = unit(random.standard_normal((count + 1, dimension)))[random.integers(0, count // 2 + 1, count + 1)]
    ids = np.flatnonzero(random.random(count + 1) < 0.7)
    queries = np.concatenate([vectors[:5], unit(random.standard_normal((PAYS_FROM, dimension)))])
    without = [np.unique(random.integers(0, count + 1, 3)) for _ in queries] if seed % 2 else None
    distances, found = search_many(ArrayRows(vectors), ids, queries, k, without)
    truth = request.getfixturevalue("brute_force")(Int8Index(ArrayRows(vectors), ids)._metric, ids, vectors[ids])
    expected = truth.search(queries, k, None, without)
    assert found.tolist() == expected[1]
    assert distances.tolist() == expected[0]


def test_a_query_that_is_not_of_unit_length_keeps_the_proof() -> None:
    vectors = mixed(3_000, 64, 40, 0.2)
    queries = 40 * vectors[:50]
    index = Int8Index(ArrayRows(vectors), np.arange(3_000))
    together = index.search(queries, 20)[1]
    alone = np.concatenate([index.search(query[None], 20)[1] for query in queries])
    products = queries.astype(float) @ vectors.T.astype(float)
    expected = np.argsort(-products, axis=1, kind="stable")[:, :20]
    assert np.array_equal(together, expected)
    assert np.array_equal(alone, expected)


@pytest.mark.slow
def test_a_last_candidate_that_is_left_out_proves_nothing() -> None:
    vectors, ids = mixed(1_500, 1_200, 120, 0.15), np.arange(1_500)
    queries = unit(np.random.default_rng(5).standard_normal((1_500, 1_200)))  # whose bounds are loose
    subspace = cosine_batch._Subspace.of(ArrayRows(vectors), ids, len(queries))
    assert subspace.basis is not None
    bounds = subspace.coordinates(queries) @ subspace.coordinates(vectors).T
    last = np.argsort(-bounds, axis=1)[:, 1 + cosine_batch._SPARE]  # where one is wanted and one left out
    found = search_many(ArrayRows(vectors), ids, queries, 1, list(last[:, None]))[1]
    cosines = queries.astype(float) @ vectors.T.astype(float)
    np.put_along_axis(cosines, last[:, None], -2, axis=1)
    assert np.array_equal(found[:, 0], cosines.argmax(axis=1))
