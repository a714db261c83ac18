from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.filters import Selection
from retrieval.index import approximate
from retrieval.index.faiss_index import FaissIndex
from retrieval.index.rows import ArrayRows

Array = NDArray[Any]


def unit(rows: Array) -> Array:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def gallery(count: int, dimension: int = 16, seed: int = 0) -> Array:
    return unit(np.random.default_rng(seed).standard_normal((count, dimension)))


def ids_of(vectors: Array) -> Array:
    return np.arange(len(vectors), dtype=np.int64)


def clustered(count: int, dimension: int = 32, seed: int = 0) -> Array:
    random = np.random.default_rng(seed)
    centres = random.standard_normal((40, dimension))
    return unit(centres[random.integers(0, 40, count)] + 0.5 * random.standard_normal((count, dimension)))


def graph(vectors: Array, ids: Array, folder: Path | None = None, compare_up_to: int = 0) -> FaissIndex:
    return FaissIndex(ArrayRows(vectors), ids, folder, compare_up_to=compare_up_to)


def inverted(vectors: Array, ids: Array, folder: Path | None = None, compare_up_to: int = 0) -> FaissIndex:
    return FaissIndex(ArrayRows(vectors), ids, folder, hnsw_up_to=1000, compare_up_to=compare_up_to)


TIERS = {"HNSW32": graph, "IVF": inverted}


def recall(found: Array, true: Array) -> float:
    return float(np.mean([len(set(f) & set(t)) / len(t) for f, t in zip(found.tolist(), true.tolist(), strict=True)]))


def nearest(queries: Array, vectors: Array, k: int) -> Array:
    products = queries.astype(np.float64) @ vectors.astype(np.float64).T
    return np.argsort(-products, axis=1, kind="stable")[:, :k]


def age(folder: Path) -> None:
    """Give stored indexes a date that nothing written from now on has."""
    for file in folder.rglob("*.faiss"):
        os.utime(file, (0, 0))


def aged(folder: Path) -> bool:
    """Whether nothing was built and stored since."""
    return {file.stat().st_mtime for file in folder.rglob("*.faiss")} == {0}


@pytest.fixture(scope="module")
def many() -> Array:
    return clustered(5_200)


@pytest.fixture(scope="module")
def stored(many: Array, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each tier with its index over all of `many`; copy it before changing it."""
    folder = tmp_path_factory.mktemp("index")
    for tier, make in TIERS.items():
        make(many, ids_of(many), folder / tier)
    age(folder)
    return folder


@pytest.mark.parametrize("tier", sorted(TIERS))
def test_approximate_tiers_find_nearly_all_and_rank_them_exactly(tier: str, many: Array, stored: Path) -> None:
    index = TIERS[tier](many, ids_of(many), stored / tier)
    assert index.description.startswith(tier)
    assert aged(stored)
    queries = clustered(50, seed=9)
    distances, rows = index.search(queries, 10)
    assert recall(rows, nearest(queries, many, 10)) >= 0.97
    assert (np.diff(distances, axis=1) >= 0).all()
    assert np.allclose(distances[0], 1 - many[rows[0]].astype(np.float64) @ queries[0].astype(np.float64), atol=1e-12)


@pytest.mark.parametrize("tier", sorted(TIERS))
@pytest.mark.parametrize("compare_up_to", [0, 20_000])
def test_selections_hold_in_approximate_tiers(tier: str, compare_up_to: int, many: Array, stored: Path) -> None:
    index = TIERS[tier](many, ids_of(many), stored / tier, compare_up_to)
    passing = np.flatnonzero(ids_of(many) % 3 == 1)
    queries = clustered(20, seed=9)
    _, rows = index.search(queries, 10, Selection(ids_of(many), passing))
    assert (rows % 3 == 1).all()
    assert recall(rows, passing[nearest(queries, many[passing], 10)]) >= 0.95


def test_only_finished_indexes_lie_in_the_folder(stored: Path) -> None:
    names = sorted(path.name for path in stored.glob("*/*") if path.name != "writer.lock")
    assert names == ["HNSW32.faiss", "IVF256,PQ16x4fs.faiss"]


@pytest.mark.parametrize("damage", ["gone", "empty", "text", "cut off", "another dimension", "another kind"])
def test_an_index_that_is_missing_or_damaged_is_built_again(
    damage: str, many: Array, stored: Path, tmp_path: Path
) -> None:
    file = tmp_path / "HNSW32.faiss"
    shutil.copy(stored / "HNSW32" / file.name, file)
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
def test_removed_ids_never_come_back_from_an_older_index(tier: str, many: Array, stored: Path) -> None:
    left = np.flatnonzero((ids_of(many) % 8 != 1) & (ids_of(many) < 5_000)).astype(np.int64)
    index = TIERS[tier](many, left, stored / tier)
    assert aged(stored)
    queries = many[1:1600:8]  # all of them removed
    _, rows = index.search(queries, 10)
    assert rows.min() >= 0
    assert np.isin(rows, left).all()
    assert recall(rows, left[nearest(queries, many[left], 10)]) >= 0.95


def test_a_folder_that_cannot_be_written_costs_no_answer(many: Array, tmp_path: Path) -> None:
    (tmp_path / "index").write_text("a file where the folder should be")
    index = graph(many, ids_of(many), tmp_path / "index")
    assert index.search(many[5:6], 1)[1].tolist() == [[5]]


def test_the_recall_that_is_shown_is_measured() -> None:
    vectors = unit(np.random.default_rng(3).normal(size=(3000, 24)))
    index = graph(vectors, np.arange(3000))
    shown = index.recall_at(10, sample=40)
    chosen = np.sort(np.random.default_rng(0).choice(3000, 40, replace=False))
    true = np.argsort(-(vectors[chosen].astype(float) @ vectors.T.astype(float)), axis=1)[:, 1:11]
    _, rows = index.search(vectors[chosen], 11)
    found = np.mean([len(set(a) & set(b[b != own])) / 10 for a, b, own in zip(true, rows, chosen, strict=True)])
    assert shown == pytest.approx(found)
    assert 0.8 < shown <= 1.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dimension", "name"),
    [
        (1, "IVF128,SQ8"),
        (2, "IVF128,SQ8"),
        (7, "IVF128,SQ8"),
        (37, "IVF128,PQ18x4fs"),
        (64, "IVF128,PQ32x4fs"),
        (269, "IVF128,PQ128x4fs"),
    ],
)
def test_an_inverted_file_serves_any_dimension_prime_ones_too(dimension: int, name: str, tmp_path: Path) -> None:
    vectors = clustered(1_500, dimension)
    index = inverted(vectors, ids_of(vectors), tmp_path)
    assert index.description == name
    assert index.recall_at(10, sample=50) > 0.97
    queries = clustered(5, dimension, seed=1)
    distances, ids = index.search(queries, 5)
    assert np.array_equal(index.distances(queries, ids[0])[0], distances[0])


def test_how_many_lists_are_probed_is_measured_and_stored(many: Array, tmp_path: Path) -> None:
    def probes(index: FaissIndex) -> int:
        return int(approximate.inverted_file(index._state.proposing).nprobe)

    spread = unit(np.random.default_rng(8).standard_normal((5_200, 32)))
    clustered_probes = probes(inverted(many, ids_of(many), tmp_path))
    assert probes(inverted(many, ids_of(many), tmp_path)) == clustered_probes
    assert 2 <= clustered_probes < probes(inverted(spread, ids_of(spread)))


def test_an_inverted_file_of_many_lists_has_the_recall_that_it_reports() -> None:
    """20,000 vectors of wide clusters, as an inverted file of 512 lists, through additions and removals."""
    random = np.random.default_rng(4)
    centres = random.standard_normal((100, 48))
    vectors = unit(centres[random.integers(0, 100, 24_000)] + random.standard_normal((24_000, 48)))
    first, queries = np.arange(20_000), vectors[23_900:]
    index = inverted(vectors, first)
    assert index.description == "IVF512,PQ24x4fs"

    def require_recall(present: Array) -> None:
        assert index.recall_at(20) >= 0.98
        assert recall(index.search(queries, 20)[1], present[nearest(queries, vectors[present], 20)]) >= 0.97

    require_recall(first)
    index.add(np.arange(20_000, 23_900), vectors[20_000:23_900])
    index.remove(np.arange(5_000))
    require_recall(np.arange(5_000, 23_900))


@pytest.mark.parametrize("tier", sorted(TIERS))
def test_what_is_added_and_removed_is_seen_at_once_and_stored_by_flush(tier: str, many: Array, tmp_path: Path) -> None:
    """Changes before and after `flush`, among them an image whose vector is replaced."""
    vectors = many.copy()
    index = TIERS[tier](vectors, ids_of(many[:3_000]), tmp_path)
    age(tmp_path)
    index.flush()
    assert aged(tmp_path)
    vectors[7] = -many[7]
    index.add(np.array([7]), vectors[[7]])
    index.add(np.arange(3_000, 4_500), vectors[3_000:4_500])
    index.remove(np.arange(0, 4_500, 5))
    present = np.delete(np.arange(4_500), np.arange(0, 4_500, 5))

    def require_current() -> None:
        queries = np.concatenate([vectors[[7, 3_001]], clustered(30, seed=9)])
        _, ids = index.search(queries, 10)
        assert ids[:2, 0].tolist() == [7, 3_001]
        assert np.isin(ids, present).all()
        assert recall(ids, present[nearest(queries, vectors[present], 10)]) >= 0.95
        assert index.search(many[[7]], 1)[1] != 7
        left_out = index.search(queries[:1], 10, Selection(present, None, np.array([7])))[1]
        assert 7 not in left_out[0]

    assert len(index) == len(present)
    require_current()
    assert aged(tmp_path)
    index.flush()
    assert not aged(tmp_path)
    require_current()
    age(tmp_path)
    again = TIERS[tier](vectors, present, tmp_path)
    assert aged(tmp_path)
    assert again.search(vectors[[7]], 1)[1].tolist() == [[7]]


@pytest.mark.parametrize("tier", sorted(TIERS))
def test_what_a_copy_has_stored_is_loaded_by_flush_and_not_built_again(tier: str, many: Array, tmp_path: Path) -> None:
    index = TIERS[tier](many, ids_of(many[:3_000]), tmp_path)
    later = index.copy()
    index.add(np.arange(3_000, 4_500), many[3_000:4_500])
    later.add(np.arange(3_000, 4_600), many[3_000:4_600])
    index.flush()
    age(tmp_path)
    later.flush()
    assert aged(tmp_path)
    assert len(later) == 4_600
    assert len(later._state.recent) == 100
    assert later.search(many[[3_700, 4_550]], 1)[1].tolist() == [[3_700], [4_550]]


@pytest.mark.parametrize("tier", sorted(TIERS))
def test_many_queries_get_what_each_gets_alone(tier: str, many: Array, stored: Path) -> None:
    index = TIERS[tier](many, ids_of(many), stored / tier)
    without = [np.array([at]) for at in range(40)]
    distances, ids = index.search(many[:40], 10, None, without)
    for at in range(40):
        alone = index.search(many[at : at + 1], 10, None, without[at : at + 1])
        assert ids[at].tolist() == alone[1][0].tolist()
        assert distances[at].tolist() == alone[0][0].tolist()
