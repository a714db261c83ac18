"""Evaluate a way of learning: within each round a model is learned from the gallery, and its queries stay unseen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import Collection
from retrieval.errors import EvaluationError
from retrieval.evaluation.mark_bias import DeviceMarks
from retrieval.evaluation.options import MeasureOptions
from retrieval.evaluation.protocols import Protocol
from retrieval.evaluation.run import evaluate_retriever, scenes_of
from retrieval.evaluation.space_result import SpaceResult
from retrieval.index.cosine import Cosine
from retrieval.learn.learner import Learner, TrainingSet
from retrieval.learn.sources import frozen_sources
from retrieval.learn.training_set import training_set

Floats = NDArray[np.floating]
Rows = NDArray[np.int64]


class SeenQueriesError(EvaluationError):
    """Under this protocol a space would be learned from the queries themselves."""


@dataclass(frozen=True, eq=False)
class LearnedRetriever:
    """Vectors of a model that is learned from the gallery of each round; a `Retriever` of the training set's images.

    taught: the images that it learns from instead, whatever is searched.
    """

    training: TrainingSet
    learner: Learner
    taught: Rows | None = None

    dimension = None
    metric_name = Cosine.name

    def distances_to(self, gallery: Rows) -> Callable[[Rows], Floats]:
        """See `Retriever`."""
        vectors = self.vectors(gallery if self.taught is None else self.taught)
        searched = vectors[gallery].T
        return lambda queries: 1 - vectors[queries] @ searched

    def vectors(self, images: Rows) -> NDArray[np.float64]:
        """The vectors (n, d) of all images by the model that some of them (m,) teach."""
        taught, fits = np.sort(images), self.training.learned
        key = self.learner, taught.tobytes()
        if key not in fits:
            learned = self.learner.fit(self.training, taught)
            fits[key] = learned.transform(self.training.frames).astype(np.float64)
        return fits[key]

    def scores(self, distances: Floats) -> Floats:
        """Cosine similarity."""
        return Cosine().scores(distances)


def evaluate_learning(
    opened: Collection,
    protocol: Protocol,
    learner: Learner,
    name: str,
    measures: MeasureOptions,
    progress: Callable[[str, int, int], None] = lambda task, done, total: None,
    training: TrainingSet | None = None,
) -> SpaceResult:
    """The result of a way of learning, as if the gallery of each round were all that is known.

    name: in reports. training: what `training_for` gives for the same learner.
    Raises SeenQueriesError, NothingToLearnError, UnknownMethodError, SpaceNameError.
    """
    if any(len(np.intersect1d(round_.queries, round_.gallery)) for round_ in protocol.rounds):
        raise SeenQueriesError(
            f"by {protocol.name} the queries are in the gallery, so a space would be learned from them; "
            "give --protocol k-fold, hold-out or a split"
        )
    if training is None:
        taught = np.unique(np.concatenate([round_.gallery for round_ in protocol.rounds]))
        training = training_for(opened, learner, progress, taught)
    positions = np.searchsorted(opened.images.ids, training.ids)
    return evaluate_retriever(
        LearnedRetriever(training, learner),
        training.labels,
        opened.classes,
        training.clusters,
        training.ids,
        [opened.images.files[position] for position in positions],
        protocol.reindexed(positions),
        name,
        measures,
        progress=lambda done, total: progress(name, done, total),
        marks=DeviceMarks.of(opened.images, positions),
        scenes=scenes_of(opened.images, positions),
    )


def training_for(
    opened: Collection,
    learner: Learner,
    progress: Callable[[str, int, int], None] = lambda task, done, total: None,
    taught: Rows | None = None,
) -> TrainingSet:
    """All images of a collection that a learner can learn from, with its views. taught: see `training_set`."""
    sources = frozen_sources(opened, learner.sources)
    return training_set(opened, sources, None, learner.views, progress, learner.labelled, taught)
