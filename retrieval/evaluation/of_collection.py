"""Evaluate spaces and fusions of a collection on one protocol, so that all answer the same queries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from retrieval.collection import Collection
from retrieval.evaluation.choices import Choices, Measuring
from retrieval.evaluation.evaluate import NothingToEvaluateError, evaluate_ranker
from retrieval.evaluation.fusions import Fusion
from retrieval.evaluation.protocols import Protocol, hold_out, k_fold, leave_one_out, protocol_named
from retrieval.evaluation.rankers import FusedRanker, Member, Ranker, SpaceRanker
from retrieval.evaluation.result import Evaluation, SpaceResult
from retrieval.evaluation.speed import Speed, measure_speed
from retrieval.evaluation.splits import split_from_file
from retrieval.index import metric_named
from retrieval.search import Searcher


def evaluate_collection(
    opened: Collection, name: str, choices: Choices, progress: Callable[[str, int, int], None] | None = None
) -> Evaluation:
    """Evaluate as chosen; progress(space, done, all queries) is called as it goes.

    Raises SpaceNameError, what `protocol_of` and `evaluate_ranker` raise and, for speed, NothingToTimeError.
    """
    contenders = _contenders(opened, choices)
    protocol = protocol_of(opened, choices)
    speeds: tuple[Speed, ...] = ()
    if choices.speed:  # first, so that the peak memory is that of queries
        searcher = Searcher(opened)
        speeds = tuple(measure_speed(searcher, one.spaces, one.weights, one.name) for one in contenders)

    def measured(contender: Fusion, protocol: Protocol, measuring: Measuring) -> SpaceResult:
        return _measured(opened, contender, protocol, measuring, progress)

    results = tuple(measured(one, protocol, choices.measuring) for one in contenders)
    beside: tuple[SpaceResult, ...] = ()
    clusters = opened.images.clusters
    if protocol.name == "leave-cluster-out" and len(set(clusters.tolist())) < len(clusters):
        one_out = _among(opened, choices, leave_one_out(clusters))
        without_intervals = replace(choices.measuring, samples=0)
        beside = tuple(measured(one, one_out, without_intervals) for one in contenders)
    return Evaluation(name, results, choices.measuring.seed, speeds, beside)


def _contenders(opened: Collection, choices: Choices) -> list[Fusion]:
    """What is measured; a space is a fusion of one. Raises SpaceNameError, NothingToEvaluateError."""
    spaces = list(dict.fromkeys(choices.spaces)) or [space.name for space in opened.spaces]
    contenders = [Fusion((space,), (1.0,)) for space in spaces] + list(dict.fromkeys(choices.fusions))
    for contender in contenders:
        for space in contender.spaces:
            opened.manifest.space(space)
    if not contenders:
        raise NothingToEvaluateError(f"{opened.path} has no spaces yet; `kvasir index` makes them")
    return contenders


def protocol_of(opened: Collection, choices: Choices) -> Protocol:
    """The chosen protocol for all images of a collection, so that every space is measured on the same split."""
    return _among(opened, choices, _protocol(opened, choices))


def _among(opened: Collection, choices: Choices, protocol: Protocol) -> Protocol:
    """A protocol without the images that lack a vector, where that is chosen."""
    if not choices.common:
        return protocol
    common = np.arange(len(opened.images))
    for space in {space for contender in _contenders(opened, choices) for space in contender.spaces}:
        common = np.intersect1d(common, opened.positions(space))
    if not len(common):
        raise NothingToEvaluateError(f"no image of {opened.path} has a vector in every space that is compared")
    return protocol.among(common)


def _protocol(opened: Collection, choices: Choices) -> Protocol:
    images = opened.images
    if choices.split is not None:
        return split_from_file(choices.split, images.files)
    if choices.protocol == "hold-out":
        return hold_out(images.labels, images.clusters, choices.test_share, choices.measuring.seed)
    if choices.protocol == "k-fold":
        return k_fold(images.labels, images.clusters, choices.folds, choices.measuring.seed)
    return protocol_named(choices.protocol, images.clusters)


def _measured(
    opened: Collection,
    contender: Fusion,
    protocol: Protocol,
    measuring: Measuring,
    progress: Callable[[str, int, int], None] | None,
) -> SpaceResult:
    """A fusion, or, of one member, a space."""
    held = opened.images
    rows = {space: opened.positions(space) for space in contender.spaces}
    positions = np.unique(np.concatenate(list(rows.values())))
    protocol = protocol.restricted_to(positions)
    members = [
        Member(
            opened.vectors(space)[1],
            np.searchsorted(positions, rows[space]),
            metric_named(opened.manifest.space(space).metric),
            weight,
        )
        for space, weight in zip(contender.spaces, contender.weights, strict=True)
    ]
    ranker: Ranker
    if len(members) > 1:
        ranker = FusedRanker(members, protocol.groups)
        protocol = protocol.asking(ranker.complete)
    else:
        ranker = SpaceRanker(members[0].vectors, members[0].metric)
    result = evaluate_ranker(
        ranker,
        held.labels[positions],
        opened.classes,
        held.clusters[positions],
        held.ids[positions],
        [held.files[position] for position in positions],
        protocol,
        contender.name,
        measuring,
        progress=None if progress is None else lambda done, total: progress(contender.name, done, total),
    )
    return replace(result, fusion=contender) if len(members) > 1 else result
