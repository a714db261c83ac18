"""Nearest embeddings by FAISS: exact to begin with, approximate where the gallery is large; always re-ranked exactly.

What FAISS returns is taken as candidates only, for it compares coded vectors: their distances are computed anew in
double precision, and the order is by those, then by row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from retrieval.cores import available_cores
from retrieval.index.cosine import Cosine
from retrieval.index.keeping import read_kept, write_kept
from retrieval.index.protocol import BLOCK, FILTER_COMPARES_UP_TO

EXACT_UP_TO = 50_000
"""Gallery size up to which every vector is compared; beyond, a graph answers faster (measured at 512 dimensions)."""
HNSW_UP_TO = 300_000
"""Beyond this, a graph takes too much memory and building; an inverted file with product quantisation takes over."""
_SLACK = 1e-5
"""More than single precision can err on the inner product of unit vectors of 100,000 dimensions in FAISS's order."""


class EmbeddingIndex:
    """Nearest unit vectors by cosine.

    vectors: (n, d) float32 rows of unit length, possibly memory-mapped; ids: (n,) int64 ascending. folder and
    name: where an index that takes long to build is kept between runs. A kept one serves while at most a tenth of the
    vectors came since, which are then compared one by one; a missing, damaged or outdated one is built again.
    """

    def __init__(
        self,
        vectors: NDArray[np.float32],
        ids: NDArray[np.int64],
        folder: Path | None = None,
        name: str = "",
        *,
        exact_up_to: int = EXACT_UP_TO,
        hnsw_up_to: int = HNSW_UP_TO,
    ) -> None:
        self._vectors = vectors
        self._ids = ids
        self._metric = Cosine()
        self._exact = len(vectors) <= exact_up_to
        if self._exact:
            self.description = "exact"
            self._read_codes()
            return
        dimension = vectors.shape[1]
        self.description = description_of(len(vectors), dimension, hnsw_up_to)
        file = None if folder is None else folder / f"{name}.{self.description}.faiss"
        kept = None if file is None else _usable(read_kept(file), ids, dimension)
        if kept is None:
            kept = _build(vectors, ids, self.description)
            if file is not None:
                write_kept(kept, file)
        self._faiss = kept
        self._tail = np.flatnonzero(~np.isin(ids, faiss.vector_to_array(kept.id_map)))

    def search(
        self, queries: NDArray[np.generic], k: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The k nearest rows of each query (q, d); see the `Index` protocol."""
        wanted = np.ascontiguousarray(queries, np.float32)
        distances = np.full((len(wanted), k), np.inf)
        rows = np.full((len(wanted), k), -1, np.int64)
        candidates_exist = len(self._vectors) if allowed is None else int(np.count_nonzero(allowed))
        if not candidates_exist or not k:
            return distances, rows
        faiss.omp_set_num_threads(1 if self._exact or len(wanted) < 8 else available_cores())
        if self._exact or allowed is None or candidates_exist > FILTER_COMPARES_UP_TO:
            proposals = self._propose(wanted, k, candidates_exist, allowed)
        else:
            proposals = [(np.flatnonzero(allowed), -np.inf)] * len(wanted)
        for at, (query, (candidates, unseen)) in enumerate(zip(wanted, proposals, strict=True)):
            found, order = self._rank(query, candidates, k)
            more = 2 * len(candidates)
            # Rows left out have a cosine of at most `unseen`; go on until that proves that none of them belongs here.
            while self._exact and len(candidates) < candidates_exist and 1 - found[-1] <= unseen + _SLACK:
                ((candidates, unseen),) = self._propose(query[None], more, candidates_exist, allowed)
                found, order = self._rank(query, candidates, k)
                more *= 2
            distances[at, : len(found)], rows[at, : len(order)] = found, order
        return distances, rows

    def recall_at(self, k: int, sample: int = 100, seed: int = 0) -> float:
        """Share of the true k nearest that a search finds, for a random sample of the gallery's own vectors.

        A hit as near as the true k-th counts as found. The vector itself is left out, as it is always found.
        """
        if self._exact:
            return 1.0
        count = len(self._vectors)
        chosen = np.sort(np.random.default_rng(seed).choice(count, min(sample, count), replace=False))
        found, _ = self.search(np.array(self._vectors[chosen]), k + 1)
        true = np.full((len(chosen), k + 1), np.inf)
        for start in range(0, count, BLOCK):  # one pass over the vectors for all of the sample
            block = self._metric.distances(self._vectors[chosen], self._vectors[start : start + BLOCK])
            true = np.partition(np.hstack([true, block]), k, axis=1)[:, : k + 1]
        return float((np.sort(found, axis=1)[:, 1:] <= true.max(axis=1, keepdims=True)).mean())

    def _read_codes(self) -> None:
        """Fill an index of 8-bit codes: each search reads all of it, and a quarter of the bytes sooner."""
        blocks = [self._vectors[start : start + 256] for start in range(0, len(self._vectors), 256)]  # fit a cache
        self._step = max(map(_step, blocks), default=0.0)
        self._faiss = faiss.IndexScalarQuantizer(
            self._vectors.shape[1], faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT
        )
        self._lost = self._length = 0.0
        for block in blocks:
            codes = _coded(block, self._step)
            self._faiss.add(codes.whole)
            self._lost, self._length = max(self._lost, codes.lost), max(self._length, codes.length)

    def _rank(
        self, query: NDArray[np.float32], candidates: NDArray[np.int64], k: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        distances = self._metric.distances(query[None], self._vectors[candidates])[0]
        order = np.lexsort((candidates, distances))[:k]
        return distances[order], candidates[order]

    def _propose(
        self, queries: NDArray[np.float32], k: int, existing: int, allowed: NDArray[np.bool_] | None
    ) -> list[tuple[NDArray[np.int64], float]]:
        """Candidates of each query, and the inner product that no row left out exceeds by more than rounding."""
        if self._exact:
            return [self._propose_by_codes(query[None], min(existing, k + 128), allowed) for query in queries]
        count = min(existing, 8 * k + 256)  # four-bit codes order coarsely
        selected = np.zeros(int(self._ids[-1]) + 1, bool)
        selected[self._ids if allowed is None else self._ids[allowed]] = True
        _, found = self._faiss.search(queries, count, params=self._settings(count, _selector(selected)))
        tail = self._tail if allowed is None else self._tail[allowed[self._tail]]
        return [(np.concatenate([np.searchsorted(self._ids, labels[labels >= 0]), tail]), np.inf) for labels in found]

    def _propose_by_codes(
        self, query: NDArray[np.float32], count: int, allowed: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int64], float]:
        """As `_propose`, from whole numbers; what coding took from both sides bounds what it may have hidden."""
        codes = _coded(query, _step(query))
        settings = faiss.SearchParameters(sel=None if allowed is None else _selector(allowed))
        products, rows = self._faiss.search(codes.whole, count, params=settings)
        hidden = codes.lost * self._length + float(np.linalg.norm(query)) * self._lost
        return rows[0], float(products[0, -1]) * codes.step * self._step + hidden

    def _settings(self, count: int, selector: Any) -> Any:
        if self.description.startswith("HNSW"):
            return faiss.SearchParametersHNSW(efSearch=count, sel=selector)
        return faiss.SearchParametersIVF(nprobe=64, sel=selector)


@dataclass(frozen=True)
class _Codes:
    """Rows (n, d) as whole numbers from -127 to 127.

    step: what a 1 stands for. lost: the most that coding took from a row, as a length. length: the longest coded row's.
    """

    whole: NDArray[np.float32]
    step: float
    lost: float
    length: float


def _coded(rows: NDArray[np.float32], step: float) -> _Codes:
    whole = rows / np.float32(step)
    np.rint(whole, out=whole)
    lost = whole * np.float32(step)
    length = _longest(lost)
    lost -= rows
    return _Codes(whole, step, _longest(lost), length)


def _longest(rows: NDArray[np.float32]) -> float:
    return math.sqrt(np.einsum("nd,nd->n", rows, rows).max())


def _step(rows: NDArray[np.float32]) -> float:
    return max(float(rows.max()), -float(rows.min())) / 127


def _selector(rows: NDArray[np.bool_]) -> Any:
    return faiss.IDSelectorBitmap(np.packbits(rows, bitorder="little"))


def description_of(count: int, dimension: int, hnsw_up_to: int = HNSW_UP_TO) -> str:
    """FAISS's name for the index of a gallery that is too large to compare every vector; its file is named so."""
    return "HNSW32" if count <= hnsw_up_to else _inverted_file(count, dimension)


def _inverted_file(count: int, dimension: int) -> str:
    lists = 1 << int(np.log2(4 * np.sqrt(count)))
    codes = max(m for m in range(1, min(128, dimension // 2) + 1) if dimension % m == 0)
    return f"IVF{lists},PQ{codes}x4fs"


def _build(vectors: NDArray[np.float32], ids: NDArray[np.int64], description: str) -> Any:
    faiss.omp_set_num_threads(available_cores())
    index = faiss.index_factory(vectors.shape[1], description, faiss.METRIC_INNER_PRODUCT)
    if not index.is_trained:
        sample = np.random.default_rng(0).choice(len(vectors), min(len(vectors), 200_000), replace=False)
        index.train(np.ascontiguousarray(vectors[np.sort(sample)], np.float32))
    named = faiss.IndexIDMap(index)
    for start in range(0, len(vectors), 65_536):
        block = np.ascontiguousarray(vectors[start : start + 65_536], np.float32)
        named.add_with_ids(block, ids[start : start + 65_536])
    return named


def _usable(index: Any, ids: NDArray[np.int64], dimension: int) -> Any | None:
    """An index that was kept, where it is of this kind and covers all but a tenth of these ids, else None."""
    if not isinstance(index, faiss.IndexIDMap) or index.d != dimension:
        return None
    covered = int(np.count_nonzero(np.isin(ids, faiss.vector_to_array(index.id_map))))
    return index if len(ids) - covered <= max(1000, len(ids) // 10) else None
