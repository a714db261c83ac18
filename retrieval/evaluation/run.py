"""Evaluate one space or fusion: rank the gallery for every query and take every measure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import Images
from retrieval.cores import available_cores
from retrieval.errors import EvaluationError
from retrieval.evaluation.bootstrap import intervals_of
from retrieval.evaluation.mark_bias import DeviceMarks, mark_bias
from retrieval.evaluation.measures import BlockResult, measure
from retrieval.evaluation.options import MeasureOptions
from retrieval.evaluation.protocols import Protocol, Round, leaking_queries, protocol_named
from retrieval.evaluation.ranking import Labelled, rank
from retrieval.evaluation.retrievers import Retriever
from retrieval.evaluation.space_result import SpaceResult
from retrieval.splits import cluster_numbers

_BLOCK = 128
"""Queries ranked together: 128 of 8,000 distances stay in a core's cache; the same whatever the number of threads."""
_PAIRS = 8_000_000
"""Distances of a block, of a gallery so large that fewer queries are ranked together: 64 MB in double precision. The
gallery is read once for each block."""


class NothingToEvaluateError(EvaluationError):
    """There is no query with a class, or nothing to search."""


def scenes_of(images: Images, positions: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """The scenes of images at positions (m,), or None where every scene of the collection is a cluster."""
    return images.scenes[positions] if images.has_scenes else None


@dataclass(frozen=True, eq=False)
class _Images:
    labels: NDArray[np.int64]
    ids: NDArray[np.int64]
    groups: NDArray[np.int64]

    def labelled(self, rows: NDArray[np.int64]) -> Labelled:
        return Labelled(self.labels[rows], self.groups[rows])


def evaluate_retriever(
    retriever: Retriever,
    labels: NDArray[np.integer],
    class_names: list[str] | tuple[str, ...],
    clusters: NDArray[np.integer] | None = None,
    ids: NDArray[np.integer] | None = None,
    files: Sequence[str] | None = None,
    protocol: str | Protocol = "leave-one-out",
    space: str = "",
    options: MeasureOptions = MeasureOptions(),  # noqa: B008  # frozen
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    marks: DeviceMarks | None = None,
    scenes: NDArray[np.integer] | None = None,
) -> SpaceResult:
    """Every measure of one space or fusion over n images.

    labels (n,) int, -1 for an image without a class, which is searched but is no query; clusters (n,) int, which near
    duplicates share, -1 or None for an image without any; ids (n,) ascending, by default 0 to n - 1; files: n names by
    which evaluations of other collections match the same images, by default the ids. protocol: a name, or one made
    for these n images. space: its name in reports. progress(done, all queries) is called after each block.
    marks: of the device on the n images, for the bias of the hits. scenes: (n,) int, of frames of one place, each with
    whole clusters; where they are known they are what the bootstrap draws.
    Memory grows with n, not with n²: ranked lists are measured block by block and dropped.
    Raises NothingToEvaluateError, UnknownProtocolError, UndefinedDistanceError.
    """
    n = len(labels)
    labels64: NDArray[np.int64] = np.asarray(labels, np.int64)
    if not (labels >= 0).any():
        raise NothingToEvaluateError("no image has a class; index folders named after classes to evaluate a collection")
    ids64: NDArray[np.int64] = np.arange(n) if ids is None else np.asarray(ids, np.int64)
    numbers = cluster_numbers(np.full(n, -1) if clusters is None else clusters)
    if isinstance(protocol, str):
        protocol = protocol_named(protocol, numbers, scenes)
    if not all(len(round_.gallery) for round_ in protocol.rounds):
        raise NothingToEvaluateError(f"by the protocol {protocol.name} some queries are searched in nothing")
    protocol = protocol.with_queries(labels64 >= 0)
    images = _Images(labels64, ids64, protocol.groups)
    blocks = list(_block_results(images, retriever, protocol, options, len(class_names), threads, progress))
    if not blocks:
        raise NothingToEvaluateError(f"no query of the protocol {protocol.name} has a class")
    rows = np.concatenate([block.rows for block in blocks])
    by_id = np.argsort(ids64[rows], kind="stable")
    rows = rows[by_id]

    def joined(field: str) -> NDArray[Any]:
        return np.concatenate([getattr(block, field) for block in blocks])[by_id]

    result = SpaceResult(
        space=space,
        dimension=retriever.dimension,
        metric=retriever.metric_name,
        protocol=protocol.name,
        protocol_sentence=protocol.sentence,
        class_names=tuple(class_names),
        class_sizes=np.bincount(labels[labels >= 0], minlength=len(class_names)),
        unlabelled=int((labels < 0).sum()),
        cluster_count=len(np.unique(numbers)),
        ks=options.ks,
        vote_k=options.vote_k,
        ids=ids64[rows],
        files=tuple(str(ids64[row]) if files is None else files[row] for row in rows),
        labels=labels64[rows],
        clusters=numbers[rows],
        scenes=None if scenes is None else cluster_numbers(scenes)[rows],
        relevant=joined("relevant"),
        listed=joined("listed"),
        measures={
            name: np.concatenate([block.measures[name] for block in blocks])[by_id] for name in blocks[0].measures
        },
        predicted=joined("predicted"),
        neighbours=joined("neighbours"),
        distances=joined("distances"),
        curve=joined("curve"),
        leaking=leaking_queries(protocol, numbers),
    )
    if marks is not None:
        places = np.where(result.neighbours < 0, -1, np.searchsorted(ids64, result.neighbours))
        result = replace(result, mark_bias=mark_bias(marks, labels64, protocol, rows, places))
    scored = result.scored
    if not options.samples or not scored.any():
        return result
    intervals = intervals_of(
        {name: values[scored] for name, values in result.measures.items()},
        result.labels[scored],
        result.predicted[scored],
        result.units[scored],
        len(class_names),
        options.samples,
        options.seed,
    )
    return replace(result, intervals=intervals)


def _block_results(
    images: _Images,
    retriever: Retriever,
    protocol: Protocol,
    options: MeasureOptions,
    class_count: int,
    threads: int | None,
    progress: Callable[[int, int], None] | None,
) -> Iterator[BlockResult]:
    rounds = [_by_id(images, round_) for round_ in protocol.rounds]
    total = sum(len(round_.queries) for round_ in rounds)
    done = 0
    with ThreadPoolExecutor(threads or available_cores()) as pool:
        for round_ in rounds:
            distances = retriever.distances_to(round_.gallery)
            gallery = images.labelled(round_.gallery)

            def measured(
                queries: NDArray[np.int64],
                distances: Callable[[NDArray[np.int64]], NDArray[np.floating]] = distances,
                gallery: Labelled = gallery,
                gallery_rows: NDArray[np.int64] = round_.gallery,
            ) -> BlockResult:
                ranking = rank(distances(queries), images.labelled(queries), gallery)
                return measure(
                    ranking, queries, gallery_rows, images.labels, images.ids, retriever.scores, options, class_count
                )

            size = min(_BLOCK, max(16, _PAIRS // len(round_.gallery)))
            starts = range(0, len(round_.queries), size)
            for block in pool.map(measured, [round_.queries[start : start + size] for start in starts]):
                done += len(block.rows)
                if progress is not None:
                    progress(done, total)
                yield block


def _by_id(images: _Images, round_: Round) -> Round:
    """The gallery by image id, so that a tie by row is a tie by id."""
    return Round(round_.queries, round_.gallery[np.argsort(images.ids[round_.gallery], kind="stable")])
