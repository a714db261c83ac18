"""Approximate search among many unit vectors by cosine, exact wherever that is as fast.

Every vector is coded in 8 bits, as the exact index codes it. Over these codes a graph or an inverted file proposes
candidates, which double precision ranks. It was tuned on its own gallery when it was built, and stored. Until it is
built, for what came since, and for filters that so few images pass that candidates would cost more or miss them, the
codes are scanned, which is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from retrieval.cores import available_cores
from retrieval.filters import Selection, among
from retrieval.index.building import Wanted, build_proposer, load_proposer, tuned_again, wanted_of
from retrieval.index.cosine import Cosine
from retrieval.index.cosine_batch import PAYS_FROM, search_many
from retrieval.index.int8_scan import Int8Index, Scope, drops, padded_to, whole_query
from retrieval.index.neighbours import (
    FEW,
    empty_neighbours,
    excluded_by,
    measured_distances,
    merged,
    put_nearest,
    ranked,
    scan,
    selected,
    with_ids,
    without_ids,
)
from retrieval.index.proposer import Proposer, Setting
from retrieval.index.protocol import EXACT, Metric, Neighbours, Rows
from retrieval.index.shape import shape_of

GROWN = 4
"""The index is built and tuned anew once it lacks, or has lost, one in so many of its vectors."""
_UNCODED = 8
"""Queries that are compared with the vectors themselves before coding all of them pays."""
_SEVERAL = 8
"""Queries from which a search uses every core."""
_AWAY = 0.35
_SCATTERED, _MOST_SCATTERED = 5.0, 1.25
"""How much longer a scan takes for each vector where a selector passes few, and at most by a scan of all."""
_STEPS = 1.5
"""Steps of a coding by which a product with a unit vector may differ: five standard deviations of rounding errors. What
proposes is not exact in any case, and the proven bound would spare no candidate of 1,280 dimensions.
"""
_DEEP, _THINNED = 64, 5
"""Ranks beyond which one in so many queries of the sample is enough: each search takes long and has many ranks."""
_SKIP = 1.0e-6
"""Milliseconds that a scan takes for each vector that a selector leaves out."""


@dataclass(frozen=True, eq=False)
class _State:
    """ids: (n,) ascending, the images that are in the index. exact: their codes; None where nothing is coded yet.
    proposer: of the codes of the first segment, as long as it is the one that it was built on.
    """

    ids: NDArray[np.int64]
    exact: Int8Index | None
    proposer: Proposer | None

    @property
    def proposes(self) -> bool:
        """Whether candidates can be proposed."""
        if self.proposer is None or self.exact is None or not self.exact.segments:
            return False
        return self.exact.segments[0].codes is self.proposer.codes

    @property
    def is_outdated(self) -> bool:
        """Whether the proposer should be built anew."""
        if not self.proposes:
            return True
        assert self.exact is not None
        first = self.exact.segments[0]
        changed = len(self.ids) - first.count + len(first.ids) - first.count
        return GROWN * changed > len(first.ids)


class FaissIndex:
    """Nearest unit vectors by cosine.

    rows: the stored vectors, float32 of unit length. ids: (n,) int64 ascending, the images that have one. folder: where
    the built index is stored and loaded from; None for nowhere. wanted: recall and memory that it is built for; None
    for those that the folder has. An index that was built for others serves until `flush` has brought another.
    """

    def __init__(
        self, rows: Rows, ids: NDArray[np.int64], folder: Path | None = None, wanted: Wanted | None = None
    ) -> None:
        self._rows = rows
        self._metric = Cosine()
        self._folder = folder
        self._given = wanted
        self._changing = Lock()
        self._uncoded = 0
        # Replaced as a whole, never changed in place: a search goes on with the one that it began with.
        self._state = self._loaded(ids) or _State(ids, None, None)

    @property
    def description(self) -> str:
        """FAISS's name of the index, and its recall and time as measured; EXACT where every vector is compared."""
        state = self._state
        if not state.proposes or state.proposer is None:
            return EXACT
        return str(state.proposer.tuning)

    def __len__(self) -> int:
        return len(self._state.ids)

    @property
    def is_outdated(self) -> bool:
        """Whether `flush` would build what proposes anew."""
        return self._needs_building(self._state, self._wanted)

    @property
    def is_tuned_otherwise(self) -> bool:
        """Whether `flush` would tune what proposes for another recall."""
        return not self.is_outdated and self._needs_tuning(self._state, self._wanted)

    def search(
        self,
        queries: NDArray[Any],
        k: int,
        selection: Selection | None = None,
        without: Sequence[NDArray[np.int64]] | None = None,
    ) -> Neighbours:
        """The k nearest images of each query (q, d); see the `Index` protocol."""
        state = self._state
        queries = np.ascontiguousarray(queries, np.float32)
        if not k or not len(queries) or not len(state.ids):
            return empty_neighbours(len(queries), k)
        if selection is not None and selection.included is not None and len(selection.included) <= FEW:
            distances, ids = scan(self._metric, self._rows, selected(state.ids, selection), queries, k, without)
            return np.maximum(distances, 0), ids
        if state.exact is None:
            together = len(queries) >= PAYS_FROM  # compared without codes in any case
            self._uncoded += 0 if together else len(queries)
            if together or self._uncoded <= _UNCODED:
                return search_many(self._rows, selected(state.ids, selection), queries, k, without)
            state = self._coded()
        assert state.exact is not None
        most = max(map(len, without), default=0) if without is not None else 0
        setting = self._setting(state, k + most, selection)
        if setting is None:
            return state.exact.search(queries, k, selection, without)
        return self._propose(state, state.exact, setting, queries, k, selection, without)

    def distances(self, queries: NDArray[Any], ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """Distances (q, m), NaN where an image has no vector; see the `Index` protocol."""
        return measured_distances(self._metric, self._rows, self._state.ids, queries, ids)

    def add(self, ids: NDArray[np.int64], vectors: NDArray[Any]) -> None:
        """Add images, whose codes are scanned until `flush`; see the `Index` protocol."""
        if not len(ids):
            return
        with self._changing:
            state = self._state
            exact = None if state.exact is None else state.exact.copy()
            if exact is not None:
                exact.add(ids, vectors)
            later = with_ids(state.ids, np.unique(ids)) if exact is None else exact.ids
            self._state = _State(later, exact, state.proposer)

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove images; see the `Index` protocol."""
        with self._changing:
            state = self._state
            exact = None if state.exact is None else state.exact.copy()
            if exact is not None:
                exact.remove(ids)
            later = without_ids(state.ids, np.unique(ids)) if exact is None else exact.ids
            self._state = _State(later, exact, state.proposer)

    def flush(self) -> None:
        """Build, tune and store what proposes anew where a quarter has changed or another kind is wanted.

        Where another recall alone is wanted it is only tuned. It is loaded instead where another copy of this index, or
        another process, has stored one since. Searches go on with the state as it is.
        """
        with self._changing:
            state, wanted = self._state, self._wanted
            if wanted.is_exact:
                self._state = replace(state, proposer=None)
                return
            if not self._needs_building(state, wanted) and not self._needs_tuning(state, wanted):
                return
            loaded = self._loaded(state.ids)
            if loaded is not None and not self._needs_building(loaded, wanted):
                state = self._state = loaded
            if self._needs_building(state, wanted):
                built = build_proposer(self._rows, state.ids, self._folder, wanted, self._recall)
                if built is not None:
                    proposer, segment = built
                    self._state = _State(state.ids, Int8Index.of_segments(self._rows, state.ids, (segment,)), proposer)
            elif self._needs_tuning(state, wanted):
                assert state.proposer is not None
                assert state.exact is not None
                segment = state.exact.segments[0]
                again = tuned_again(state.proposer, segment, self._rows, self._folder, wanted.recall, self._recall)
                if again is not None:
                    self._state = replace(state, proposer=again)

    def copy(self) -> Self:
        """An independent index that shares all memory."""
        copied = copy(self)
        copied._changing = Lock()
        return copied

    def recall_at(self, k: int, sample: int = 100, seed: int = 0) -> float:
        """Share of the true k nearest that a search returns; see the `Index` protocol."""
        state = self._coded() if self._state.exact is None else self._state
        if not state.proposes or not len(state.ids):
            return 1.0
        assert state.exact is not None
        chosen = np.sort(np.random.default_rng(seed).choice(len(state.ids), min(sample, len(state.ids)), replace=False))
        ids = state.ids[chosen]
        queries, own = self._rows.take(ids), [ids[at : at + 1] for at in range(len(ids))]
        true = state.exact.search(queries, k, None, own)[0][:, -1:]
        setting = self._setting(state, k + 1, None)
        returned = (
            true
            if setting is None
            else self._propose(state, state.exact, setting, np.ascontiguousarray(queries), k, None, own)[0]
        )
        return float((returned <= true).mean())

    # Steps of a search

    def _setting(self, state: _State, ranks: int, selection: Selection | None) -> Setting | None:
        """How candidates are proposed for so many ranks; None where a scan is exact and costs no more.

        Among the nearest of all images those that pass a filter are counted, and a query takes the scan after all where
        they are too few; so one that is far from all that passes it is answered as well as any other.
        """
        if not state.proposes or state.proposer is None:
            return None
        assert state.exact is not None
        tuning, first = state.proposer.tuning, state.exact.segments[0]
        scope = first.scope(selection)
        share = scope.count / len(first.ids)
        if not share:
            return None
        restricts = selection is not None and not selection.is_everything and not drops(selection)
        setting = tuning.setting_for((2 if restricts else 1) * ranks / share)
        scanned = tuning.scan
        if scope.selector is not None:
            scanned = scanned * min(_MOST_SCATTERED, _SCATTERED * share) + _SKIP * len(first.ids)
        if setting is None or setting.milliseconds >= scanned:
            return None
        return setting

    def _propose(
        self,
        state: _State,
        exact: Int8Index,
        setting: Setting,
        queries: NDArray[np.float32],
        k: int,
        selection: Selection | None,
        without: Sequence[NDArray[np.int64]] | None,
        complete: bool = True,
    ) -> Neighbours:
        """The k nearest of the candidates of each query. complete: scan for a query that has too few of them."""
        result = empty_neighbours(len(queries), k)
        scopes = [segment.scope(selection) for segment in exact.segments]
        dropped = selection if selection is not None and drops(selection) else None

        def search(at: int) -> None:
            faiss.omp_set_num_threads(1)  # of this thread
            excluded = excluded_by(dropped, without, at)
            self._search_one(state, exact, setting, queries[at], scopes, excluded, result, at, complete)

        if len(queries) >= _SEVERAL:
            with ThreadPoolExecutor(available_cores(), "search") as pool:
                list(pool.map(search, range(len(queries))))
        else:
            for at in range(len(queries)):
                search(at)
        return result

    def _search_one(
        self,
        state: _State,
        exact: Int8Index,
        setting: Setting,
        query: NDArray[np.float32],
        scopes: Sequence[Scope],
        excluded: NDArray[np.int64],
        result: Neighbours,
        at: int,
        complete: bool,
    ) -> None:
        assert state.proposer is not None
        k, first = result[0].shape[1], scopes[0]
        whole, step = whole_query(query)
        products, positions = state.proposer.propose(padded_to(state.proposer.codes.d, whole), setting)
        ids, last = first.segment.ids[positions], k - 1
        if first.passes is not None or len(excluded):
            passing = np.ones(len(ids), bool) if first.passes is None else first.passes[positions]
            if len(excluded):
                passing &= ~among(ids, excluded)
            ranks = np.flatnonzero(passing)
            products, ids, last = products[ranks], ids[ranks], int(ranks[k - 1]) if len(ranks) >= k else len(positions)
        if complete and (len(ids) < k or last >= setting.serves):  # too few of those that the setting returns reliably
            nearest = exact.search_segments(query, k, scopes, excluded)
            result[0][at], result[1][at] = nearest[0][0], nearest[1][0]
            return
        if len(ids) > k:
            segment = first.segment
            norm = math.sqrt(np.dot(query, query))
            hidden = _STEPS * (segment.length + norm * segment.step / step)
            ids = ids[: np.searchsorted(-products, 2 * hidden - products[k - 1], side="right")]  # of the query's step
        distances, ids = ranked(self._metric, self._rows, query, np.sort(ids), k)
        if len(scopes) > 1:
            recent = exact.search_segments(query, k, scopes[1:], excluded)
            distances, ids = merged(distances, ids, recent[0][0], recent[1][0])
        put_nearest(result, at, distances, ids)

    # Building

    @property
    def _wanted(self) -> Wanted:
        return self._given or wanted_of(self._folder)

    def _needs_building(self, state: _State, wanted: Wanted) -> bool:
        if wanted.is_exact or not len(state.ids):
            return False
        if state.is_outdated or state.proposer is None or state.exact is None:
            return True
        count = len(state.exact.segments[0].ids)
        shape = shape_of(count, self._rows.dimension, wanted.memory, wanted.recall)
        return state.proposer.is_graph != shape.is_graph

    def _needs_tuning(self, state: _State, wanted: Wanted) -> bool:
        return not wanted.is_exact and state.proposer is not None and state.proposer.tuning.target != wanted.recall

    def _coded(self) -> _State:
        """The state with all vectors coded, which the first searches do without."""
        with self._changing:
            state = self._state
            if state.exact is None:
                state = self._state = _State(state.ids, Int8Index(self._rows, state.ids), None)
            return state

    def _loaded(self, ids: NDArray[np.int64]) -> _State | None:
        """The state with the stored index, where there is a usable one."""
        if self._folder is None or self._wanted.is_exact:
            return None
        loaded = load_proposer(self._folder, self._rows, ids)
        if loaded is None:
            return None
        proposer, segment = loaded
        exact = Int8Index.of_segments(self._rows, segment.live, (segment,))
        further = ids[~among(ids, segment.live)]
        if len(further):
            exact.add(further, self._rows.take(further[:0]))
        return _State(ids, exact, proposer)

    def _recall(self, proposer: Proposer, exact: Int8Index, count: int) -> Any:
        """Sample queries (q, d), and a function that measures the recall of a setting on them."""
        ids = exact.ids
        chosen = ids[np.sort(np.random.default_rng(1).choice(len(ids), min(count, len(ids)), replace=False))]
        queries = np.array(self._rows.take(chosen))
        own = [chosen[at : at + 1] for at in range(len(chosen))]
        # Pictures from outside lie less well among the gallery: one query in four is moved towards another image.
        between = np.arange(0, len(chosen) - 1, 4)
        queries[between] += _AWAY * queries[between + 1]
        queries[between] /= np.maximum(np.linalg.norm(queries[between], axis=1, keepdims=True), 1e-6)
        for at in between.tolist():
            own[at] = own[at][:0]
        state = _State(ids, exact, proposer)
        true: dict[int, NDArray[np.float64]] = {}

        def recall(setting: Setting) -> float:
            k = min(setting.serves, len(ids)) - 1  # the query itself has a rank as well
            used = slice(None, None, _THINNED if setting.serves > _DEEP and len(queries) > 100 else 1)
            if k not in true:
                true[k] = search_many(self._rows, ids, queries[used], k, own[used])[0][:, -1:]
            returned = self._propose(state, exact, setting, queries[used], k, None, own[used], complete=False)[0]
            return float((returned <= true[k]).mean())

        return queries, recall


def build(metric: Metric, rows: Rows, ids: NDArray[np.int64], folder: Path | None) -> FaissIndex:
    """An index of the images `ids` (n,) ascending."""
    return FaissIndex(rows, ids, folder)


def matches(file: Path, metric: Metric, rows: Rows, ids: NDArray[np.int64]) -> bool:
    """Whether a file holds the codes of the vectors of images `ids` (n,); see `StoredBackend`."""
    from retrieval.index.building import holds

    return holds(file, rows, ids)
