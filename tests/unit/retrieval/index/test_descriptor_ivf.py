from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retrieval.descriptors import DESCRIPTORS
from retrieval.filters import Selection
from retrieval.index import build_index, is_exact
from retrieval.index.building import reported_to, stored_tuning
from retrieval.index.descriptor_ivf import DescriptorIVF, shape_of
from retrieval.index.descriptor_scan import DescriptorScan
from retrieval.index.neighbours import nearest
from retrieval.index.rows import ArrayRows

NAMES = list(DESCRIPTORS)
SHARED = Path(__file__).resolve().parents[4] / ".." / "shared" / "data"


def scan(metric, vectors):
    return DescriptorScan(metric, ArrayRows(vectors), np.arange(len(vectors)))


def inverted_file(metric, vectors, folder=None):
    index = DescriptorIVF(metric, ArrayRows(vectors), np.arange(len(vectors)), folder)
    index.flush()
    return index


def faiss_lists(index):
    return index._state.lists.inverted


def vectors_with_ties(name, count, seed):
    random = np.random.default_rng(seed)
    descriptor = DESCRIPTORS[name]
    few = random.integers(0, descriptor.metric.levels or 12, (max(count // 3, 1), descriptor.length))
    return few[random.integers(0, len(few), count)].astype(descriptor.dtype)


def test_many_queries_at_once_are_answered_in_blocks(monkeypatch):
    monkeypatch.setattr("retrieval.index.descriptor_scan._DISTANCES_AT_ONCE", 64)
    index = scan(DESCRIPTORS["ColorLayout"].metric, vectors_with_ties("ColorLayout", 30, 1))
    queries = vectors_with_ties("ColorLayout", 11, 2)
    together = index.search(queries, 5)
    for at in range(11):
        alone = index.search(queries[at : at + 1], 5)
        assert alone[0][0].tolist() == together[0][at].tolist()
        assert alone[1][0].tolist() == together[1][at].tolist()


def test_more_vectors_than_a_block_are_read_in_blocks(monkeypatch):
    vectors = vectors_with_ties("PHOG", 50, 3)
    whole = scan(DESCRIPTORS["PHOG"].metric, vectors).search(vectors[:4], 50)
    monkeypatch.setattr("retrieval.index.descriptor_scan.BLOCK", 16)
    blocks = scan(DESCRIPTORS["PHOG"].metric, vectors).search(vectors[:4], 50)
    assert whole[1].tolist() == blocks[1].tolist()
    assert whole[0].tolist() == blocks[0].tolist()


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
    distances, rows = scan(metric, gallery).search(gallery[::40], 50)
    for at, row in enumerate(metric.distances(gallery[::40], gallery)):
        order = sorted(range(len(row)), key=lambda place: (row[place], place))[:50]
        assert rows[at].tolist() == order
        assert distances[at].tolist() == row[order].tolist()


def many(name, count=24_000):
    """Vectors in clusters, as pictures of one kind are."""
    random = np.random.default_rng(5)
    descriptor = DESCRIPTORS[name]
    levels = descriptor.metric.levels or 200
    centres = random.integers(0, levels, (300, descriptor.length))
    noise = random.integers(-1, 2, (count, descriptor.length))
    return (centres[random.integers(0, 300, count)] + noise).clip(0, levels - 1).astype(descriptor.dtype)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Tamura", "ColorLayout", "EdgeHistogram"])
def test_proposals_are_ranked_by_the_native_distance(name):
    vectors, metric = many(name), DESCRIPTORS[name].metric
    index = inverted_file(metric, vectors)
    distances, rows = index.search(vectors[:5], 10)
    assert rows[:, 0].tolist() == [0, 1, 2, 3, 4]
    for at in range(5):
        native = metric.distances(vectors[at : at + 1], vectors[rows[at]])[0]
        assert distances[at].tolist() == native.tolist() == sorted(native.tolist())
    assert index.recall_at(10, sample=40) > 0.9
    assert index.recall_at(10, sample=40) == index.recall_at(10, sample=40)


def test_recall_counts_what_the_lists_leave_out():
    vectors = np.random.default_rng(0).integers(0, 8, (24_000, 80)).astype(np.float32)  # no clusters at all
    index = inverted_file(DESCRIPTORS["EdgeHistogram"].metric, vectors)
    lists = faiss_lists(index)
    assert lists.nprobe > lists.nlist // 4
    assert index.recall_at(10, sample=30) > 0.95
    lists.nprobe = lists.nlist // 16
    assert 0.05 < index.recall_at(10, sample=30) < 0.95
    assert scan(DESCRIPTORS["EdgeHistogram"].metric, vectors).recall_at(10) == 1


def test_proposals_keep_to_what_is_selected():
    vectors, metric = many("Tamura"), DESCRIPTORS["Tamura"].metric
    index, ids = inverted_file(metric, vectors), np.arange(len(vectors))
    wide = Selection(ids, ids[ids % 8 != 0])
    assert (index.search(vectors[:8], 20, wide)[1] % 8 != 0).all()
    narrow = Selection(ids, ids[ids % 4 == 1])
    exact = scan(metric, vectors).search(vectors[:3], 20, narrow)
    assert index.search(vectors[:3], 20, narrow)[1].tolist() == exact[1].tolist()


def test_more_than_the_lists_hold_is_answered_in_full():
    vectors, metric = many("Tamura"), DESCRIPTORS["Tamura"].metric
    index = inverted_file(metric, vectors)
    faiss_lists(index).nprobe = 1
    exact = scan(metric, vectors).search(vectors[:1], 5000)
    assert index.search(vectors[:1], 5000)[1].tolist() == exact[1].tolist()


@pytest.mark.parametrize("share", [0.5, 0.2, 0.05, 0.01])
def test_a_filter_of_any_selectivity_loses_no_recall(share):
    """Where the lists that were read have few that pass, nearer ones may lie in others."""
    vectors, metric = many("EdgeHistogram"), DESCRIPTORS["EdgeHistogram"].metric
    ids = np.arange(len(vectors))
    index = DescriptorIVF(metric, ArrayRows(vectors), ids, compare_up_to=100)
    index.flush()
    queries = vectors[:40]
    chosen = np.flatnonzero(np.random.default_rng(2).random(len(ids)) < share)
    far = np.sort(np.argsort(-metric.distances(queries[:1], vectors)[0], kind="stable")[: len(chosen)])
    for passing in (chosen, far):
        selection = Selection(ids, passing)
        true = scan(metric, vectors).search(queries, 10, selection)[0]
        assert (index.search(queries, 10, selection)[0] <= true[:, -1:]).mean() >= 0.99


def test_every_vector_is_compared_until_lists_are_built_and_while_they_are(tmp_path):
    vectors, metric = many("Tamura"), DESCRIPTORS["Tamura"].metric
    exact = scan(metric, vectors).search(vectors[:3], 9)[1].tolist()
    index, steps = DescriptorIVF(metric, ArrayRows(vectors), np.arange(len(vectors)), tmp_path), []

    def searched(step, done, total):
        steps.append(step)
        assert index.description == "exact"
        assert index.search(vectors[:3], 9)[1].tolist() == exact

    assert index.is_outdated
    assert list(tmp_path.iterdir()) == []
    with reported_to(searched):
        index.flush()
    assert list(dict.fromkeys(steps)) == ["training", "adding", "tuning"]
    assert not index.is_outdated
    tuning = stored_tuning(tmp_path)
    assert str(tuning) == index.description
    assert tuning.settings[0].recall > 0.9
    shape = shape_of(len(vectors), metric, ArrayRows(vectors))
    assert (shape.name, tuning.count) == (tuning.name, len(vectors))
    assert shape.bytes == pytest.approx((tmp_path / "proposer.faiss").stat().st_size, rel=0.1)


def test_an_inverted_file_is_stored_and_made_anew_where_it_is_of_no_use(tmp_path):
    vectors, metric = many("Tamura"), DESCRIPTORS["Tamura"].metric
    ids, rows = np.arange(len(vectors)) * 2, ArrayRows(np.repeat(vectors, 2, axis=0))
    file = tmp_path / "index" / "proposer.faiss"

    def opened(ids=ids):
        """The index, and whether its file was written."""
        before = file.stat().st_mtime_ns if file.exists() else 0
        index = DescriptorIVF(metric, rows, ids, file.parent)
        index.flush()
        return index, before != file.stat().st_mtime_ns

    (first, first_written), (second, second_written) = opened(), opened()
    assert (first_written, second_written) == (True, False)
    assert first.description == second.description
    assert first.search(vectors[:3], 9)[1].tolist() == second.search(vectors[:3], 9)[1].tolist()
    assert not opened(ids[:-100])[1]
    older = DescriptorIVF(metric, rows, ids + 1, file.parent)  # whose images the stored one lacks
    assert older.is_outdated
    assert older.search(vectors[:1], 1)[1].tolist() == [[1]]
    assert opened(ids + 1)[1]
    file.write_bytes(file.read_bytes()[:1000])
    assert opened()[1]
    assert not opened()[1]


def test_an_inverted_file_that_cannot_be_stored_costs_no_search(tmp_path, caplog):
    (tmp_path / "index").write_text("a file where the folder should be")
    vectors, metric = many("Tamura"), DESCRIPTORS["Tamura"].metric
    index = inverted_file(metric, vectors, folder=tmp_path / "index")
    assert index.search(vectors[:1], 1)[1].tolist() == [[0]]
    assert "cannot be stored" in caplog.text


def test_only_large_galleries_get_proposals():
    vectors, metric = many("Tamura", 200), DESCRIPTORS["Tamura"].metric
    assert isinstance(build_index(metric, ArrayRows(vectors), np.arange(200)), DescriptorScan)
    assert is_exact(metric, 100_000)
    assert not is_exact(metric, 100_001)
