"""Nearest descriptors in large galleries: FAISS proposes, LIRE's distance decides.

An inverted file (J. Sivic and A. Zisserman, "Video Google", ICCV 2003) over the descriptor's coordinates
gives candidates. Its L1 or L2 equals the native distance for Tamura, EdgeHistogram and PHOG, is within
sqrt(3) and sqrt(1.45) of it for ColorLayout and AutoColorCorrelogram, and leaves out the ratio of lengths for
JCD; so what is lost is in lists that were not looked at, but for ColorLayout, which needs many candidates.
`recall_at` measures it: at least 0.99 of the nearest 20 for each of the six among 120,000 and 300,000 crosses of
real descriptors (`tests/benchmarks/bench_descriptors.py --large`).

Until it is built, for what came since, and for filters that few images pass or that the lists near a query have too
few images of, all are compared.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import Any, Self, cast

import faiss
import numpy as np
from numpy.typing import NDArray

from retrieval.collection.vectors import release, release_range
from retrieval.cores import available_cores
from retrieval.filters import Selection, among
from retrieval.index.building import tell
from retrieval.index.descriptor_scan import DescriptorScan
from retrieval.index.neighbours import (
    FEW,
    empty_neighbours,
    excluded_by,
    measured_distances,
    put_nearest,
    selected,
    with_ids,
    without_ids,
)
from retrieval.index.proposer import Setting, Tuning
from retrieval.index.protocol import BLOCK, EXACT, CompiledMetric, Metric, Neighbours, Rows
from retrieval.index.shape import Shape
from retrieval.index.storage import INDEX_FILE, StoredIndex, building_lock, read_stored, write_stored

log = logging.getLogger(__name__)

COMPARE_UP_TO = 20_000
"""Images in a selection up to which all are compared: among so few, what FAISS proposes loses recall."""
SAMPLE_RECALL = 0.997
"""Share of the true nearest of a sample that should be returned; twice as many lists are probed as that takes."""
_RANKS = 20
"""Ranks by which the number of lists is tuned."""
_SERVED = 64
"""Ranks among which k images must pass a filter, since the lists that are read have few of those beyond."""
_PROBED_PARTS = (32, 16, 8, 4)
"""Parts of the lists that may be enough to probe, 1/32 as 32, the smallest first."""
_NO_GAIN = 0.003
"""Recall below that of the most lists at which fewer lists are taken, where coordinates and not lists limit it."""
_SEVERAL = 8
"""Queries from which a search uses every core."""
_LACKING = 1000
"""Vectors that the inverted file may lack even where they are more than a tenth."""
_TRAINING, _ITERATIONS = 40, 10
"""Vectors per list that the lists are found by, and how often these are looked at."""
_COMPARISON = 6.0e-11
"""Seconds to compare one coordinate with a list's centre, two cores."""


@dataclass(frozen=True, eq=False)
class _Lists:
    """FAISS's inverted file, whose labels are image ids; those ascending, removed ones too; how it was tuned."""

    inverted: Any
    labels: NDArray[np.int64]
    tuning: Tuning


@dataclass(frozen=True, eq=False)
class _State:
    """State of the index during one search.

    exact: all images. lists: None until they are built. replaced: images, ascending, that lists have an earlier vector
    of.
    """

    exact: DescriptorScan
    lists: _Lists | None
    replaced: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    @cached_property
    def ids(self) -> NDArray[np.int64]:
        """The images that are in the index, ascending."""
        return self.exact.ids

    @cached_property
    def proposed(self) -> NDArray[np.int64]:
        """Images that FAISS may propose, ascending."""
        if self.lists is None:
            return self.ids[:0]
        return without_ids(self.ids[among(self.ids, self.lists.labels)], self.replaced)

    @cached_property
    def recent(self) -> NDArray[np.int64]:
        """Images that FAISS lacks, ascending."""
        return without_ids(self.ids, self.proposed)

    @cached_property
    def selector(self) -> Any:
        """FAISS's selector of the images that it may propose; None where those are all that it has."""
        assert self.lists is not None
        if len(self.proposed) == len(self.lists.labels):
            return None
        passes = np.zeros(int(self.lists.labels[-1]) + 1, bool)
        passes[self.proposed] = True
        return faiss.IDSelectorBitmap(np.packbits(passes, bitorder="little"))

    @property
    def is_outdated(self) -> bool:
        """Whether FAISS lacks so many images that the lists should be built anew."""
        if self.lists is None:
            return bool(len(self.ids))
        return len(self.recent) > max(_LACKING, len(self.ids) // 10)


class DescriptorIVF:
    """Nearest descriptors by LIRE's distance among those of an inverted file's nearest lists.

    All are in memory as well. rows: the stored vectors. ids: (n,) int64 ascending, the images that have one. folder:
    where the inverted file is stored and loaded from; None for nowhere. compare_up_to: images in a selection up to
    which all are compared.
    """

    def __init__(
        self,
        metric: CompiledMetric,
        rows: Rows,
        ids: NDArray[np.int64],
        folder: Path | None = None,
        *,
        compare_up_to: int = COMPARE_UP_TO,
    ) -> None:
        self._metric = metric
        self._rows = rows
        self._folder = folder
        self._compare_up_to = compare_up_to
        self._changing = Lock()
        exact = DescriptorScan(metric, rows, ids)
        # Replaced as a whole, never changed in place: a search goes on with the one that it began with.
        self._state = _State(exact, self._loaded() if len(ids) else None)

    @property
    def description(self) -> str:
        """How many lists there are, and recall and time as measured; EXACT where every vector is compared."""
        lists = self._state.lists
        return EXACT if lists is None else str(lists.tuning)

    def __len__(self) -> int:
        return len(self._state.exact)

    @property
    def is_outdated(self) -> bool:
        """Whether `flush` would build the lists anew."""
        return self._state.is_outdated

    def search(
        self,
        queries: NDArray[Any],
        k: int,
        selection: Selection | None = None,
        without: Sequence[NDArray[np.int64]] | None = None,
    ) -> Neighbours:
        """The k nearest of the candidates of each query (q, d); see the `Index` protocol."""
        return self._search(self._state, queries, k, selection, without)

    def distances(self, queries: NDArray[Any], ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """Distances (q, m), NaN where an image has no vector; see the `Index` protocol."""
        return measured_distances(self._metric, self._rows, self._state.ids, queries, ids)

    def add(self, ids: NDArray[np.int64], vectors: NDArray[Any]) -> None:
        """Add images, all of which are compared until `flush`; see the `Index` protocol."""
        if not len(ids):
            return
        with self._changing:
            state = self._state
            exact, replaced = state.exact.copy(), state.replaced
            exact.add(ids, vectors)
            if state.lists is not None:
                replaced = with_ids(replaced, ids[among(ids, state.lists.labels)])
            self._state = _State(exact, state.lists, replaced)

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove images; see the `Index` protocol."""
        with self._changing:
            state = self._state
            exact = state.exact.copy()
            exact.remove(ids)
            self._state = _State(exact, state.lists, state.replaced)

    def flush(self) -> None:
        """Build the lists where they are missing or lack more than a tenth of the vectors, tune and store them.

        They are loaded instead where another copy of this index, or another process, has stored some since that lack
        less. Searches go on with the state as it is.
        """
        with self._changing:
            state = self._state
            if not state.is_outdated:
                return
            if not len(state.replaced):
                loaded = _State(state.exact, self._loaded())
                if not loaded.is_outdated:
                    self._state = loaded
                    return
            with building_lock(self._folder) as locked:
                if not locked:
                    log.info("the index in %s is being built by another process", self._folder)
                    return
                self._state = self._built(state.exact)

    def copy(self) -> Self:
        """An independent index that shares all memory."""
        copied = copy(self)
        copied._changing = Lock()
        return copied

    def recall_at(self, k: int, sample: int = 100, seed: int = 0) -> float:
        """Share of the true k nearest that a search returns; see the `Index` protocol."""
        state = self._state
        return _recall(self._search, state, *self._sample(state, k, sample, seed)) if len(state.ids) else 1.0

    # Steps of a search

    def _search(
        self,
        state: _State,
        queries: NDArray[Any],
        k: int,
        selection: Selection | None = None,
        without: Sequence[NDArray[np.int64]] | None = None,
        complete: bool = True,
    ) -> Neighbours:
        """The k nearest of the candidates of each query. complete: compare all for a query that has too few of them."""
        if not k or not len(queries):
            return empty_neighbours(len(queries), k)
        chosen = selected(state.ids, selection)
        if state.lists is None or len(chosen) <= self._compare_up_to:
            return state.exact.search(queries, k, selection, without)
        result, inverted = empty_neighbours(len(queries), k), state.lists.inverted
        drops = selection is None or (selection.included is None and len(selection.excluded) <= FEW)
        excluded = [excluded_by(selection if drops else None, without, at) for at in range(len(queries))]
        candidates = min(_candidates(k, len(state.ids)) + max(map(len, excluded)), len(state.ids))
        parameters = faiss.SearchParametersIVF(nprobe=inverted.nprobe, sel=state.selector)
        several = len(queries) >= _SEVERAL
        faiss.omp_set_num_threads(available_cores() if several else 1)
        _, labels = inverted.search(self._metric.candidate_coordinates(queries), candidates, params=parameters)
        recent = selected(state.recent, selection)

        def rank(at: int) -> bool:
            """Rank the candidates of a query; returns whether nearer images may lie in lists that were not read."""
            found = labels[at][labels[at] >= 0]
            passes = ~among(found, excluded[at]) if drops else among(found, chosen) & ~among(found, excluded[at])
            ranks = np.flatnonzero(passes)
            far = not drops and (len(ranks) < k or int(ranks[k - 1]) >= _SERVED)
            if complete and (far or len(found) < candidates):
                return True
            ids = without_ids(np.union1d(found[ranks], recent), excluded[at])
            put_nearest(result, at, state.exact.distances(queries[at : at + 1], ids)[0], ids)
            return False

        if several:
            with ThreadPoolExecutor(available_cores(), "rank") as pool:
                incomplete = np.flatnonzero(list(pool.map(rank, range(len(queries)))))
        else:
            incomplete = np.flatnonzero([rank(at) for at in range(len(queries))])
        if len(incomplete):
            own = None if without is None else [without[at] for at in incomplete.tolist()]
            result[0][incomplete], result[1][incomplete] = state.exact.search(queries[incomplete], k, selection, own)
        return result

    # Building

    def _loaded(self) -> _Lists | None:
        """The stored inverted file, where there is a usable one."""
        stored = None if self._folder is None else read_stored(self._folder / INDEX_FILE)
        if stored is None or not len(stored.labels):
            return None
        inverted = stored.index
        if not isinstance(inverted, faiss.IndexIVFFlat) or inverted.d != _coordinates(self._metric, self._rows):
            return None
        return _Lists(inverted, stored.labels, Tuning.from_dict(stored.facts["tuning"]))

    def _built(self, exact: DescriptorScan) -> _State:
        start, ids = time.perf_counter(), exact.ids
        faiss.omp_set_num_threads(available_cores())
        by = faiss.METRIC_L1 if self._metric.proposes_by == "L1" else faiss.METRIC_L2
        count = _list_count(len(ids))
        tell("training", 0, 1)
        training = self._metric.candidate_coordinates(self._rows.take(_sample_of(ids, _TRAINING * count, seed=0)))
        # Lists by the distance that proposes lose less: by L2, EdgeHistogram's heavier values would rule.
        quantizer = faiss.IndexFlat(training.shape[1], by)
        inverted = faiss.IndexIVFFlat(quantizer, training.shape[1], count, by)
        inverted.cp.niter = _ITERATIONS
        inverted.train(training)
        tell("training", 1, 1)
        for at in range(0, len(ids), BLOCK):
            block = ids[at : at + BLOCK]
            inverted.add_with_ids(self._metric.candidate_coordinates(self._rows.take(block)), block)
            tell("adding", at + len(block), len(ids))
        tell("tuning", 0, 1)
        untuned = Tuning(_name(count), len(ids), SAMPLE_RECALL, 0.0, (), 0.0, over="coordinates")
        state = _State(exact, _Lists(inverted, ids, untuned))
        setting = self._tuned(state)
        seconds = round(time.perf_counter() - start, 1)
        lists = _Lists(inverted, ids, replace(untuned, settings=(setting,), seconds=seconds))
        tell("tuning", 1, 1)
        if self._folder is not None:
            write_stored(StoredIndex(inverted, ids, {"tuning": lists.tuning.to_dict()}), self._folder / INDEX_FILE)
        return replace(state, lists=lists)

    def _tuned(self, state: _State) -> Setting:
        """Have a search probe enough lists, whose number FAISS stores; what that gives."""
        assert state.lists is not None
        inverted = state.lists.inverted
        queries, true = self._sample(state, _RANKS, 100, seed=1)

        proposing = partial(self._search, complete=False)

        def recall(part: int) -> float:
            inverted.nprobe = max(1, inverted.nlist // part)
            return _recall(proposing, state, queries, true)

        wanted = min(SAMPLE_RECALL, recall(_PROBED_PARTS[-1]) - _NO_GAIN)
        next(part for part in _PROBED_PARTS if recall(part) >= wanted)
        # Twice as many, since a picture from outside may lie less well among the lists than the gallery's own.
        inverted.nprobe = min(inverted.nlist, 2 * inverted.nprobe)
        times = []
        for at in range(min(20, len(queries))):
            start = time.perf_counter()
            self._search(state, queries[at : at + 1], _RANKS)
            times.append(1000 * (time.perf_counter() - start))
        found, fetched = _recall(self._search, state, queries, true), _candidates(_RANKS, len(state.ids))
        return Setting(_RANKS, fetched, lists=inverted.nprobe, recall=found, milliseconds=float(np.median(times)))

    def _sample(self, state: _State, k: int, count: int, seed: int) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Some of the index's own vectors (q, d), and the distances (q, k + 1) to themselves and the k nearest."""
        queries = np.array(self._rows.take(_sample_of(state.ids, count, seed)))
        return queries, state.exact.search(queries, k + 1)[0]


def shape_of(count: int, metric: Metric, rows: Rows) -> Shape:
    """The inverted file of so many vectors."""
    lists, width = _list_count(count), _coordinates(cast(CompiledMetric, metric), rows)
    compared = lists * width * (count + _ITERATIONS * min(count, _TRAINING * lists))
    return Shape(_name(lists), lists, 0, count * (4 * width + 16) + 4 * lists * width, _COMPARISON * compared)


def _list_count(count: int) -> int:
    return max(1, math.isqrt(count))


def _name(lists: int) -> str:
    return f"IVF{lists},Flat"


def _coordinates(metric: CompiledMetric, rows: Rows) -> int:
    """How many coordinates a descriptor has."""
    return int(metric.candidate_coordinates(np.zeros((1, rows.dimension))).shape[1])


def _candidates(k: int, count: int) -> int:
    """How many candidates FAISS proposes for the k nearest of `count` images."""
    return 16 * k + count // 100


def _recall(search: Any, state: _State, queries: NDArray[Any], true: NDArray[np.float64]) -> float:
    returned = search(state, queries, true.shape[1])[0]
    return float((returned[:, 1:] <= true[:, -1:]).mean())


def _sample_of(ids: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Some of ids (n,), drawn at random, in their order."""
    return ids[np.sort(np.random.default_rng(seed).choice(len(ids), min(count, len(ids)), replace=False))]


def build(metric: Metric, rows: Rows, ids: NDArray[np.int64], folder: Path | None) -> DescriptorIVF:
    """An index of the images `ids` (n,) ascending."""
    return DescriptorIVF(cast(CompiledMetric, metric), rows, ids, folder)


def matches(file: Path, metric: Metric, rows: Rows, ids: NDArray[np.int64]) -> bool:
    """Whether a file holds the coordinates of images `ids` (n,), list by list; see `StoredBackend`."""
    stored, width = read_stored(file, load=False), _coordinates(cast(CompiledMetric, metric), rows)
    try:
        inverted = faiss.read_index(str(file), faiss.IO_FLAG_MMAP)
    except RuntimeError:  # whatever FAISS cannot read
        return False
    if stored is None or not isinstance(inverted, faiss.IndexIVFFlat) or inverted.d != width:
        return False
    lists, labels = inverted.invlists, []
    for number in range(inverted.nlist):
        if not (size := lists.list_size(number)):
            continue
        of_list = faiss.rev_swig_ptr(lists.get_ids(number), size)
        codes = faiss.rev_swig_ptr(lists.get_codes(number), size * 4 * width).view(np.float32).reshape(size, width)
        present = among(of_list, ids)
        expected = cast(CompiledMetric, metric).candidate_coordinates(rows.take(of_list[present]))
        if not np.array_equal(codes[present], expected):
            return False
        labels.append(of_list.copy())
        release_range(int(lists.get_codes(number)), size * 4 * width)
        release(rows.mapped(np.sort(of_list[present])) if present.any() else None)
    return np.array_equal(np.sort(np.concatenate(labels)), stored.labels)
