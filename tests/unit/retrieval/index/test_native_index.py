from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.descriptors import DESCRIPTORS
from retrieval.index.native import NativeIndex, native_index, nearest
from retrieval.index.proposed import ProposedIndex

NAMES = list(DESCRIPTORS)
SHARED = Path(__file__).resolve().parents[4] / ".." / "shared" / "data"


def ranked(distances, k, allowed=None):
    """The answer by the plainest means: sort everything by distance, then by row."""
    rows = np.arange(len(distances)) if allowed is None else np.flatnonzero(allowed)
    order = sorted(rows.tolist(), key=lambda row: (distances[row], row))[:k]
    missing = k - len(order)
    return [distances[row] for row in order] + [np.inf] * missing, order + [-1] * missing


def vectors_with_ties(name, count, seed):
    random = np.random.default_rng(seed)
    descriptor = DESCRIPTORS[name]
    few = random.integers(0, descriptor.metric.levels or 12, (max(count // 3, 1), descriptor.length))
    return few[random.integers(0, len(few), count)].astype(descriptor.dtype)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_nearest_are_those_of_a_full_sort_with_ties_by_row(name, data):
    n, k = data.draw(st.integers(0, 300)), data.draw(st.integers(0, 40))
    vectors = vectors_with_ties(name, n, data.draw(st.integers(0, 99)))
    queries = vectors_with_ties(name, 3, data.draw(st.integers(0, 99)))
    share = data.draw(st.sampled_from([None, 0.0, 0.1, 0.9, 1.0]))
    allowed = None if share is None else np.random.default_rng(n).random(n) < share
    metric = DESCRIPTORS[name].metric
    distances, rows = NativeIndex(metric, vectors).search(queries, k, allowed)
    assert distances.shape == rows.shape == (3, k)
    for at, row in enumerate(metric.distances(queries, vectors)):
        expected, order = ranked(row, k, allowed)
        assert rows[at].tolist() == order
        assert distances[at].tolist() == expected


def test_many_queries_at_once_are_answered_in_blocks(monkeypatch):
    monkeypatch.setattr("retrieval.index.native._DISTANCES_AT_ONCE", 64)
    index = NativeIndex(DESCRIPTORS["ColorLayout"].metric, vectors_with_ties("ColorLayout", 30, 1))
    queries = vectors_with_ties("ColorLayout", 11, 2)
    together = index.search(queries, 5)
    for at in range(11):
        alone = index.search(queries[at : at + 1], 5)
        assert alone[0][0].tolist() == together[0][at].tolist()
        assert alone[1][0].tolist() == together[1][at].tolist()


def test_nearest_of_equal_distances_is_by_place():
    assert nearest(np.array([2.0, 1.0, 2.0, 1.0, 0.0]), 4).tolist() == [4, 1, 3, 0]
    assert nearest(np.array([2.0]), 0).tolist() == []
    assert nearest(np.empty(0), 3).tolist() == []


@pytest.mark.parametrize("name", NAMES)
def test_the_order_over_real_descriptors_is_the_full_sort(name):
    folder = SHARED / "kvasir-v2-subset-features"
    if not folder.exists():
        pytest.skip("needs ../shared/data/kvasir-v2-subset-features")
    vectors = []
    for file in sorted(folder.glob("*/*.features")):
        line = next(line for line in file.read_text().splitlines() if line.startswith(f"{name}:"))
        vectors.append(np.array(line.split(":")[1].split(","), dtype=DESCRIPTORS[name].dtype))
    gallery, metric = np.array(vectors), DESCRIPTORS[name].metric
    distances, rows = NativeIndex(metric, gallery).search(gallery[::40], 50)
    for at, row in enumerate(metric.distances(gallery[::40], gallery)):
        expected, order = ranked(row, 50)
        assert rows[at].tolist() == order
        assert distances[at].tolist() == expected


def many(name, count=24_000):
    """Vectors in clusters, as pictures of one kind are."""
    random = np.random.default_rng(5)
    descriptor = DESCRIPTORS[name]
    levels = descriptor.metric.levels or 200
    centres = random.integers(0, levels, (300, descriptor.length))
    noise = random.integers(-1, 2, (count, descriptor.length))
    return (centres[random.integers(0, 300, count)] + noise).clip(0, levels - 1).astype(descriptor.dtype)


@pytest.mark.parametrize("name", ["Tamura", "ColorLayout", "EdgeHistogram"])
def test_proposals_are_ranked_by_the_native_distance(name):
    vectors, metric = many(name), DESCRIPTORS[name].metric
    index = ProposedIndex(metric, vectors, np.arange(len(vectors)))
    distances, rows = index.search(vectors[:5], 10)
    assert rows[:, 0].tolist() == [0, 1, 2, 3, 4]
    for at in range(5):
        native = metric.distances(vectors[at : at + 1], vectors[rows[at]])[0]
        assert distances[at].tolist() == native.tolist() == sorted(native.tolist())
    assert index.recall_at(10, sample=40) > 0.9
    assert index.recall_at(10, sample=40) == index.recall_at(10, sample=40)


def test_recall_counts_what_the_lists_leave_out():
    vectors = np.random.default_rng(0).integers(0, 8, (24_000, 80)).astype(np.float32)  # no clusters at all
    index = ProposedIndex(DESCRIPTORS["EdgeHistogram"].metric, vectors, np.arange(24_000))
    assert index._lists > index._faiss.nlist // 4
    assert index.recall_at(10, sample=30) > 0.95
    index._lists = index._faiss.nlist // 16
    assert 0.05 < index.recall_at(10, sample=30) < 0.95
    assert NativeIndex(DESCRIPTORS["EdgeHistogram"].metric, vectors).recall_at(10) == 1


def test_proposals_keep_to_what_is_allowed():
    vectors, metric = many("Tamura"), DESCRIPTORS["Tamura"].metric
    index = ProposedIndex(metric, vectors, np.arange(len(vectors)))
    wide = np.arange(len(vectors)) % 8 != 0
    assert (index.search(vectors[:8], 20, wide)[1] % 8 != 0).all()
    narrow = np.arange(len(vectors)) % 4 == 1
    exact = NativeIndex(metric, vectors).search(vectors[:3], 20, narrow)
    assert index.search(vectors[:3], 20, narrow)[1].tolist() == exact[1].tolist()


def test_more_than_the_lists_hold_is_answered_in_full():
    vectors, metric = many("Tamura"), DESCRIPTORS["Tamura"].metric
    index = ProposedIndex(metric, vectors, np.arange(len(vectors)))
    index._lists = 1
    exact = NativeIndex(metric, vectors).search(vectors[:1], 5000)
    assert index.search(vectors[:1], 5000)[1].tolist() == exact[1].tolist()


def test_an_inverted_file_is_kept_and_made_anew_where_it_is_of_no_use(tmp_path):
    vectors, metric = many("Tamura"), DESCRIPTORS["Tamura"].metric
    ids = np.arange(len(vectors)) * 2

    def opened(ids=ids):
        """The index, and whether its file was written."""
        before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("index/*")}
        index = ProposedIndex(metric, vectors, ids, tmp_path / "index", "Tamura")
        return index, before != {file: file.stat().st_mtime_ns for file in tmp_path.glob("index/*")}

    (first, first_written), (second, second_written) = opened(), opened()
    assert (first_written, second_written) == (True, False)
    assert first.description == second.description
    assert first.search(vectors[:3], 9)[1].tolist() == second.search(vectors[:3], 9)[1].tolist()
    assert opened(ids + 1)[1]
    assert opened()[1]  # only one is kept
    (file,) = (tmp_path / "index").iterdir()
    file.write_bytes(file.read_bytes()[:1000])
    assert opened()[1]
    assert not opened()[1]


def test_an_inverted_file_that_cannot_be_kept_costs_no_answer(tmp_path, caplog):
    (tmp_path / "index").write_text("a file where the folder should be")
    vectors, metric = many("Tamura"), DESCRIPTORS["Tamura"].metric
    index = ProposedIndex(metric, vectors, np.arange(len(vectors)), tmp_path / "index", "Tamura")
    assert index.search(vectors[:1], 1)[1].tolist() == [[0]]
    assert "cannot be kept" in caplog.text


def test_only_large_galleries_get_proposals(monkeypatch):
    vectors, metric = many("Tamura"), DESCRIPTORS["Tamura"].metric
    assert isinstance(native_index(metric, vectors, np.arange(len(vectors))), NativeIndex)
    monkeypatch.setattr("retrieval.index.native.EXACT_UP_TO", 20_000)
    assert isinstance(native_index(metric, vectors, np.arange(len(vectors))), ProposedIndex)
