"""Nearest descriptors in large galleries: FAISS proposes, LIRE's distance decides.

An inverted file (J. Sivic and A. Zisserman, "Video Google", ICCV 2003) over the descriptor's coordinates
gives candidates. Its L1 or L2 equals the native distance for Tamura, EdgeHistogram and PHOG, is within
sqrt(3) and sqrt(1.45) of it for ColorLayout and AutoColorCorrelogram, and leaves out the ratio of lengths for
JCD; so what is lost is in lists that were not looked at, but for ColorLayout, which needs many candidates.
`recall_at` measures it: at least 0.99 of the nearest 20 for each of the six among 120,000 and 300,000 crosses of
real descriptors (`tests/benchmarks/bench_descriptors.py --large`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import faiss
import numpy as np
from numpy.typing import NDArray

from retrieval.filters import Selection
from retrieval.index import approximate
from retrieval.index.approximate import COMPARE_UP_TO, ApproximateIndex, State, inverted_file, sample_of
from retrieval.index.descriptor_scan import DescriptorScan
from retrieval.index.neighbours import selected, without_ids
from retrieval.index.protocol import BLOCK, CompiledMetric, Index, Metric, Neighbours, Rows

FILE = "IVF.faiss"


class DescriptorIVF(ApproximateIndex):
    """Nearest descriptors by LIRE's distance among those of an inverted file's nearest lists.

    See `ApproximateIndex`; an exact scan of all vectors is in memory as well, for small selections.
    """

    _probed_parts = (32, 16, 8, 4)

    def __init__(
        self,
        metric: CompiledMetric,
        rows: Rows,
        ids: NDArray[np.int64],
        folder: Path | None = None,
        *,
        compare_up_to: int = COMPARE_UP_TO,
    ) -> None:
        self._compiled = metric
        super().__init__(metric, rows, ids, folder, compare_up_to)

    @property
    def description(self) -> str:
        """How many lists there are, and how many a search reads."""
        inverted: Any = inverted_file(self._state.proposing)
        return f"IVF{inverted.nlist}, {inverted.nprobe} lists a query, re-ranked"

    def _file_name(self, count: int) -> str:
        return FILE

    def _build(self, ids: NDArray[np.int64]) -> Any:
        lists = int(np.sqrt(len(ids)))
        training = self._coordinates(self._rows.take(sample_of(ids, 40 * lists, seed=0)))
        by = faiss.METRIC_L1 if self._compiled.proposes_by == "L1" else faiss.METRIC_L2
        # Lists by the distance that proposes lose less: by L2, EdgeHistogram's heavier values would rule.
        quantizer = faiss.IndexFlat(training.shape[1], by)
        inverted = faiss.IndexIVFFlat(quantizer, training.shape[1], lists, by)
        inverted.cp.niter = 10
        inverted.train(training)
        labelled = faiss.IndexIDMap(inverted)
        for start in range(0, len(ids), BLOCK):
            block = ids[start : start + BLOCK]
            labelled.add_with_ids(self._coordinates(self._rows.take(block)), block)
        return labelled

    def _is_usable(self, proposing: Any) -> bool:
        inverted = inverted_file(proposing)
        return isinstance(inverted, faiss.IndexIVFFlat) and inverted.d == self._dimension

    @property
    def _dimension(self) -> int:
        """How many coordinates a descriptor has."""
        return int(self._coordinates(np.zeros((1, self._rows.dimension))).shape[1])

    def _exact(self, ids: NDArray[np.int64], recent: NDArray[np.int64]) -> Index:
        return DescriptorScan(self._compiled, self._rows, ids)

    def _coordinates(self, vectors: NDArray[Any]) -> NDArray[np.float32]:
        return self._compiled.candidate_coordinates(vectors)

    def _candidates(self, k: int, count: int) -> int:
        return 16 * k + count // 100

    def _rank(
        self,
        state: State,
        query: NDArray[Any],
        k: int,
        proposed: NDArray[np.int64],
        selection: Selection | None,
        excluded: NDArray[np.int64],
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        recent = without_ids(selected(state.recent, selection), excluded)
        ids = np.union1d(proposed, recent)
        return state.exact.distances(query, ids)[0], ids

    def _compare(
        self,
        state: State,
        queries: NDArray[Any],
        k: int,
        ids: NDArray[np.int64],
        without: Sequence[NDArray[np.int64]] | None,
    ) -> Neighbours:
        return state.exact.search(queries, k, Selection(state.ids, ids), without)


def build(metric: Metric, rows: Rows, ids: NDArray[np.int64], folder: Path | None) -> DescriptorIVF:
    """An index of the images `ids` (n,) ascending."""
    return DescriptorIVF(cast(CompiledMetric, metric), rows, ids, folder)


def file_name(count: int, dimension: int) -> str:
    """The file of the inverted file, whatever its size."""
    return FILE


def matches(file: Path, metric: Metric, rows: Rows, ids: NDArray[np.int64]) -> bool:
    """Whether a file holds the coordinates of images `ids` (n,); see `StoredBackend`."""
    compiled = cast(CompiledMetric, metric)
    return approximate.matches(file, ids, lambda chosen: compiled.candidate_coordinates(rows.take(chosen)))
