"""Calibrate a space or fusion on its own collection: ranked lists that saw neither the query nor its near duplicates.

A frozen space is calibrated by leave-scene-out; one that is learned from classes is learned again in each of five
folds, so that no query taught it. Figures are of calibrations fitted on the other folds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import Collection, Images
from retrieval.evaluation.chances import FOLDS, ChanceFigures, FirstHits, cross_fitted, enough, measured
from retrieval.evaluation.contenders import Vectors, retriever_of
from retrieval.evaluation.learned import LearnedRetriever, training_for
from retrieval.evaluation.options import Fusion, MeasureOptions
from retrieval.evaluation.protocols import Protocol, Round, k_fold, leave_scene_out
from retrieval.evaluation.run import NothingToEvaluateError, evaluate_retriever
from retrieval.evaluation.space_result import SpaceResult
from retrieval.learn.calibration import DEPTH, Calibration
from retrieval.learn.methods import Progress
from retrieval.spaces import open_space

_MEASURES = MeasureOptions(ks=(DEPTH,), samples=0)


def calibrate(
    opened: Collection, contender: Fusion, seed: int = 0, progress: Progress = lambda task, done, total: None
) -> tuple[Calibration, ChanceFigures]:
    """The calibration of a space or fusion, and its figures by cross-validation over clusters.

    Raises SpaceNameError, NothingToEvaluateError, and what learning raises.
    """
    hits = first_hits(opened, contender, seed, progress)
    if not enough(hits):
        raise NothingToEvaluateError(f"{len(hits.wanted):,} pictures of known classes are too few to calibrate on")
    return cross_fitted(hits, opened.classes, seed)


def transfer_figures(
    calibration: Calibration, grown: Collection, contender: Fusion, protocol: Protocol
) -> ChanceFigures:
    """The figures on pictures of other sources. grown, protocol: with these as queries."""
    vectors = {name: (grown.positions(name), grown.vectors(name)[1]) for name in contender.spaces}
    hits = _ranked(grown, contender, protocol, lambda gallery: vectors)
    return measured([(calibration, hits)], grown.classes)


def first_hits(opened: Collection, contender: Fusion, seed: int, progress: Progress) -> FirstHits:
    """Ranked lists of all images of a class, by spaces that have not learned from them."""
    definitions = [opened.manifest.space(name) for name in contender.spaces]
    stored = {
        definition.name: (opened.positions(definition.name), opened.vectors(definition.name)[1])
        for definition in definitions
    }
    images = opened.images
    learners = {
        definition.name: open_space(opened.path, definition).learner(choose=False) for definition in definitions
    }
    retrievers = {
        name: LearnedRetriever(training_for(opened, learner, progress), learner)
        for name, learner in learners.items()
        if learner is not None and learner.labelled
    }
    if not retrievers:
        return _ranked(opened, contender, leave_scene_out(images.scenes), lambda gallery: stored)
    protocol = k_fold(images.labels, images.scenes, FOLDS, seed)
    done = 0

    def learned(gallery: NDArray[np.int64]) -> Mapping[str, Vectors]:
        nonlocal done
        made = dict(stored)
        for name, retriever in retrievers.items():
            rows = np.searchsorted(images.ids, retriever.training.ids)
            teachers = np.flatnonzero(np.isin(rows, gallery))
            made[name] = rows, retriever.vectors(teachers).astype(np.float32)
        done += 1
        progress("learning in folds", done, len(protocol.rounds))
        return made

    return _ranked(opened, contender, protocol, learned)


def _ranked(
    opened: Collection,
    contender: Fusion,
    protocol: Protocol,
    vectors_for: Callable[[NDArray[np.int64]], Mapping[str, Vectors]],
) -> FirstHits:
    """The first hits of each round. vectors_for: gallery -> the vectors by space that it is searched by."""
    images, each = opened.images, []
    for round_ in protocol.rounds:
        vectors = vectors_for(round_.gallery)
        part = Protocol(protocol.name, protocol.sentence, (Round(round_.queries, round_.gallery),), protocol.groups)
        retriever, positions, part = retriever_of(opened, contender, vectors, part)
        result = evaluate_retriever(
            retriever,
            images.labels[positions],
            opened.classes,
            images.clusters[positions],
            images.ids[positions],
            None,
            part,
            contender.name,
            _MEASURES,
        )
        each.append(hits_of_result(result, images, retriever.scores))
    return FirstHits(*(np.concatenate([getattr(hits, name) for hits in each]) for name in FirstHits.__annotations__))


def hits_of_result(
    result: SpaceResult, images: Images, scores: Callable[[NDArray[np.floating]], NDArray[np.floating]]
) -> FirstHits:
    """The first hits of evaluated queries. images: of the collection; scores: distances -> scores."""
    near = result.neighbours[:, :DEPTH]
    listed = near >= 0
    labels = np.where(listed, images.labels[np.searchsorted(images.ids, np.where(listed, near, images.ids[0]))], -1)
    distances = np.where(listed, result.distances[:, :DEPTH], 0.0)
    clusters = images.scenes[np.searchsorted(images.ids, result.ids)]
    made = np.asarray(scores(distances), np.float64)
    return FirstHits(made, labels.astype(np.int64), result.labels, clusters)
