"""Evaluate spaces and fusions of a collection under one protocol, so that all have the same queries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import partial

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import Collection, Images, SpaceNameError
from retrieval.evaluation.calibrated import hits_of_result
from retrieval.evaluation.chances import cross_fitted, enough, measured
from retrieval.evaluation.contenders import retriever_of
from retrieval.evaluation.feedback import FeedbackCurve, feedback_curve
from retrieval.evaluation.generalisation import Figure, Standing, learning_figures, standing
from retrieval.evaluation.learned import evaluate_learning, training_for
from retrieval.evaluation.mark_bias import DeviceMarks
from retrieval.evaluation.options import EvaluationOptions, Fusion, MeasureOptions
from retrieval.evaluation.protocols import (
    Protocol,
    hold_out,
    k_fold,
    leave_one_out,
    leave_scene_out,
    protocol_named,
    with_sampled_queries,
)
from retrieval.evaluation.query_set import with_query_set
from retrieval.evaluation.result import Evaluation
from retrieval.evaluation.retrievers import RerankedRetriever
from retrieval.evaluation.run import NothingToEvaluateError, evaluate_retriever, scenes_of
from retrieval.evaluation.space_result import SpaceResult
from retrieval.evaluation.speed import Speed, measure_speed
from retrieval.evaluation.split_file import split_from_file
from retrieval.index import Index
from retrieval.index.cosine import Cosine
from retrieval.index.engines import Engine
from retrieval.learn.learner import Learner
from retrieval.learn.methods import AUTO, METHODS, Progress, UnknownMethodError
from retrieval.learn.model import LearnOptions
from retrieval.learn.sources import learner_of
from retrieval.rerank import reranker_named
from retrieval.search import Searcher
from retrieval.spaces import embedding_spaces, metric_of, open_space

Scores = Callable[[NDArray[np.floating]], NDArray[np.floating]]
"""Distances -> similarities."""


def evaluate_collection(
    opened: Collection,
    name: str,
    options: EvaluationOptions,
    progress: Callable[[str, int, int], None] | None = None,
    engine: Engine | None = None,
) -> Evaluation:
    """Evaluate as the options say; progress(space, done, all queries) is called after each block of queries.

    name: of the collection, in reports. engine: searches the spaces that it serves; what re-ranks and learns, and
    pictures of other sources, compare every image here. Raises SpaceNameError, what `protocol_of` and
    `evaluate_retriever` raise, for speed NothingToTimeError, with an engine a RemoteIndexError.
    """
    contenders = _contenders(opened, options)
    protocol = protocol_of(opened, options)
    speeds: tuple[Speed, ...] = ()
    if options.speed:  # first, so that the peak memory is that of queries
        searcher = Searcher(opened, engine=engine)
        speeds = tuple(measure_speed(searcher, contender) for contender in contenders)
        speeds += tuple(
            measure_speed(searcher, contender, rerank=way)
            for way in options.rerank
            for contender in contenders
            if contender.name in embedding_spaces(opened.manifest)
        )

    images, seed = opened.images, options.measures.seed
    indexes = {
        name: engine.open_index(opened, opened.manifest.space(name))
        for name in {space for contender in contenders for space in contender.spaces}
        if engine is not None and engine.serves(opened.manifest.space(name))
    }
    results: tuple[SpaceResult, ...] = ()
    for contender in contenders:
        result, scores = _evaluated(opened, contender, protocol, options.measures, progress, indexes)
        results += (_with_chances(result, images, scores, seed),)
    figures: dict[str, Sequence[Figure]] = {}
    embeddings = embedding_spaces(opened.manifest)
    for way in options.rerank:
        reranker_named(way)
        results += tuple(
            _with_chances(*_reranked(opened, contender.name, way, protocol, options.measures, progress), seed)
            for contender in contenders
            if contender.name in embeddings
        )
    for method in options.learn:
        learned, figures[method] = _learning_evaluated(opened, method, protocol, options, progress or _silent)
        results += (_with_chances(learned, images, Cosine().scores, seed),)
    without_intervals = replace(options.measures, samples=0)

    def by(other: Protocol, clusters: NDArray[np.int64]) -> tuple[SpaceResult, ...]:
        """The figures by another protocol, where clusters make a difference to leave-cluster-out."""
        if protocol.name != "leave-cluster-out" or len(set(clusters.tolist())) == len(other.groups):
            return ()
        restricted = _restricted(opened, options, other)
        return tuple(
            _evaluated(opened, contender, restricted, without_intervals, progress, indexes)[0]
            for contender in contenders
        )

    one_out = by(leave_one_out(images.clusters), images.clusters)
    scene_out = by(leave_scene_out(images.scenes), images.scenes) if images.has_scenes else ()
    feedback = _feedback(opened, contenders, options, progress) if options.feedback else ()
    return Evaluation(name, results, seed, speeds, one_out, scene_out, figures, feedback=feedback)


def _feedback(
    opened: Collection,
    contenders: Sequence[Fusion],
    options: EvaluationOptions,
    progress: Callable[[str, int, int], None] | None,
) -> tuple[FeedbackCurve, ...]:
    """Simulated relevance feedback in each space that is evaluated alone."""
    curves = []
    for name in (contender.name for contender in contenders if len(contender.spaces) == 1):
        positions = opened.positions(name)
        task = f"{name}, feedback"
        curve = feedback_curve(
            name,
            np.asarray(opened.vectors(name)[1]),
            metric_of(opened.manifest.space(name)),
            opened.images.labels[positions],
            opened.images.clusters[positions],
            seed=options.measures.seed,
            samples=options.measures.samples,
            progress=None if progress is None else partial(progress, task),
        )
        curves += [] if curve is None else [curve]
    return tuple(curves)


def _learning_evaluated(
    opened: Collection, method: str, protocol: Protocol, options: EvaluationOptions, progress: Progress
) -> tuple[SpaceResult, list[Figure]]:
    """Learning by a method, or as a learned space was, from the gallery of each round."""
    learner, name = _learner(opened, method, options)
    training = training_for(opened, learner, progress)
    result = evaluate_learning(opened, protocol, learner, name, options.measures, progress, training)
    if not learner.labelled:
        return result, []  # components, which no class teaches
    protocol = protocol.reindexed(np.searchsorted(opened.images.ids, training.ids))
    return result, learning_figures(training, opened.classes, protocol, learner, options.measures, progress)


def _learner(opened: Collection, method: str, options: EvaluationOptions) -> tuple[Learner, str]:
    """What learns by a method, or again as a learned space was, and its name in reports.

    Raises UnknownMethodError, SpaceNameError.
    """
    if method in (AUTO, *METHODS):
        made = learner_of(opened, LearnOptions(method, seed=options.measures.seed, unmarked=None), options.learn_from)
        return made, f"{method}({'+'.join(made.sources)})"
    spaces = [open_space(opened.path, definition) for definition in opened.spaces]
    learned = [space.name for space in spaces if space.learner(choose=True) is not None]
    if method.lower() not in map(str.lower, [space.name for space in opened.manifest.spaces]):
        known = [AUTO, *METHODS]
        near = get_close_matches(method, [*known, *learned], 1)
        raise UnknownMethodError(
            f"--learn {method}: no method of learning and no learned space is called so"
            f"{f' (did you mean {near[0]}?)' if near else ''}; methods: {', '.join(known)}; "
            f"learned spaces: {', '.join(learned) or 'none yet'}"
        )
    space = open_space(opened.path, opened.manifest.space(method))
    learner = space.learner(choose=True)
    if learner is None:
        raise SpaceNameError(f"'{space.name}' is a frozen space; name a learned one, or a method of learning")
    return learner, f"{space.name}, learned in each round"


def transfer_figure(
    grown: Collection, method: str, options: EvaluationOptions, protocol: Protocol, progress: Progress
) -> Figure:
    """The figure of pictures of other sources, learned from the gallery of a protocol alone."""
    learner, _ = _learner(grown, method, options)
    standings = {}
    for name, chosen in (("learned", learner), ("unlearned", learner.baseline)):
        result = evaluate_learning(grown, protocol, chosen, name, options.measures, progress)
        standings[name], count = standing([result], options.measures)
    return Figure("other sources", count, standings["learned"], standings["unlearned"])


def evaluate_transfer(
    grown: Collection,
    options: EvaluationOptions,
    protocol: Protocol,
    progress: Progress,
    evaluated: Sequence[SpaceResult] = (),
) -> dict[str, Standing]:
    """By space or fusion, how pictures of other sources retrieve. grown, protocol: with these as queries.

    evaluated: results on the collection itself, whose calibrations are held against these pictures.
    """
    calibrations = {one.space: one.chances.calibration for one in evaluated if one.chances is not None}
    standings = {}
    for contender in _contenders(grown, options):
        result, scores = _evaluated(grown, contender, protocol, options.measures, progress)
        made = standing([result], options.measures)[0]
        calibration = calibrations.get(contender.name)
        if calibration is not None:
            hits = hits_of_result(result, grown.images, scores)
            made = replace(made, chances=measured([(calibration, hits)], grown.classes))
        standings[contender.name] = made
    return standings


def _with_chances(result: SpaceResult, images: Images, scores: Scores, seed: int) -> SpaceResult:
    """A result with the figures of chances that are calibrated on it, unless queries taught the space."""
    if result.learned_from:
        return result
    hits = hits_of_result(result, images, scores)
    if not enough(hits):
        return result
    calibration, figures = cross_fitted(hits, result.class_names, seed)
    return replace(result, chances=replace(figures, calibration=calibration))


def _reranked(
    opened: Collection,
    space: str,
    method: str,
    protocol: Protocol,
    measures: MeasureOptions,
    progress: Progress | None,
) -> tuple[SpaceResult, Images, Scores]:
    """The result of a space whose nearest images are ranked anew; the images, and what turns distances into scores."""
    positions = opened.positions(space)
    protocol = protocol.reindexed(positions)
    name = f"{space}, {method}"
    retriever = RerankedRetriever(opened.vectors(space)[1], protocol.groups, method)
    result = evaluate_retriever(
        retriever,
        opened.images.labels[positions],
        opened.classes,
        opened.images.clusters[positions],
        opened.images.ids[positions],
        [opened.images.files[position] for position in positions],
        protocol,
        name,
        measures,
        progress=None if progress is None else lambda done, total: progress(name, done, total),
        marks=DeviceMarks.of(opened.images, positions),
        scenes=scenes_of(opened.images, positions),
    )
    return result, opened.images, retriever.scores


def _silent(task: str, done: int, total: int) -> None:
    pass


def _contenders(opened: Collection, options: EvaluationOptions) -> list[Fusion]:
    """What is evaluated; a space is a fusion of one. Raises SpaceNameError, NothingToEvaluateError."""
    spaces = list(dict.fromkeys(options.spaces)) or [space.name for space in opened.manifest.compared]
    contenders = [Fusion((space,), (1.0,)) for space in spaces] + list(dict.fromkeys(options.fusions))
    for contender in contenders:
        for space in contender.spaces:
            opened.manifest.space(space)
    if not contenders:
        raise NothingToEvaluateError(f"{opened.path} has no spaces yet; `kvasir index` makes them")
    return contenders


def protocol_of(opened: Collection, options: EvaluationOptions) -> Protocol:
    """The protocol for all images of a collection, so that every space is evaluated on the same split.

    Raises SplitFileError, TooManyFoldsError, UnknownProtocolError, NothingToEvaluateError.
    """
    return _restricted(opened, options, _protocol(opened, options))


def _restricted(opened: Collection, options: EvaluationOptions, protocol: Protocol) -> Protocol:
    """A protocol without the images that lack a vector in a space, with `options.common`, without queries that taught
    a space, and with the queries, or as many of them, as the options say.
    """
    protocol = _common(opened, options, protocol)
    if options.query_ids is not None:
        protocol = with_query_set(protocol, options.query_ids, opened.images.ids, opened.images.labels)
    protocol = _untaught(opened, options, protocol)
    count = options.query_count(len(opened))
    if count is None:
        return protocol
    return with_sampled_queries(protocol, opened.images.labels, count, options.measures.seed)


def _common(opened: Collection, options: EvaluationOptions, protocol: Protocol) -> Protocol:
    if not options.common:
        return protocol
    common = np.arange(len(opened.images))
    for space in {space for contender in _contenders(opened, options) for space in contender.spaces}:
        common = np.intersect1d(common, opened.positions(space))
    if not len(common):
        raise NothingToEvaluateError(f"no image of {opened.path} has a vector in every space that is compared")
    return protocol.restricted_to(common)


def _untaught(opened: Collection, options: EvaluationOptions, protocol: Protocol) -> Protocol:
    """A protocol without queries that taught a space; unchanged with `options.taught` and where a class would have no
    query left, so that results count them in `learned_from`.
    """
    names = dict.fromkeys(space for contender in _contenders(opened, options) for space in contender.spaces)
    untaught = ~np.isin(opened.images.ids, _training_ids(opened, list(names)))
    labels = opened.images.labels
    queries = np.concatenate([round_.queries for round_ in protocol.rounds])
    queries = queries[labels[queries] >= 0]
    left = queries[untaught[queries]]
    if options.taught or len(left) == len(queries) or len(np.unique(labels[left])) < len(np.unique(labels[queries])):
        return protocol
    said = f"; {len(queries) - len(left):,} queries that taught a space are left out"
    return replace(protocol.with_queries(untaught), sentence=protocol.sentence + said)


def _training_ids(opened: Collection, names: Sequence[str]) -> NDArray[np.int64]:
    """The images that taught one of these spaces, more than once where several did."""
    spaces = [open_space(opened.path, opened.manifest.space(name)) for name in names]
    return np.concatenate([space.training_ids(opened) for space in spaces])


def _protocol(opened: Collection, options: EvaluationOptions) -> Protocol:
    images = opened.images
    if options.split is not None:
        return split_from_file(options.split, images.files)
    if options.protocol == "hold-out":
        return hold_out(images.labels, images.scenes, options.test_share, options.measures.seed)
    if options.protocol == "k-fold":
        return k_fold(images.labels, images.scenes, options.folds, options.measures.seed)
    return protocol_named(options.protocol, images.clusters, images.scenes)


def _evaluated(
    opened: Collection,
    contender: Fusion,
    protocol: Protocol,
    measures: MeasureOptions,
    progress: Callable[[str, int, int], None] | None,
    indexes: Mapping[str, Index] | None = None,
) -> tuple[SpaceResult, Scores]:
    """The result of a fusion or, of one member, of a space; and what turns its distances into scores."""
    if len(contender.spaces) == 1 and not any(len(np.intersect1d(r.queries, r.gallery)) for r in protocol.rounds):
        space = open_space(opened.path, opened.manifest.space(contender.name))
        learner = space.learner(choose=True)
        if learner is not None and not learner.labelled:  # components are fitted on the training part alone
            made = evaluate_learning(opened, protocol, learner, space.name, measures, progress or _silent)
            return made, Cosine().scores
    images = opened.images
    vectors = {space: (opened.positions(space), opened.vectors(space)[1]) for space in contender.spaces}
    retriever, positions, protocol = retriever_of(opened, contender, vectors, protocol, indexes)
    result = evaluate_retriever(
        retriever,
        images.labels[positions],
        opened.classes,
        images.clusters[positions],
        images.ids[positions],
        [images.files[position] for position in positions],
        protocol,
        contender.name,
        measures,
        progress=None if progress is None else lambda done, total: progress(contender.name, done, total),
        marks=DeviceMarks.of(images, positions),
        scenes=scenes_of(images, positions),
    )
    taught = np.isin(result.ids, _training_ids(opened, contender.spaces))
    result = replace(result, learned_from=int(taught.sum()))
    return replace(result, fusion=contender) if len(contender.spaces) > 1 else result, retriever.scores
