"""A graph or an inverted file over int8 codes that proposes candidates, tuned on the gallery that it is built on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from retrieval.index.huge_pages import advise_huge_pages
from retrieval.index.shape import codes_of, inner_of

DEPTHS = ((16, 64), (64, 160), (256, 512), (1024, 1536))
"""(ranks that a setting serves, candidates that it fetches): more, since the codes order coarsely."""
_WIDTHS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
"""Of a graph: nodes that are expanded, by the candidates fetched."""
_PROBED_PARTS = (256, 128, 64, 48, 32, 24, 16, 12, 8, 4)
"""Of an inverted file: parts of its lists that are probed, 1/32 as 32."""
_FACTORS = (2, 4, 8, 16, 32)
"""Of an inverted file: candidates by four-bit codes, by the candidates fetched."""
_GRAPH_FACTORS = (1, 2)
"""Of a graph in a subspace: candidates in it, by the candidates fetched."""
_MARGIN = 0.2
"""Share of the way from the target to 1 that a setting must have reached on the sample, since that is small."""


@dataclass(frozen=True)
class Setting:
    """serves: ranks whose recall was measured. fetched: candidates. width: nodes that a graph's search expands. lists:
    that are probed of an inverted file. factor: candidates that are refined, by those fetched. recall: as measured, a
    share. milliseconds: median of one query on one thread.
    """

    serves: int
    fetched: int
    width: int = 0
    lists: int = 0
    factor: int = 0
    recall: float = 1.0
    milliseconds: float = 0.0


@dataclass(frozen=True)
class Tuning:
    """How an index is searched, as measured when it was built on `count` vectors.

    scan: milliseconds of comparing every code with a query. settings: ascending by the ranks that they serve. target:
    the recall that they were chosen for. seconds: that building took. over: what is compared for candidates.
    """

    name: str
    count: int
    target: float
    scan: float
    settings: tuple[Setting, ...]
    seconds: float
    over: str = "int8"

    def setting_for(self, ranks: float) -> Setting | None:
        """The cheapest setting that serves so many ranks with the recall that was wanted; None where none does."""
        serving = (one for one in self.settings if one.serves >= ranks and one.recall >= self.target)
        return next(serving, None)

    def __str__(self) -> str:
        if not self.settings:
            return f"{self.name} over {self.over}"
        first = self.settings[0]
        return (
            f"{self.name} over {self.over}, recall {first.recall:.4f} in {first.milliseconds:.2f} ms when it was built"
        )

    def to_dict(self) -> dict[str, Any]:
        """The tuning as plain values."""
        return asdict(self)

    @staticmethod
    def from_dict(stated: dict[str, Any]) -> Tuning:
        """What `to_dict` made."""
        return Tuning(**{**stated, "settings": tuple(Setting(**one) for one in stated["settings"])})


@dataclass(frozen=True, eq=False)
class Proposer:
    """FAISS's index over the positions of coded vectors.

    codes: FAISS's index of the int8 codes. index: the graph or inverted file, which has these codes inside or whose
    candidates they refine. step: what a code of 1 stands for.
    """

    codes: Any
    index: Any
    step: float
    tuning: Tuning

    def __post_init__(self) -> None:
        parts = [self.codes.codes]
        if self.is_graph:
            parts += [self._inner.hnsw.neighbors, codes_of(self._inner).codes]
        advise_huge_pages((self.codes, self.index), *parts)

    @property
    def is_graph(self) -> bool:
        """Whether it is a graph and not an inverted file."""
        return isinstance(self._inner, faiss.IndexHNSW)

    @property
    def is_refined(self) -> bool:
        """Whether the codes refine what the index proposes, which is over something coarser."""
        return not isinstance(self.index, faiss.IndexHNSW)

    @cached_property
    def _inner(self) -> Any:
        return inner_of(self.index)

    def propose(self, query: NDArray[np.float32], setting: Setting) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Products with coded vectors, descending, and positions (m,), of a query's codes (1, d), padded.

        FAISS compares codes as whole numbers, and would cut off what a query has behind the point.
        """
        if setting not in self._parameters:
            self._parameters[setting] = self._parameters_of(setting)
        products, positions = self._searched.search(query, setting.fetched, params=self._parameters[setting])
        products, positions = products[0] * np.float32(self.step), positions[0]
        if positions[-1] < 0:  # fewer than were to be fetched
            products, positions = products[positions >= 0], positions[positions >= 0]
        return products, positions

    def _parameters_of(self, setting: Setting) -> Any:
        """FAISS's parameters of a search, which take longer to make than many a step of it."""
        if self.is_graph:
            factor = max(1, setting.factor)
            inner = faiss.SearchParametersHNSW(efSearch=max(setting.width, factor * setting.fetched))
        else:
            factor, inner = setting.factor, faiss.SearchParametersIVF(nprobe=setting.lists)
        if not self.is_refined:
            return inner
        return faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=inner)

    @cached_property
    def _parameters(self) -> dict[Setting, Any]:
        return {}

    @cached_property
    def _searched(self) -> Any:
        return faiss.IndexRefine(self.index, self.codes) if self.is_refined else self.index


def tuned(proposer: Proposer, queries: NDArray[np.float32], recall: Callable[[Setting], float]) -> tuple[Setting, ...]:
    """The cheapest measured setting for each of DEPTHS that reaches the target and a margin.

    queries: codes (q, d), padded, to time by. recall: of searches by a setting, at the ranks that it serves. Where
    queries have neighbours that the graph does not lead to at any price, the target itself is enough; where no setting
    reaches that, the best is taken and its recall says so.
    """
    wanted = proposer.tuning.target + _MARGIN * (1 - proposer.tuning.target)
    settings = []
    for serves, fetched in DEPTHS:
        if fetched > proposer.codes.ntotal // 4:
            break
        tried: list[Setting] = []
        for setting in _swept(proposer, serves, fetched, tried, wanted):  # which looks at those tried before
            tried += [replace(setting, recall=recall(setting))]
        good = [one for one in tried if one.recall >= wanted] or [
            one for one in tried if one.recall >= proposer.tuning.target
        ]
        timed = [replace(one, milliseconds=_milliseconds(proposer, one, queries)) for one in good]
        best = max(tried, key=lambda one: one.recall)
        settings.append(
            min(timed, key=lambda one: one.milliseconds)
            if timed
            else replace(best, milliseconds=_milliseconds(proposer, best, queries))
        )
    return tuple(settings)


def _swept(proposer: Proposer, serves: int, fetched: int, tried: Sequence[Setting], wanted: float) -> Any:
    """Settings to try, the cheapest first; those that must be dearer than one that is good enough are left out."""
    if proposer.is_graph:
        for factor in _GRAPH_FACTORS if proposer.is_refined else (0,):
            reached = 0.0
            for width in _WIDTHS:
                if width < factor:
                    continue
                yield Setting(serves, fetched, width=int(fetched * width), factor=factor)
                if tried[-1].recall >= wanted:
                    return
                if proposer.is_refined and tried[-1].recall - reached < 1e-4:
                    break  # the subspace limits it, not the graph
                reached = tried[-1].recall
        return
    lists = proposer._inner.nlist
    for factor in _FACTORS:
        reached = 0.0
        for part in _PROBED_PARTS:
            probed = max(1, lists // part)
            if any(one.recall >= wanted and one.factor <= factor and one.lists <= probed for one in tried):
                break
            yield Setting(serves, fetched, lists=probed, factor=factor)
            if tried[-1].recall >= wanted or (part <= 64 and tried[-1].recall - reached < 1e-4):
                break  # the codes limit it, not the lists
            reached = tried[-1].recall


def _milliseconds(proposer: Proposer, setting: Setting, queries: NDArray[np.float32]) -> float:
    faiss.omp_set_num_threads(1)
    times = []
    for at in range(min(len(queries), 40)):
        start = time.perf_counter()
        proposer.propose(queries[at : at + 1], setting)
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def scan_milliseconds(codes: Any, queries: NDArray[np.float32]) -> float:
    """Median time of comparing every code with one query, on one thread."""
    faiss.omp_set_num_threads(1)
    times = []
    for at in range(min(len(queries), 7)):
        start = time.perf_counter()
        codes.search(queries[at : at + 1], 64)
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))
