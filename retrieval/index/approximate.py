"""Base of the approximate indexes: FAISS proposes candidates, the space's own distance ranks them.

The FAISS index covers the vectors that were there when it was built. Later ones are searched exactly, removed ones are
excluded; `flush` rebuilds it once it lacks a tenth of the vectors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from retrieval.cores import available_cores
from retrieval.filters import Selection, among
from retrieval.index.neighbours import (
    FEW,
    empty_neighbours,
    excluded_by,
    measured_distances,
    put_nearest,
    scan,
    selected,
    with_ids,
    without_ids,
)
from retrieval.index.protocol import BLOCK, Index, Metric, Neighbours, Rows
from retrieval.index.storage import read_index, write_index

COMPARE_UP_TO = 20_000
"""Images in a selection up to which all are compared: among so few, what FAISS proposes loses recall."""
SAMPLE_RECALL = 0.997
"""Share of the true 20 nearest of a sample that should be returned; twice as many lists are probed as that takes."""
_NO_GAIN = 0.003
"""Recall below that of the most lists at which fewer lists are taken, where codes and not lists limit it."""
_SEVERAL = 8
"""Queries from which a search uses every core."""
_LACKING = 1000
"""Vectors that a FAISS index may lack even where they are more than a tenth."""


@dataclass(frozen=True, eq=False)
class State:
    """State of the index during one search.

    ids: (n,) ascending, the images that are in the index. proposing: the FAISS index, whose labels are image ids.
    labels: those, ascending, removed ones too. exact: the backend's exact index, of the images that FAISS lacks or of
    all. replaced: images, ascending, that FAISS has an earlier vector of.
    """

    ids: NDArray[np.int64]
    proposing: Any
    labels: NDArray[np.int64]
    exact: Index
    replaced: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    @cached_property
    def proposed(self) -> NDArray[np.int64]:
        """Images that FAISS may propose, ascending."""
        return without_ids(self.ids[among(self.ids, self.labels)], self.replaced)

    @cached_property
    def recent(self) -> NDArray[np.int64]:
        """Images that FAISS lacks, ascending."""
        return without_ids(self.ids, self.proposed)

    @cached_property
    def selector(self) -> Any:
        """FAISS's selector of the images that it may propose; None where those are all that it has."""
        return None if len(self.proposed) == len(self.labels) else self.selector_of(self.proposed)

    def selector_of(self, ids: NDArray[np.int64]) -> Any:
        """FAISS's selector of those of images (m,) ascending that it may propose."""
        passes = np.zeros(int(self.labels[-1]) + 1 if len(self.labels) else 1, bool)
        passes[ids[among(ids, self.proposed)]] = True
        return faiss.IDSelectorBitmap(np.packbits(passes, bitorder="little"))

    @property
    def is_outdated(self) -> bool:
        """Whether FAISS lacks so many images that it should be built anew."""
        return len(self.recent) > max(_LACKING, len(self.ids) // 10)


class ApproximateIndex(ABC):
    """Ranks FAISS's candidates by the metric.

    rows: the stored vectors. ids: (n,) int64 ascending, the images that have one. folder: where the FAISS index is
    stored; None for nowhere. A stored one that is missing, damaged or outdated is built again. compare_up_to: images in
    a selection up to which all are compared.
    """

    def __init__(
        self, metric: Metric, rows: Rows, ids: NDArray[np.int64], folder: Path | None, compare_up_to: int
    ) -> None:
        self._compare_up_to = compare_up_to
        self._metric = metric
        self._rows = rows
        self._folder = folder
        self._changing = Lock()
        # Replaced as a whole, never changed in place: a search goes on with the one that it began with.
        self._state = self._stored_state(ids) or self._built_state(ids)

    # What differs between backends

    _probed_parts: tuple[int, ...]
    """Of an inverted file: parts of its lists that may be enough to probe, 1/32 as 32, the smallest first."""

    @property
    @abstractmethod
    def description(self) -> str:
        """What kind of index it is, in a few words."""

    @abstractmethod
    def _file_name(self, count: int) -> str:
        """The file of the FAISS index of so many vectors."""

    @abstractmethod
    def _build(self, ids: NDArray[np.int64]) -> Any:
        """A FAISS index of images `ids` (n,) ascending, its labels."""

    @abstractmethod
    def _is_usable(self, proposing: Any) -> bool:
        """Whether a FAISS index from a file is of this backend and this dimension."""

    @abstractmethod
    def _exact(self, ids: NDArray[np.int64], recent: NDArray[np.int64]) -> Index:
        """The backend's exact index, where all images and those that FAISS lacks are these."""

    @abstractmethod
    def _coordinates(self, vectors: NDArray[Any]) -> NDArray[np.float32]:
        """Vectors (n, d) as stored -> (n, d') as FAISS indexes them."""

    @abstractmethod
    def _candidates(self, k: int, count: int) -> int:
        """How many candidates FAISS proposes for the k nearest of `count` images."""

    def _parameters(self, state: State, candidates: int, selector: Any) -> Any:
        """FAISS's parameters of a search."""
        inverted = inverted_file(state.proposing)
        if inverted is None:
            return faiss.SearchParametersHNSW(efSearch=candidates, sel=selector)
        return faiss.SearchParametersIVF(nprobe=inverted.nprobe, sel=selector)

    @abstractmethod
    def _rank(
        self,
        state: State,
        query: NDArray[Any],
        k: int,
        proposed: NDArray[np.int64],
        selection: Selection | None,
        excluded: NDArray[np.int64],
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Distances and ids, ascending by id, of a query's (1, d) candidates: those proposed, those FAISS lacks."""

    def _compare(
        self,
        state: State,
        queries: NDArray[Any],
        k: int,
        ids: NDArray[np.int64],
        without: Sequence[NDArray[np.int64]] | None,
    ) -> Neighbours:
        """The k nearest among images `ids` (m,) ascending, all compared."""
        return scan(self._metric, self._rows, ids, queries, k, without)

    # The index

    def __len__(self) -> int:
        return len(self._state.ids)

    def search(
        self,
        queries: NDArray[Any],
        k: int,
        selection: Selection | None = None,
        without: Sequence[NDArray[np.int64]] | None = None,
    ) -> Neighbours:
        """The k nearest of the candidates of each query (q, d); see the `Index` protocol."""
        return self._search(self._state, queries, k, selection, without)

    def _search(
        self,
        state: State,
        queries: NDArray[Any],
        k: int,
        selection: Selection | None = None,
        without: Sequence[NDArray[np.int64]] | None = None,
    ) -> Neighbours:
        result = empty_neighbours(len(queries), k)
        if not k or not len(queries):
            return result
        drops = selection is None or (selection.included is None and len(selection.excluded) <= FEW)
        chosen = selected(state.ids, selection)
        if len(chosen) <= self._compare_up_to:
            distances, ids = self._compare(state, queries, k, chosen, without)
            return np.maximum(distances, 0), ids
        excluded = [excluded_by(selection if drops else None, without, at) for at in range(len(queries))]
        candidates = min(self._candidates(k, len(state.ids)), len(chosen)) + max(map(len, excluded))
        parameters = self._parameters(state, candidates, state.selector if drops else state.selector_of(chosen))
        several = len(queries) >= _SEVERAL
        faiss.omp_set_num_threads(available_cores() if several else 1)
        _, labels = state.proposing.search(self._coordinates(queries), candidates, params=parameters)

        def rank(at: int) -> None:
            query = queries[at : at + 1]
            proposed = without_ids(np.sort(labels[at][labels[at] >= 0]), excluded[at])
            distances, ids = self._rank(state, query, k, proposed, selection, excluded[at])
            if len(ids) < k and len(ids) < len(without_ids(chosen, excluded[at])):  # FAISS read too few lists
                nearest = self._compare(state, query, k, chosen, [excluded[at]])
                result[0][at], result[1][at] = np.maximum(nearest[0][0], 0), nearest[1][0]
            else:
                put_nearest(result, at, distances, ids)

        if several:
            with ThreadPoolExecutor(available_cores(), "rank") as pool:
                list(pool.map(rank, range(len(queries))))
        else:
            for at in range(len(queries)):
                rank(at)
        return result

    def distances(self, queries: NDArray[Any], ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """Distances (q, m), NaN where an image has no vector; see the `Index` protocol."""
        return measured_distances(self._metric, self._rows, self._state.ids, queries, ids)

    def add(self, ids: NDArray[np.int64], vectors: NDArray[Any]) -> None:
        """Add images, which are searched exactly until `flush`; see the `Index` protocol."""
        if not len(ids):
            return
        with self._changing:
            state = self._state
            exact = state.exact.copy()
            exact.add(ids, vectors)
            replaced = with_ids(state.replaced, ids[among(ids, state.labels)])
            self._state = replace(state, ids=with_ids(state.ids, ids), exact=exact, replaced=replaced)

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove images; see the `Index` protocol."""
        with self._changing:
            state = self._state
            exact = state.exact.copy()
            exact.remove(ids)
            self._state = replace(state, ids=without_ids(state.ids, np.unique(ids)), exact=exact)

    def flush(self) -> None:
        """Build the FAISS index anew where it lacks more than a tenth of the vectors, and store it.

        It is loaded instead where another copy of this index has stored one since that lacks less.
        """
        with self._changing:
            state = self._state
            if state.is_outdated:
                stored = None if len(state.replaced) else self._stored_state(state.ids)
                self._state = stored or self._built_state(state.ids)

    def copy(self) -> Self:
        """An independent index that shares all memory."""
        copied = copy(self)
        copied._changing = Lock()
        return copied

    def recall_at(self, k: int, sample: int = 100, seed: int = 0) -> float:
        """Share of the true k nearest that a search returns; see the `Index` protocol."""
        state = self._state
        return self._recall(state, *self._sample(state, k, sample, seed)) if len(state.ids) else 1.0

    def _sample(self, state: State, k: int, count: int, seed: int) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Some of the index's own vectors (q, d), and the distances (q, k + 1) to themselves and the k nearest."""
        queries = np.array(self._rows.take(sample_of(state.ids, count, seed)))
        return queries, np.maximum(self._compare(state, queries, k + 1, state.ids, None)[0], 0)

    def _recall(self, state: State, queries: NDArray[Any], true: NDArray[np.float64]) -> float:
        returned, _ = self._search(state, queries, true.shape[1])
        return float((returned[:, 1:] <= true[:, -1:]).mean())

    def _stored_state(self, ids: NDArray[np.int64]) -> State | None:
        if self._folder is None:
            return None
        proposing = read_index(self._folder / self._file_name(len(ids)))
        if proposing is None or not self._is_usable(proposing):
            return None
        state = self._state_of(ids, proposing)
        return None if state.is_outdated else state

    def _built_state(self, ids: NDArray[np.int64]) -> State:
        faiss.omp_set_num_threads(available_cores())
        state = self._state_of(ids, self._build(ids))
        self._tune(state)
        if self._folder is not None:
            write_index(state.proposing, self._folder / self._file_name(len(ids)))
        return state

    def _tune(self, state: State) -> None:
        """Have a search of an inverted file probe enough lists; FAISS stores their number with the index."""
        inverted = inverted_file(state.proposing)
        if inverted is None or not len(state.ids):
            return
        queries, true = self._sample(state, 20, 100, seed=1)

        def recall(part: int) -> float:
            inverted.nprobe = max(1, inverted.nlist // part)
            return self._recall(state, queries, true)

        wanted = min(SAMPLE_RECALL, recall(self._probed_parts[-1]) - _NO_GAIN)
        next(part for part in self._probed_parts if recall(part) >= wanted)
        # Twice as many, since a picture from outside may lie less well among the lists than the gallery's own.
        inverted.nprobe = min(inverted.nlist, 2 * inverted.nprobe)

    def _state_of(self, ids: NDArray[np.int64], proposing: Any) -> State:
        labels = np.sort(faiss.vector_to_array(proposing.id_map))
        return State(ids, proposing, labels, self._exact(ids, ids[~among(ids, labels)]))


def inverted_file(proposing: Any) -> Any | None:
    """FAISS's inverted file under its labels, or None where it is a graph; valid while `proposing` is."""
    inner = faiss.downcast_index(proposing.index) if isinstance(proposing, faiss.IndexIDMap) else None
    return inner if isinstance(inner, faiss.IndexIVF) else None


def sample_of(ids: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Some of ids (n,), drawn at random, in their order."""
    return ids[np.sort(np.random.default_rng(seed).choice(len(ids), min(count, len(ids)), replace=False))]


def matches(
    file: Path, ids: NDArray[np.int64], coordinates: Callable[[NDArray[np.int64]], NDArray[np.float32]]
) -> bool:
    """Whether FAISS's index in an undamaged file has the coordinates of the images `ids` (n,) that it knows.

    coordinates: (m,) ids -> (m, d'). Images that were removed since are left out. An index of compressed codes cannot
    be compared, and only proposes.
    """
    proposing = read_index(file)
    if not isinstance(proposing, faiss.IndexIDMap):
        return False
    inner = faiss.downcast_index(proposing.index)
    if isinstance(inner, faiss.IndexIVFFlat):
        inner.make_direct_map()
    elif not isinstance(inner, faiss.IndexHNSWFlat):
        return True
    labels = faiss.vector_to_array(proposing.id_map)
    if inner.ntotal != len(labels):
        return False
    for start in range(0, len(labels), BLOCK):
        block = labels[start : start + BLOCK]
        present = among(block, ids)
        stored = inner.reconstruct_n(start, len(block))[present]
        expected = coordinates(block[present])
        if stored.shape != expected.shape or not np.array_equal(stored, expected):
            return False
    return True
