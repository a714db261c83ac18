"""The exact index of embeddings: its proofs hold where coding loses most."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.filters import Selection
from retrieval.index import Cosine, build_index
from retrieval.index.int8_scan import Int8Index
from retrieval.index.rows import ArrayRows

Array = NDArray[Any]


def unit(rows: Array) -> Array:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def gallery(count: int, dimension: int = 16, seed: int = 0) -> Array:
    return unit(np.random.default_rng(seed).standard_normal((count, dimension)))


def index_of(vectors: Array) -> Int8Index:
    return Int8Index(ArrayRows(vectors), np.arange(len(vectors)))


def by_double_precision(queries: Array, vectors: Array, k: int) -> Array:
    products = [[sum(float(a) * float(b) for a, b in zip(query, v, strict=True)) for v in vectors] for query in queries]
    return np.argsort(-np.array(products), axis=1, kind="stable")[:, :k]


def test_every_vector_is_compared() -> None:
    vectors, queries = gallery(300), gallery(9, seed=1)
    index = index_of(vectors)
    assert index.description == "exact"
    assert index.recall_at(10) == 1.0
    distances, ids = index.search(queries, 12)
    assert np.array_equal(ids, by_double_precision(queries, vectors, 12))
    assert np.array_equal(distances[0], np.sort(Cosine().distances(queries[:1], vectors)[0])[:12])


def test_equal_distances_are_ordered_by_id_however_many_there_are() -> None:
    vectors = np.repeat(gallery(3), [5, 200, 5], axis=0)[np.random.default_rng(3).permutation(210)]
    index = index_of(vectors)
    queries = gallery(3)
    for k in (1, 3, 40, 150, 210):
        assert np.array_equal(index.search(queries, k)[1], by_double_precision(queries, vectors, k))


def test_distances_too_near_for_single_precision_are_told_apart() -> None:
    base = gallery(1, 64)[0].astype(np.float64)
    vectors = unit(base + 1e-5 * np.random.default_rng(4).standard_normal((200, 64)))
    index = index_of(vectors)
    query = unit(base[None])
    assert np.array_equal(index.search(query, 25)[1], by_double_precision(query, vectors, 25))


@pytest.mark.parametrize("seed", range(6))
def test_added_vectors_of_another_scale_keep_the_proof(seed: int) -> None:
    random = np.random.default_rng(seed)
    flat = unit(1 + 0.1 * random.standard_normal((400, 64)))
    spiked = unit(0.02 * random.standard_normal((200, 64)) + np.eye(64)[random.integers(0, 64, 200)])
    vectors = np.concatenate([flat, spiked])
    rows = ArrayRows(vectors)
    index = Int8Index(rows, np.arange(400))
    for start in range(400, 600, 10):
        index.add(np.arange(start, start + 10), vectors[start : start + 10])
    queries = np.concatenate([vectors[::50], unit(vectors[:5] + vectors[-5:])])
    assert np.array_equal(index.search(queries, 15)[1], by_double_precision(queries, vectors, 15))


def test_a_vector_of_length_one_never_has_a_distance_below_0() -> None:
    vectors = gallery(200, 999)
    assert (index_of(vectors).search(vectors, 1)[0] >= 0).all()


@pytest.mark.parametrize("included", [0, 3, 300, 700])
@pytest.mark.parametrize("excluded", [0, 3, 500])
def test_selections_of_any_size(included: int, excluded: int) -> None:
    vectors, random = gallery(800), np.random.default_rng(0)
    ids = np.arange(800)
    chosen = np.sort(random.choice(ids, included, replace=False)) if included else None
    selection = Selection(ids, chosen, np.sort(random.choice(ids, excluded, replace=False)))
    _, found = index_of(vectors).search(vectors[:4], 10, selection)
    for at in range(4):
        order = [i for i in by_double_precision(vectors[at : at + 1], vectors, 800)[0].tolist() if i in selection.ids]
        assert found[at].tolist() == (order[:10] + [-1] * 10)[:10]


def test_a_memory_mapped_gallery_serves(tmp_path: Path) -> None:
    vectors = gallery(50)
    vectors.tofile(tmp_path / "v")
    mapped = np.memmap(tmp_path / "v", np.float32, "r", shape=vectors.shape)
    index = build_index(Cosine(), ArrayRows(mapped), np.arange(50))
    assert isinstance(index, Int8Index)
    assert index.search(vectors[7:8], 1)[1].tolist() == [[7]]


def test_cosine_distance_by_hand() -> None:
    queries = np.array([[1, 0], [0.6, 0.8]], np.float32)
    vectors = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    distances = Cosine().distances(queries, vectors)
    assert np.allclose(distances, [[0, 1, 2], [0.4, 0.2, 1.6]], atol=1e-7)
    assert np.allclose(Cosine().scores(distances), [[1, 0, -1], [0.6, 0.8, -0.6]], atol=1e-7)


@pytest.mark.parametrize("dimension", [1, 2, 37, 1280, 10_000])
def test_a_pairs_distance_does_not_depend_on_its_company(dimension: int) -> None:
    vectors, queries = gallery(1100, dimension), gallery(5, dimension, seed=1)
    together = Cosine().distances(queries, vectors)
    for q, row in ((0, 0), (4, 1023), (2, 1024), (3, 1099)):
        assert together[q, row] == Cosine().distances(queries[q : q + 1], vectors[row : row + 1])[0, 0]
    pairs = Cosine().pair_distances(np.repeat(queries, 40, axis=0), np.tile(vectors[:40], (5, 1)))
    assert np.array_equal(pairs, together[:, :40].ravel())
