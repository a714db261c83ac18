"""Every backend against brute force: selections, ties, what was added and removed, and what other threads change."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from retrieval.descriptors import DESCRIPTORS
from retrieval.filters import Selection
from retrieval.index import Cosine, Index, build_index
from retrieval.index.descriptor_ivf import DescriptorIVF
from retrieval.index.descriptor_scan import DescriptorScan
from retrieval.index.faiss_index import FaissIndex
from retrieval.index.int8_scan import Int8Index
from retrieval.index.rows import ArrayRows
from retrieval.index.scan import ScanIndex

Array = NDArray[Any]
TAMURA = DESCRIPTORS["Tamura"].metric
PHOG = DESCRIPTORS["PHOG"].metric


class City:
    """A metric that no backend but the plain scan serves."""

    name = "city"

    def distances(self, queries: Array, gallery: Array) -> Array:
        return np.abs(np.asarray(queries, float)[:, None] - np.asarray(gallery, float)).sum(axis=2)

    def scores(self, distances: Array) -> Array:
        return -distances


def unit(random: np.random.Generator, count: int) -> Array:
    """Unit vectors with many equal ones and some of much larger single values."""
    few = random.standard_normal((max(1, count // 2), 6)) * random.choice([1, 1, 1, 30], (max(1, count // 2), 6))
    few = (few / np.linalg.norm(few, axis=1, keepdims=True)).astype(np.float32)
    return few[random.integers(0, len(few), count)]


def whole(metric: Any) -> Callable[[np.random.Generator, int], Array]:
    def made(random: np.random.Generator, count: int) -> Array:
        few = random.integers(0, metric.levels or 12, (max(1, count // 3), metric.length))
        return few[random.integers(0, len(few), count)].astype(np.float64)

    return made


def city(random: np.random.Generator, count: int) -> Array:
    return random.integers(0, 4, (count, 3)).astype(np.float32)


BACKENDS: dict[str, tuple[Any, Any, Any]] = {
    "scan": (City(), city, lambda rows, ids: ScanIndex(City(), rows, ids)),
    "int8": (Cosine(), unit, Int8Index),
    "descriptor scan": (PHOG, whole(PHOG), lambda rows, ids: DescriptorScan(PHOG, rows, ids)),
    "graph": (Cosine(), unit, FaissIndex),
    "inverted file": (TAMURA, whole(TAMURA), lambda rows, ids: DescriptorIVF(TAMURA, rows, ids)),
}
EXACT = ["scan", "int8", "descriptor scan"]


def gallery(backend: str, random: np.random.Generator, count: int) -> tuple[Any, ArrayRows, Array]:
    """A metric, vectors by id, and the ids, among which some are missing."""
    metric, make, _ = BACKENDS[backend]
    ids = np.sort(random.choice(2 * count, count, replace=False))
    vectors = make(random, 2 * count)
    return metric, ArrayRows(vectors), ids


def a_selection(random: np.random.Generator, ids: Array) -> tuple[Selection | None, set[int]]:
    """A selection of one of its forms, and the ids in it."""
    form = random.integers(0, 5)
    excluded = ids[random.random(len(ids)) < random.random()] if form in (2, 3) else ids[:0]
    included = ids[random.random(len(ids)) < random.random()] if form in (1, 3) else None
    selection = None if form == 0 else Selection(ids, included, excluded)
    return selection, set(ids.tolist()) if selection is None else set(selection.ids.tolist())


def require_equal(found: tuple[Array, Array], expected: tuple[Any, Any]) -> None:
    assert found[1].tolist() == expected[1]
    assert found[0].tolist() == expected[0]
    assert found[0].dtype == np.float64
    assert found[1].dtype == np.int64


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 90), k=st.integers(0, 100))
def test_any_search_after_any_change_is_brute_force(backend: str, seed: int, count: int, k: int, request: Any) -> None:
    random = np.random.default_rng(seed)
    metric, rows, ids = gallery(backend, random, count)
    index: Index = BACKENDS[backend][2](rows, ids[: random.integers(0, count) + 1] if count > 1 else ids)
    truth = request.getfixturevalue("brute_force")(metric, ids[: len(index)], rows.vectors[ids[: len(index)]])
    for _ in range(int(random.integers(0, 5))):
        if random.random() < 0.5:
            gone = random.choice(2 * count, random.integers(1, count + 1), replace=False)
            index.remove(gone)
            for image_id in gone.tolist():
                truth.vectors.pop(image_id, None)
        else:
            new = random.choice(2 * count, random.integers(1, count + 1), replace=False)
            rows.vectors[new] = BACKENDS[backend][1](random, len(new))
            index.add(new, rows.vectors[new])
            truth.vectors |= dict(zip(new.tolist(), rows.vectors[new], strict=True))
    assert len(index) == len(truth.vectors)
    queries = np.concatenate([rows.vectors[:2], BACKENDS[backend][1](random, 2)])
    selection, allowed = a_selection(random, np.array(sorted(truth.vectors), np.int64))
    without = [np.sort(random.choice(2 * count, 2, replace=False)) for _ in queries] if random.random() < 0.5 else None
    expected = truth.search(queries, k, None if selection is None else allowed, without)
    require_equal(index.search(queries, k, selection, without), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_distances_are_the_metrics_and_missing_where_there_is_no_vector(backend: str) -> None:
    metric, rows, ids = gallery(backend, np.random.default_rng(1), 30)
    index: Index = BACKENDS[backend][2](rows, ids)
    index.remove(ids[3:5])
    asked = np.array([ids[9], 1_000, ids[3], ids[0], ids[9]])
    distances = index.distances(rows.vectors[:2], asked)
    assert np.isnan(distances).tolist() == [[False, True, True, False, False]] * 2
    expected = np.maximum(metric.distances(rows.vectors[:2], rows.vectors[asked[[0, 3, 4]]]), 0)
    assert distances[:, [0, 3, 4]].tolist() == expected.tolist()
    assert index.distances(rows.vectors[:2], ids[:0]).shape == (2, 0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_copy_does_not_see_what_the_other_gets(backend: str) -> None:
    random = np.random.default_rng(2)
    _, rows, ids = gallery(backend, random, 60)
    index: Index = BACKENDS[backend][2](rows, ids[:40])
    before = index.search(rows.vectors[:5], 60)
    changed, other = index.copy(), index.copy()
    changed.add(ids[40:50], rows.vectors[ids[40:50]])
    other.add(ids[50:], rows.vectors[ids[50:]])
    changed.remove(ids[:7])
    assert [len(each) for each in (index, changed, other)] == [40, 43, 50]
    require_equal(index.search(rows.vectors[:5], 60), (before[0].tolist(), before[1].tolist()))
    assert set(changed.search(rows.vectors[:1], 43)[1][0].tolist()) == set(ids[7:50].tolist())
    assert set(other.search(rows.vectors[:1], 50)[1][0].tolist()) == set(np.r_[ids[:40], ids[50:]].tolist())


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_index_is_built_empty_and_filled(backend: str) -> None:
    _, rows, ids = gallery(backend, np.random.default_rng(3), 9)
    index: Index = BACKENDS[backend][2](rows, ids[:0])
    assert len(index) == 0
    distances, found = index.search(rows.vectors[:2], 3)
    assert np.isinf(distances).all()
    assert (found == -1).all()
    for image_id in ids:
        index.add(np.array([image_id]), rows.vectors[image_id][None])
    assert len(index) == 9
    assert set(index.search(rows.vectors[:1], 9)[1][0].tolist()) == set(ids.tolist())
    index.remove(ids)
    assert len(index) == 0
    assert (index.search(rows.vectors[:2], 3)[1] == -1).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_searches_see_the_index_before_or_after_each_change(backend: str) -> None:
    """Images come and go in pairs of one vector, so that a search which sees half of a change returns one of a pair."""
    random = np.random.default_rng(4)
    _, make, construct = BACKENDS[backend]
    vectors = np.repeat(make(random, 300), 2, axis=0)
    rows = ArrayRows(vectors)
    index: Index = construct(rows, np.arange(200))
    stop = threading.Event()

    def change() -> None:
        changing = np.random.default_rng(5)
        for _ in range(60):
            first = 2 * changing.choice(300, 40, replace=False)
            index.add(np.sort(np.r_[first, first + 1]), vectors[np.sort(np.r_[first, first + 1])])
            first = 2 * changing.choice(300, 40, replace=False)
            index.remove(np.r_[first, first + 1])
        stop.set()

    def search() -> int:
        searches = 0
        while not stop.is_set() or not searches:
            distances, ids = index.search(vectors[searches % 600][None], 600)
            present = ids[0][ids[0] >= 0]
            assert len(set(present.tolist())) == len(present)
            assert len(present) % 2 == 0
            assert (np.sort(present)[::2] + 1 == np.sort(present)[1::2]).all()
            assert (np.diff(distances[0][: len(present)]) >= 0).all()
            searches += 1
        return searches

    with ThreadPoolExecutor(3) as pool:
        searching = [pool.submit(search) for _ in range(2)]
        pool.submit(change).result(120)
        assert all(each.result(120) for each in searching)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_query_alone_and_among_many_gets_the_same_result_to_the_bit(backend: str) -> None:
    random = np.random.default_rng(6)
    _, rows, ids = gallery(backend, random, 400)
    index: Index = BACKENDS[backend][2](rows, ids)
    index.remove(ids[::9])
    queries = BACKENDS[backend][1](random, 70)
    selection = Selection(ids, None, ids[5:20])
    without = [random.choice(ids, 3, replace=False) for _ in queries]
    without = [np.sort(some) for some in without]
    together = index.search(queries, 20, selection, without)
    for at in range(len(queries)):
        alone = index.search(queries[at : at + 1], 20, selection, [without[at]])
        require_equal((together[0][at : at + 1], together[1][at : at + 1]), (alone[0].tolist(), alone[1].tolist()))


def test_a_metric_that_no_other_backend_serves_is_scanned() -> None:
    _, rows, ids = gallery("scan", np.random.default_rng(7), 20)
    index = build_index(City(), rows, ids)
    assert isinstance(index, ScanIndex)
    assert (index.description, index.recall_at(10)) == ("exact", 1.0)
