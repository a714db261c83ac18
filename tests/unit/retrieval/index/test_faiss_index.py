from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.filters import Selection
from retrieval.index import building
from retrieval.index.building import Wanted, stored_tuning
from retrieval.index.faiss_index import FaissIndex
from retrieval.index.rows import ArrayRows
from retrieval.index.storage import StoredIndex, building_lock, write_stored

pytestmark = pytest.mark.slow

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


def from_outside(count: int) -> Array:
    """Queries of the same centres as `many`, but none of its vectors."""
    return clustered(5_300)[-count:]


def graph(vectors: Array, ids: Array, folder: Path | None = None) -> FaissIndex:
    return FaissIndex(ArrayRows(vectors), ids, folder)


def inverted(vectors: Array, ids: Array, folder: Path | None = None) -> FaissIndex:
    """An index whose next build is an inverted file."""
    return FaissIndex(ArrayRows(vectors), ids, folder, Wanted(memory=1))


def built(make: Callable[..., FaissIndex], vectors: Array, ids: Array, folder: Path | None = None) -> FaissIndex:
    index = make(vectors, ids, folder)
    index.flush()
    return index


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


@pytest.fixture(autouse=True)
def _proposes(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few vectors are compared sooner than candidates are proposed; here the candidates are what is tested."""
    monkeypatch.setattr("retrieval.index.building.scan_milliseconds", lambda codes, queries: 1e6)


@pytest.fixture(scope="module")
def many() -> Array:
    return clustered(5_200)


@pytest.fixture(scope="module")
def stored(many: Array, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each tier with its index over all of `many`; copy it before changing it."""
    folder = tmp_path_factory.mktemp("index")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("retrieval.index.building.scan_milliseconds", lambda codes, queries: 1e6)
        for tier, make in TIERS.items():
            built(make, many, ids_of(many), folder / tier)
    age(folder)
    return folder


def proposed(index: FaissIndex, queries: Array, k: int, selection: Selection | None = None) -> tuple[Array, Array]:
    """What candidates alone give, without the scan that makes up for too few of them."""
    state = index._state
    assert state.exact is not None
    setting = index._setting(state, k, selection)
    assert setting is not None
    return index._propose(state, state.exact, setting, queries, k, selection, None, complete=False)


@pytest.mark.parametrize("tier", sorted(TIERS))
def test_candidates_have_the_recall_that_was_wanted_and_are_ranked_exactly(
    tier: str, many: Array, stored: Path
) -> None:
    index = TIERS[tier](many, ids_of(many), stored / tier)
    assert index.description.startswith(tier)
    assert aged(stored)
    queries = from_outside(50)
    distances, rows = index.search(queries, 10)
    assert np.array_equal(rows, proposed(index, queries, 10)[1])
    assert recall(rows, nearest(queries, many, 10)) >= 0.99
    assert (np.diff(distances, axis=1) >= 0).all()
    exact = FaissIndex(ArrayRows(many), ids_of(many)).distances(queries[:1], rows[0])
    assert distances[0].tolist() == exact[0].tolist()


@pytest.mark.parametrize("tier", sorted(TIERS))
@pytest.mark.parametrize("share", [0.5, 0.2, 0.05, 0.01, 0.002])
def test_filters_of_any_selectivity_lose_no_recall(tier: str, share: float, many: Array, stored: Path) -> None:
    index = TIERS[tier](many, ids_of(many), stored / tier)
    random, queries = np.random.default_rng(2), from_outside(20)
    chosen = np.flatnonzero(random.random(len(many)) < share)
    far = np.sort(np.argsort(many @ queries[0])[: max(10, int(share * len(many)))])  # the farthest from the first query
    for passing in (chosen, far):
        rows = index.search(queries, 5, Selection(ids_of(many), passing))[1]
        assert recall(rows, passing[nearest(queries, many[passing], 5)]) >= 0.99
    assert index.search(queries[:1], 5, Selection(ids_of(many), far))[1].tolist() == [
        far[nearest(queries[:1], many[far], 5)[0]].tolist()
    ]


def test_a_filter_takes_the_scan_where_candidates_cost_more(many: Array, stored: Path) -> None:
    index = graph(many, ids_of(many), stored / "HNSW32")
    state, all_ids = index._state, ids_of(many)
    assert index._setting(state, 10, Selection(all_ids, all_ids[::2])) is not None
    assert index._setting(state, 10, Selection(all_ids, all_ids[::1000])) is None  # none serves so many ranks
    assert state.proposer is not None
    quick = dataclasses.replace(state.proposer.tuning, scan=0.0)
    state = dataclasses.replace(state, proposer=dataclasses.replace(state.proposer, tuning=quick))
    assert index._setting(state, 10, None) is None


def test_only_finished_indexes_lie_in_the_folder(stored: Path) -> None:
    names = sorted(path.name for path in stored.glob("*/*") if path.name != "writer.lock")
    assert names == ["proposer.faiss", "proposer.faiss"]


@pytest.mark.parametrize("damage", ["gone", "empty", "text", "cut off", "flipped", "another dimension", "another kind"])
def test_a_missing_or_damaged_index_is_searched_exactly_and_built_again_by_flush(
    damage: str, many: Array, stored: Path, tmp_path: Path
) -> None:
    file = tmp_path / "proposer.faiss"
    shutil.copy(stored / "HNSW32" / file.name, file)
    data = file.read_bytes()
    if damage == "gone":
        file.unlink()
    elif damage == "another dimension":
        built(graph, gallery(300, 8), np.arange(300), tmp_path / "other")
        shutil.copy(tmp_path / "other" / file.name, file)
        shutil.rmtree(tmp_path / "other")
    elif damage == "another kind":
        write_stored(StoredIndex(faiss.IndexFlatIP(32), np.arange(0), {"shape": "Flat"}), file)
    elif damage == "flipped":
        file.write_bytes(data[:5000] + bytes([data[5000] ^ 1]) + data[5001:])
    else:
        file.write_bytes({"empty": b"", "text": b"no index " * 1000, "cut off": data[: len(data) // 2]}[damage])
    age(tmp_path)
    index = graph(many, ids_of(many), tmp_path)
    assert index.description == "exact"
    assert index.search(many[5:6], 1)[1].tolist() == [[5]]
    index.flush()
    assert not aged(tmp_path)
    assert index.search(many[5:6], 1)[1].tolist() == [[5]]
    age(tmp_path)
    again = graph(many, ids_of(many), tmp_path)
    assert again.description.startswith("HNSW32")
    again.flush()
    assert aged(tmp_path)


@pytest.mark.parametrize("tier", sorted(TIERS))
def test_new_vectors_are_found_through_an_older_index(tier: str, many: Array, tmp_path: Path) -> None:
    make = TIERS[tier]
    built(make, many[:4_700], ids_of(many[:4_700]), tmp_path)
    age(tmp_path)
    index = built(make, many, ids_of(many), tmp_path)
    assert aged(tmp_path)
    assert index.description.startswith(tier)
    for row in (3, 4_699, 4_700, 5_199):
        assert index.search(many[row : row + 1], 1)[1].tolist() == [[row]]


def test_a_collection_that_has_grown_by_a_quarter_is_built_and_tuned_again(many: Array, tmp_path: Path) -> None:
    built(graph, many[:4_000], ids_of(many[:4_000]), tmp_path)
    age(tmp_path)
    built(graph, many[:4_900], ids_of(many[:4_900]), tmp_path)
    assert aged(tmp_path)
    built(graph, many, ids_of(many), tmp_path)
    assert not aged(tmp_path)
    tuning = stored_tuning(tmp_path)
    assert tuning is not None
    assert tuning.count == 5_200


@pytest.mark.parametrize("tier", sorted(TIERS))
def test_removed_ids_never_come_back_from_an_older_index(tier: str, many: Array, stored: Path) -> None:
    left = np.flatnonzero((ids_of(many) % 8 != 1) & (ids_of(many) < 5_000)).astype(np.int64)
    index = TIERS[tier](many, left, stored / tier)
    assert index.description.startswith(tier)
    queries = many[1:1600:8]  # all of them removed
    _, rows = index.search(queries, 10)
    assert rows.min() >= 0
    assert np.isin(rows, left).all()
    assert recall(rows, left[nearest(queries, many[left], 10)]) >= 0.99


def test_a_folder_that_cannot_be_written_costs_no_answer(many: Array, tmp_path: Path) -> None:
    (tmp_path / "index").write_text("a file where the folder should be")
    index = built(graph, many, ids_of(many), tmp_path / "index")
    assert index.description.startswith("HNSW32")
    assert index.search(many[5:6], 1)[1].tolist() == [[5]]


def test_the_recall_that_is_shown_is_measured() -> None:
    vectors = unit(np.random.default_rng(3).normal(size=(3000, 24)))
    index = built(graph, vectors, np.arange(3000))
    shown = index.recall_at(10, sample=40)
    chosen = np.sort(np.random.default_rng(0).choice(3000, 40, replace=False))
    true = np.argsort(-(vectors[chosen].astype(float) @ vectors.T.astype(float)), axis=1)[:, 1:11]
    rows = index.search(vectors[chosen], 10, None, list(chosen[:, None]))[1]
    assert shown == pytest.approx(recall(rows, true))
    assert shown >= 0.99


@pytest.mark.parametrize("dimension", [1, 2, 7, 37, 64, 269])
def test_an_inverted_file_serves_any_dimension_prime_ones_too(dimension: int, tmp_path: Path) -> None:
    vectors = clustered(1_500, dimension)
    index = built(inverted, vectors, ids_of(vectors), tmp_path)
    assert index.recall_at(10, sample=50) > 0.99
    queries = clustered(5, dimension, seed=1)
    distances, ids = index.search(queries, 5)
    assert np.array_equal(index.distances(queries, ids[0])[0], distances[0])
    assert np.allclose(distances, np.sort(1 - queries.astype(float) @ vectors.T.astype(float))[:, :5], atol=1e-6)


@pytest.mark.parametrize("tier", sorted(TIERS))
def test_vectors_near_a_subspace_are_proposed_in_it_and_ranked_whole(tier: str, tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    whole = np.linalg.qr(random.standard_normal((131, 20)))[0].T  # a prime dimension, of which 20 count
    vectors = unit(clustered(1_600, 20) @ whole + 0.005 * random.standard_normal((1_600, 131)))
    index = built(TIERS[tier], vectors[:1_500], ids_of(vectors[:1_500]), tmp_path)
    assert index.description.startswith(f"PCA32,{tier}")
    later = TIERS[tier](vectors, ids_of(vectors), tmp_path)  # which lacks a hundred
    assert later.description == index.description
    queries = unit(vectors[::50] + 0.02 * random.standard_normal((32, 131)))
    distances, rows = later.search(queries, 10)
    assert recall(rows, nearest(queries, vectors, 10)) >= 0.99
    assert distances[0].tolist() == later.distances(queries[:1], rows[0])[0].tolist()


def test_a_stopped_build_goes_on_from_its_checkpoint(
    many: Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(building, "_CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(building, "_BLOCK", 1000)
    steps: list[tuple[str, int]] = []

    def stop(step: str, done: int, total: int) -> None:
        steps.append((step, done))
        if step == "adding" and done == 3000:
            raise KeyboardInterrupt

    with building.reported_to(stop), pytest.raises(KeyboardInterrupt):
        built(inverted, many, ids_of(many), tmp_path)
    assert ("training", 1) in steps
    assert {path.name for path in tmp_path.iterdir()} == {"building.faiss", "writer.lock"}
    assert inverted(many, ids_of(many), tmp_path).description == "exact"  # which serves meanwhile
    steps.clear()
    with building.reported_to(lambda step, done, total: steps.append((step, done))), caplog.at_level("INFO"):
        index = built(inverted, many, ids_of(many), tmp_path)
    assert steps[0] == ("adding", 3000)  # what came after the checkpoint is added again
    assert "2000 of 5200 vectors are in" in caplog.text
    assert not (tmp_path / "building.faiss").exists()
    whole = built(inverted, many, ids_of(many))
    queries = from_outside(20)
    assert np.array_equal(index.search(queries, 10)[1], whole.search(queries, 10)[1])


@pytest.mark.parametrize("tier", sorted(TIERS))
def test_an_index_of_vectors_that_were_replaced_meanwhile_is_not_taken(
    tier: str, many: Array, stored: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(stored / tier, tmp_path / "s")
    damaged = many.copy()
    damaged[0] = 7
    assert TIERS[tier](damaged, ids_of(many), tmp_path / "s").description.startswith(tier)
    replaced = many[::-1].copy()
    index = TIERS[tier](replaced, ids_of(many), tmp_path / "s")
    assert index.description == "exact"
    assert "is of other vectors and is built again" in caplog.text
    index.flush()
    assert recall(index.search(replaced[:50], 10)[1], nearest(replaced[:50], replaced, 10)) >= 0.99


def test_a_checkpoint_of_vectors_that_were_replaced_is_not_gone_on_with(
    many: Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "_CHECKPOINT_SECONDS", 0)

    def stop(step: str, done: int, total: int) -> None:
        if step == "tuning":
            raise KeyboardInterrupt

    with building.reported_to(stop), pytest.raises(KeyboardInterrupt):
        built(inverted, many, ids_of(many), tmp_path)
    assert (tmp_path / "building.faiss").exists()
    replaced = many[::-1].copy()
    index = built(inverted, replaced, ids_of(many), tmp_path)
    assert recall(index.search(replaced[:50], 10)[1], nearest(replaced[:50], replaced, 10)) >= 0.99


def test_a_build_waits_for_no_other_and_leaves_searches_exact(many: Array, tmp_path: Path) -> None:
    index = graph(many, ids_of(many), tmp_path)
    with building_lock(tmp_path) as locked:
        assert locked
        index.flush()
    assert index.description == "exact"


def test_what_an_index_is_wanted_for_is_stored_and_decides_its_shape(many: Array, tmp_path: Path) -> None:
    building.store_wanted(tmp_path, Wanted(0.9, 1))
    assert built(graph, many, ids_of(many), tmp_path).description.startswith("HNSW32") is False
    tuning = stored_tuning(tmp_path)
    assert tuning is not None
    assert tuning.target == 0.9
    assert (tmp_path / "wanted.json").exists()


def test_an_index_of_another_recall_serves_until_it_is_tuned_and_of_another_kind_until_it_is_built(
    many: Array, stored: Path, tmp_path: Path
) -> None:
    shutil.copy(stored / "HNSW32" / "proposer.faiss", tmp_path)
    steps: list[str] = []

    def searched(step: str, done: int, total: int) -> None:
        steps.append(step)
        assert index.description.startswith("HNSW32")
        assert index.search(many[5:6], 1)[1].tolist() == [[5]]

    for wanted, kind in ((Wanted(0.93), "HNSW32"), (Wanted(0.93, memory=1), "IVF")):
        building.store_wanted(tmp_path, wanted)
        index = FaissIndex(ArrayRows(many), ids_of(many), tmp_path)
        assert index.is_tuned_otherwise == (kind == "HNSW32") != index.is_outdated
        with building.reported_to(searched):
            index.flush()
        assert index.description.startswith(kind)
        tuning = stored_tuning(tmp_path)
        assert tuning is not None
        assert (tuning.target, tuning.count) == (0.93, len(many))
        again = FaissIndex(ArrayRows(many), ids_of(many), tmp_path)
        assert again.search(from_outside(9), 5)[1].tolist() == index.search(from_outside(9), 5)[1].tolist()
    assert steps[:2] == ["tuning", "tuning"]  # nothing was built for the first
    assert "adding" in steps


def test_a_running_index_takes_what_is_wanted_now(many: Array, stored: Path, tmp_path: Path) -> None:
    shutil.copy(stored / "HNSW32" / "proposer.faiss", tmp_path)
    index = graph(many, ids_of(many), tmp_path)
    index.remove(np.arange(0, 5_200, 10))
    building.store_wanted(tmp_path, Wanted(0.92))
    index.flush()
    tuning = stored_tuning(tmp_path)
    assert tuning is not None
    assert (tuning.target, tuning.count) == (0.92, 4_680)
    building.store_wanted(tmp_path, Wanted(1))
    assert not index.is_outdated
    index.flush()
    assert index.description == "exact"
    assert graph(many, ids_of(many), tmp_path).description == "exact"
    left = np.setdiff1d(ids_of(many), np.arange(0, 5_200, 10))
    assert index.search(many[:20], 10)[1].tolist() == left[nearest(many[:20], many[left], 10)].tolist()


def test_an_inverted_file_probes_the_more_lists_the_more_recall_is_wanted(many: Array, tmp_path: Path) -> None:
    probed = []
    for target in (0.5, 0.9, 0.99):
        index = FaissIndex(ArrayRows(many), ids_of(many), tmp_path / str(target), Wanted(target, memory=1))
        index.flush()
        tuning = stored_tuning(tmp_path / str(target))
        assert tuning is not None
        setting = tuning.setting_for(10)
        assert setting is not None
        assert setting.recall >= target
        probed.append(setting.lists)
    assert probed == sorted(set(probed))


@pytest.mark.parametrize("tier", sorted(TIERS))
def test_what_is_added_and_removed_is_seen_at_once_and_stored_by_flush(tier: str, many: Array, tmp_path: Path) -> None:
    """Changes before and after `flush`, among them an image whose vector is replaced."""
    vectors = many.copy()
    index = built(TIERS[tier], vectors, ids_of(many[:3_000]), tmp_path)
    age(tmp_path)
    index.flush()
    assert aged(tmp_path)
    vectors[7] = -many[7]
    index.remove(np.array([7]))
    index.add(np.array([7]), vectors[[7]])
    index.add(np.arange(3_000, 4_500), vectors[3_000:4_500])
    index.remove(np.arange(0, 4_500, 5))
    present = np.delete(np.arange(4_500), np.arange(0, 4_500, 5))

    def require_current() -> None:
        queries = np.concatenate([vectors[[7, 3_001]], from_outside(30)])
        _, ids = index.search(queries, 10)
        assert ids[:2, 0].tolist() == [7, 3_001]
        assert np.isin(ids, present).all()
        assert recall(ids, present[nearest(queries, vectors[present], 10)]) >= 0.99
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
    again = built(TIERS[tier], vectors, present, tmp_path)
    assert aged(tmp_path)
    assert again.search(vectors[[7]], 1)[1].tolist() == [[7]]


@pytest.mark.parametrize("tier", sorted(TIERS))
def test_what_a_copy_has_stored_is_loaded_by_flush_and_not_built_again(tier: str, many: Array, tmp_path: Path) -> None:
    index = built(TIERS[tier], many, ids_of(many[:3_000]), tmp_path)
    later = index.copy()
    index.add(np.arange(3_000, 4_500), many[3_000:4_500])
    later.add(np.arange(3_000, 4_600), many[3_000:4_600])
    index.flush()
    age(tmp_path)
    later.flush()
    assert aged(tmp_path)
    assert len(later) == 4_600
    assert later._state.exact is not None
    assert [len(segment.ids) for segment in later._state.exact.segments] == [4_500, 100]
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


def test_first_searches_read_the_vectors_and_later_ones_their_codes(many: Array) -> None:
    index = graph(many, ids_of(many))
    queries = from_outside(30)
    first = [index.search(queries[at : at + 1], 10) for at in range(8)]
    assert index._state.exact is None
    later = [index.search(queries[at : at + 1], 10) for at in range(8)]
    assert index._state.exact is not None
    for one, other in zip(first, later, strict=True):
        assert one[1].tolist() == other[1].tolist()
        assert one[0].tolist() == other[0].tolist()
