from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from retrieval.index import Cosine, build_index, metric_named
from retrieval.index import embedding as embedding_module
from retrieval.index.embedding import EmbeddingIndex

Array = NDArray[Any]


def unit(rows: Array) -> Array:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def gallery(count: int, dimension: int = 16, seed: int = 0) -> Array:
    return unit(np.random.default_rng(seed).standard_normal((count, dimension)))


def brute_force(queries: Array, vectors: Array, k: int, allowed: Array | None = None) -> tuple[Array, Array]:
    """Every distance in double precision, ordered by distance and then by row; the rest is inf and -1."""
    distances = np.full((len(queries), k), np.inf)
    rows = np.full((len(queries), k), -1)
    for at, query in enumerate(queries):
        all_distances = np.array([1 - sum(float(a) * float(b) for a, b in zip(query, v, strict=True)) for v in vectors])
        order = [row for row in np.lexsort((np.arange(len(vectors)), all_distances)) if allowed is None or allowed[row]]
        order = order[:k]
        distances[at, : len(order)], rows[at, : len(order)] = all_distances[order], order
    return distances, rows


def ids_of(vectors: Array) -> Array:
    return np.arange(len(vectors), dtype=np.int64)


# Exact


def test_the_exact_tier_is_brute_force() -> None:
    vectors, queries = gallery(300), gallery(9, seed=1)
    index = EmbeddingIndex(vectors, ids_of(vectors))
    assert index.description == "exact"
    distances, rows = index.search(queries, 12)
    expected_distances, expected_rows = brute_force(queries, vectors, 12)
    assert np.array_equal(rows, expected_rows)
    assert np.allclose(distances, expected_distances, atol=1e-12)


def test_one_query_alone_and_among_many_gets_the_same_answer_to_the_bit() -> None:
    vectors, queries = gallery(500), gallery(40, seed=2)
    index = EmbeddingIndex(vectors, ids_of(vectors))
    together = index.search(queries, 20)
    for at in range(len(queries)):
        alone = index.search(queries[at : at + 1], 20)
        assert np.array_equal(alone[0][0], together[0][at])
        assert np.array_equal(alone[1][0], together[1][at])


def test_equal_distances_are_ordered_by_row_however_many_there_are() -> None:
    vectors = np.repeat(gallery(3), [5, 200, 5], axis=0)[np.random.default_rng(3).permutation(210)]
    index = EmbeddingIndex(vectors, ids_of(vectors))
    queries = gallery(3)
    for k in (1, 3, 40, 150, 210):
        assert np.array_equal(index.search(queries, k)[1], brute_force(queries, vectors, k)[1])


def test_distances_too_near_for_single_precision_are_told_apart() -> None:
    base = gallery(1, 64)[0].astype(np.float64)
    noise = np.random.default_rng(4).standard_normal((200, 64))
    vectors = unit(base + 1e-5 * noise)
    index = EmbeddingIndex(vectors, ids_of(vectors))
    query = unit(base[None])
    assert np.array_equal(index.search(query, 25)[1], brute_force(query, vectors, 25)[1])


def test_fewer_rows_than_asked_for_leave_inf_and_minus_one() -> None:
    vectors = gallery(3)
    distances, rows = EmbeddingIndex(vectors, ids_of(vectors)).search(gallery(2, seed=5), 7)
    assert distances.shape == rows.shape == (2, 7)
    assert np.isinf(distances[:, 3:]).all()
    assert (rows[:, 3:] == -1).all()
    assert sorted(rows[0, :3].tolist()) == [0, 1, 2]


def test_nothing_to_search_gives_nothing() -> None:
    empty = np.empty((0, 16), np.float32)
    distances, rows = EmbeddingIndex(empty, ids_of(empty)).search(gallery(1), 3)
    assert np.isinf(distances).all()
    assert (rows == -1).all()
    vectors = gallery(5)
    nothing = np.zeros(5, bool)
    assert (EmbeddingIndex(vectors, ids_of(vectors)).search(gallery(1), 3, nothing)[1] == -1).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 80), st.integers(1, 90), st.floats(0, 1))
def test_any_filter_any_k_is_brute_force(seed: int, count: int, k: int, share: float) -> None:
    random = np.random.default_rng(seed)
    vectors = gallery(max(1, count // 2), 6, seed)[random.integers(0, max(1, count // 2), count)]  # with duplicates
    allowed = random.random(count) < share
    queries = np.concatenate([gallery(2, 6, seed + 1), vectors[:1]])
    _, rows = EmbeddingIndex(vectors, ids_of(vectors)).search(queries, k, allowed)
    assert np.array_equal(rows, brute_force(queries, vectors, k, allowed)[1])


def test_a_memory_mapped_gallery_serves(tmp_path: Path) -> None:
    vectors = gallery(50)
    vectors.tofile(tmp_path / "v")
    mapped = np.memmap(tmp_path / "v", np.float32, "r", shape=vectors.shape)
    assert EmbeddingIndex(mapped, ids_of(vectors)).search(vectors[7:8], 1)[1].tolist() == [[7]]


# Approximate tiers, with thresholds small enough for a test


def clustered(count: int, dimension: int = 32, seed: int = 0) -> Array:
    random = np.random.default_rng(seed)
    centres = random.standard_normal((40, dimension))
    return unit(centres[random.integers(0, 40, count)] + 0.5 * random.standard_normal((count, dimension)))


def graph(vectors: Array, ids: Array, folder: Path | None = None) -> EmbeddingIndex:
    return EmbeddingIndex(vectors, ids, folder, "s", exact_up_to=500)


def inverted(vectors: Array, ids: Array, folder: Path | None = None) -> EmbeddingIndex:
    return EmbeddingIndex(vectors, ids, folder, "s", exact_up_to=500, hnsw_up_to=1000)


TIERS = {"HNSW32": graph, "IVF": inverted}


def recall(found: Array, true: Array) -> float:
    return float(np.mean([len(set(f) & set(t)) / len(t) for f, t in zip(found.tolist(), true.tolist(), strict=True)]))


def nearest(queries: Array, vectors: Array, k: int) -> Array:
    products = queries.astype(np.float64) @ vectors.astype(np.float64).T
    return np.argsort(-products, axis=1, kind="stable")[:, :k]


def age(folder: Path) -> None:
    """Give what is kept a date that nothing written from now on has."""
    for file in folder.iterdir():
        os.utime(file, (0, 0))


def aged(folder: Path) -> bool:
    """Whether nothing was built and kept since."""
    return {file.stat().st_mtime for file in folder.iterdir()} == {0}


@pytest.fixture(scope="module")
def many() -> Array:
    return clustered(5_200)


@pytest.fixture(scope="module")
def kept(many: Array, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the index of each tier over all of `many`; copy it before changing it."""
    folder = tmp_path_factory.mktemp("index")
    for make in TIERS.values():
        make(many, ids_of(many), folder)
    age(folder)
    return folder


@pytest.mark.parametrize("tier", sorted(TIERS))
def test_approximate_tiers_find_nearly_all_and_rank_them_exactly(tier: str, many: Array, kept: Path) -> None:
    index = TIERS[tier](many, ids_of(many), kept)
    assert index.description.startswith(tier)
    assert aged(kept)
    queries = clustered(50, seed=9)
    distances, rows = index.search(queries, 10)
    assert recall(rows, nearest(queries, many, 10)) >= 0.97
    assert (np.diff(distances, axis=1) >= 0).all()
    assert np.allclose(distances[0], 1 - many[rows[0]].astype(np.float64) @ queries[0].astype(np.float64), atol=1e-12)


@pytest.mark.parametrize("tier", sorted(TIERS))
@pytest.mark.parametrize("exactly_below", [0, 20_000])
def test_filters_hold_in_approximate_tiers(
    tier: str, exactly_below: int, many: Array, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_module, "FILTER_COMPARES_UP_TO", exactly_below)
    allowed = ids_of(many) % 3 == 1
    queries = clustered(20, seed=9)
    _, rows = TIERS[tier](many, ids_of(many), kept).search(queries, 10, allowed)
    assert (rows % 3 == 1).all()
    passing = np.flatnonzero(allowed)
    assert recall(rows, passing[nearest(queries, many[passing], 10)]) >= 0.95


def test_only_finished_indexes_lie_in_the_folder(kept: Path) -> None:
    assert sorted(path.suffix for path in kept.iterdir()) == [".faiss", ".faiss"]


@pytest.mark.parametrize("damage", ["gone", "empty", "text", "cut off", "another dimension", "another kind"])
def test_an_index_that_is_missing_or_damaged_is_built_again(
    damage: str, many: Array, kept: Path, tmp_path: Path
) -> None:
    file = tmp_path / "s.HNSW32.faiss"
    shutil.copy(kept / file.name, file)
    data = file.read_bytes()
    if damage == "gone":
        file.unlink()
    elif damage == "another dimension":
        wrong = faiss.IndexIDMap(faiss.index_factory(8, "HNSW32", faiss.METRIC_INNER_PRODUCT))
        wrong.add_with_ids(gallery(10, 8), np.arange(10))
        faiss.write_index(wrong, str(file))
    elif damage == "another kind":
        faiss.write_index(faiss.IndexFlatIP(32), str(file))
    else:
        file.write_bytes({"empty": b"", "text": b"no index " * 1000, "cut off": data[: len(data) // 2]}[damage])
    age(tmp_path)
    index = graph(many, ids_of(many), tmp_path)
    assert not aged(tmp_path)
    assert index.search(many[5:6], 1)[1].tolist() == [[5]]
    age(tmp_path)
    graph(many, ids_of(many), tmp_path)
    assert aged(tmp_path)


@pytest.mark.parametrize("tier", sorted(TIERS))
def test_new_vectors_are_found_through_an_older_index(tier: str, many: Array, tmp_path: Path) -> None:
    make = TIERS[tier]
    make(many[:4_700], ids_of(many[:4_700]), tmp_path)
    age(tmp_path)
    index = make(many, ids_of(many), tmp_path)
    assert aged(tmp_path)
    for row in (3, 4_699, 4_700, 5_199):
        assert index.search(many[row : row + 1], 1)[1].tolist() == [[row]]


def test_too_many_new_vectors_have_the_index_built_again(many: Array, tmp_path: Path) -> None:
    graph(many[:4_000], ids_of(many[:4_000]), tmp_path)
    age(tmp_path)
    graph(many, ids_of(many), tmp_path)
    assert not aged(tmp_path)


@pytest.mark.parametrize("tier", sorted(TIERS))
def test_removed_ids_never_come_back_from_an_older_index(tier: str, many: Array, kept: Path) -> None:
    left = np.flatnonzero((ids_of(many) % 8 != 1) & (ids_of(many) < 5_000)).astype(np.int64)
    index = TIERS[tier](many[left], left, kept)
    assert aged(kept)
    queries = many[1:1600:8]  # all of them removed
    _, rows = index.search(queries, 10)
    assert rows.min() >= 0
    assert rows.max() < len(left)
    assert recall(rows, nearest(queries, many[left], 10)) >= 0.95


def test_a_folder_that_cannot_be_written_costs_no_answer(many: Array, tmp_path: Path) -> None:
    (tmp_path / "index").write_text("a file where the folder should be")
    index = graph(many, ids_of(many), tmp_path / "index")
    assert index.search(many[5:6], 1)[1].tolist() == [[5]]


# The distance


def test_cosine_distance_by_hand() -> None:
    queries = np.array([[1, 0], [0.6, 0.8]], np.float32)
    vectors = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    distances = Cosine().distances(queries, vectors)
    assert np.allclose(distances, [[0, 1, 2], [0.4, 0.2, 1.6]], atol=1e-7)
    assert np.allclose(Cosine().scores(distances), [[1, 0, -1], [0.6, 0.8, -0.6]], atol=1e-7)


def test_a_pairs_distance_does_not_depend_on_its_company() -> None:
    vectors, queries = gallery(3000, 37), gallery(5, 37, seed=1)
    together = Cosine().distances(queries, vectors)
    for q, row in ((0, 0), (4, 1023), (2, 1024), (3, 2999)):
        assert together[q, row] == Cosine().distances(queries[q : q + 1], vectors[row : row + 1])[0, 0]


def test_the_metric_of_a_space_is_found_by_name() -> None:
    assert metric_named("cosine").name == "cosine"
    vectors = gallery(4)
    assert build_index(Cosine(), vectors, ids_of(vectors), None, "s").search(vectors[2:3], 1)[1].tolist() == [[2]]


def test_the_recall_that_is_shown_is_one_where_every_vector_is_compared_and_measured_elsewhere() -> None:
    vectors = np.random.default_rng(3).normal(size=(3000, 24)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = np.arange(3000)
    assert EmbeddingIndex(vectors, ids).recall_at(10) == 1.0
    graph = EmbeddingIndex(vectors, ids, exact_up_to=100)
    shown = graph.recall_at(10, sample=40)
    chosen = np.sort(np.random.default_rng(0).choice(3000, 40, replace=False))
    true = np.argsort(-(vectors[chosen].astype(float) @ vectors.T.astype(float)), axis=1)[:, 1:11]
    _, rows = graph.search(vectors[chosen], 11)
    found = np.mean([len(set(a) & set(b[b != own])) / 10 for a, b, own in zip(true, rows, chosen, strict=True)])
    assert shown == pytest.approx(found)
    assert 0.8 < shown <= 1.0
