"""Nearest descriptors in large galleries: FAISS proposes, LIRE's distance decides.

An inverted file (J. Sivic and A. Zisserman, "Video Google", ICCV 2003) over the descriptor's coordinates
gives candidates. Its L1 or L2 equals the native distance for Tamura, EdgeHistogram and PHOG, is within
sqrt(3) and sqrt(1.45) of it for ColorLayout and AutoColorCorrelogram, and leaves out the ratio of lengths for
JCD; so what is lost is in lists that were not looked at, but for ColorLayout, which needs many candidates.
`recall_at` measures it: at least 0.99 of the nearest 20 for each of the six among 120,000 and 300,000 crosses of
real descriptors (`tests/benchmarks/bench_descriptors.py --large`).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from retrieval.descriptors.native_distance import NativeDistance
from retrieval.index.keeping import read_kept, write_kept
from retrieval.index.native import NativeIndex, nearest
from retrieval.index.protocol import BLOCK, FILTER_COMPARES_UP_TO

SAMPLE_RECALL = 0.997
"""Share of the true 20 nearest of a sample that must be found; twice as many lists are looked at as that takes."""


class ProposedIndex:
    """Compares candidates of an inverted file.

    vectors: (n, d) in the space's stored dtype; ids: (n,) int64, which identify them; folder and name: where
    the inverted file is kept between runs. One that is missing, damaged or of other ids is built again.
    """

    def __init__(
        self,
        metric: NativeDistance,
        vectors: NDArray[Any],
        ids: NDArray[np.int64],
        folder: Path | None = None,
        name: str = "",
    ) -> None:
        self._metric = metric
        self._vectors = vectors
        self._every = NativeIndex(metric, vectors)
        file = None if folder is None else folder / file_name(name, ids)
        kept: Any = None if file is None else read_kept(file)
        is_usable = isinstance(kept, faiss.IndexIVFFlat) and kept.ntotal == len(vectors)
        self._faiss = kept if is_usable else _build(metric, vectors)
        self._lists: int = self._faiss.nprobe  # kept with the rest
        if not is_usable:
            self._look_at_enough_lists()
            if file is not None:
                write_kept(self._faiss, file, outdated=file.parent.glob(f"{name}.*.ivf.faiss"))
        self.description = f"IVF{self._faiss.nlist}, {self._lists} lists a query, re-ranked"

    def search(
        self, queries: NDArray[Any], k: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The k nearest rows of each query (q, d) among the candidates; see the `Index` protocol."""
        existing = len(self._vectors) if allowed is None else int(np.count_nonzero(allowed))
        if existing <= FILTER_COMPARES_UP_TO:
            return self._every.search(queries, k, allowed)
        asked = self._metric.compact(queries)
        found, found_rows = np.empty((len(asked), k)), np.empty((len(asked), k), dtype=np.int64)
        for at, proposed in enumerate(
            self._propose(queries, min(existing, 16 * k + len(self._vectors) // 100), allowed)
        ):
            rows = np.sort(proposed[proposed >= 0])
            if len(rows) < min(k, existing):  # the lists that were looked at hold too few
                distances, numbers = self._every.search(queries[at : at + 1], k, allowed)
                found[at], found_rows[at] = distances[0], numbers[0]
                continue
            distances = self._metric.compact_distances(asked[at : at + 1], self._every.compact[rows])[0]
            order = nearest(distances, k)
            found[at], found_rows[at] = distances[order], rows[order]
        return found, found_rows

    def recall_at(self, k: int, sample: int = 100, seed: int = 0) -> float:
        """Share of the true k nearest that a search finds, for a random sample of the gallery's own vectors.

        A hit as near as the true k-th counts as found. The vector itself is left out, as it is always found.
        """
        queries = self._sample(sample, seed)
        return self._recall(queries, self._every.search(queries, k + 1)[0])

    def _look_at_enough_lists(self) -> None:
        queries = self._sample(100, seed=1)
        nearest_20, _ = self._every.search(queries, 21)
        lists = self._faiss.nlist
        for self._lists in (lists // 32, lists // 16, lists // 8, lists // 4):
            if self._recall(queries, nearest_20) >= SAMPLE_RECALL:
                break
        # Twice as many, since a picture from outside may lie less well among the lists than the gallery's own.
        self._lists = self._faiss.nprobe = 2 * self._lists

    def _sample(self, count: int, seed: int) -> NDArray[Any]:
        random = np.random.default_rng(seed)
        chosen = np.sort(random.choice(len(self._vectors), min(count, len(self._vectors)), replace=False))
        return np.ascontiguousarray(self._vectors[chosen])

    def _recall(self, queries: NDArray[Any], true: NDArray[np.float64]) -> float:
        """Recall of queries from the gallery, given the distances of the query itself and its true nearest."""
        found, _ = self.search(queries, true.shape[1])
        return float((found[:, 1:] <= true[:, -1:]).mean())

    def _propose(self, queries: NDArray[Any], count: int, allowed: NDArray[np.bool_] | None) -> NDArray[np.int64]:
        settings: Any = faiss.SearchParametersIVF()
        settings.nprobe = self._lists
        if allowed is not None:
            selector: Any = faiss.IDSelectorBitmap
            settings.sel = selector(np.packbits(allowed, bitorder="little"))
        proposed: NDArray[np.int64]
        _, proposed = self._faiss.search(self._metric.candidate_coordinates(queries), count, params=settings)
        return proposed


def _build(metric: NativeDistance, vectors: NDArray[Any]) -> Any:
    """An inverted file of sqrt(n) lists, trained on 40 vectors a list; rows are its labels."""
    lists = int(np.sqrt(len(vectors)))
    chosen = np.random.default_rng(0).choice(len(vectors), min(len(vectors), 40 * lists), replace=False)
    training = metric.candidate_coordinates(vectors[np.sort(chosen)])
    by = faiss.METRIC_L1 if metric.proposes_by == "L1" else faiss.METRIC_L2
    # Lists told apart by the distance that proposes lose less: by L2, EdgeHistogram's heavier values would rule alone.
    quantizer = faiss.IndexFlat(training.shape[1], by)
    index = faiss.IndexIVFFlat(quantizer, training.shape[1], lists, by)
    index.cp.niter = 10
    index.train(training)
    for start in range(0, len(vectors), BLOCK):
        index.add(metric.candidate_coordinates(vectors[start : start + BLOCK]))
    return index


def file_name(name: str, ids: NDArray[np.int64]) -> str:
    """What the inverted file of a space is called that holds exactly these ids."""
    return f"{name}.{hashlib.sha256(np.ascontiguousarray(ids, dtype=np.int64).tobytes()).hexdigest()[:16]}.ivf.faiss"
