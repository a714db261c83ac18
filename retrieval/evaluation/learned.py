"""Evaluate a way of learning: within each round a model is learned from the gallery, and its queries stay unseen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from retrieval.learn.methods import AUTO, method_named
from retrieval.learn.model import LearnOptions
from retrieval.learn.recipes import default_views, frozen_sources
from retrieval.learn.selection import fit_chosen
from retrieval.learn.training_set import TrainingSet, training_set
from retrieval.spaces import open_space

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
    options: LearnOptions
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
        key = self.options, taught.tobytes()
        if key not in fits:
            if self.options.method == AUTO or self.options.unlearned is None:
                model, _, _ = fit_chosen(self.training, taught, self.options)
            else:
                model = self.training.fit(taught, self.options)
            fits[key] = model.transform(self.training.frames).astype(np.float64)
        return fits[key]

    def scores(self, distances: Floats) -> Floats:
        """Cosine similarity."""
        return Cosine().scores(distances)


def evaluate_learning(
    opened: Collection,
    protocol: Protocol,
    sources: Sequence[str],
    learning: LearnOptions,
    measures: MeasureOptions,
    views: str | None = None,
    progress: Callable[[str, int, int], None] = lambda task, done, total: None,
    name: str | None = None,
    training: TrainingSet | None = None,
) -> SpaceResult:
    """The result of learning by a method, as if the gallery of each round were all that is known.

    sources: frozen spaces, the collection's first where none is given. views: None for those that `kvasir learn`
    takes. name: in reports, by default method and sources. training: what `training_for` gives for the same.
    Raises SeenQueriesError, NothingToLearnError, UnknownMethodError, SpaceNameError.
    """
    if any(len(np.intersect1d(one.queries, one.gallery)) for one in protocol.rounds):
        raise SeenQueriesError(
            f"by {protocol.name} the queries are in the gallery, so a space would be learned from them; "
            "give --protocol k-fold, hold-out or a split"
        )
    title = name or f"{learning.method}({'+'.join(frozen_sources(opened.manifest, sources))})"
    training = training or training_for(opened, sources, learning, views, progress)
    positions = np.searchsorted(opened.images.ids, training.ids)
    return evaluate_retriever(
        LearnedRetriever(training, learning),
        training.labels,
        opened.classes,
        training.clusters,
        training.ids,
        [opened.images.files[position] for position in positions],
        protocol.reindexed(positions),
        title,
        measures,
        progress=lambda done, total: progress(title, done, total),
        marks=DeviceMarks.of(opened.images, positions),
        scenes=scenes_of(opened.images, positions),
    )


def training_for(
    opened: Collection,
    sources: Sequence[str],
    learning: LearnOptions,
    views: str | None = None,
    progress: Callable[[str, int, int], None] = lambda task, done, total: None,
) -> TrainingSet:
    """All images of a collection that a model can be learned from, with the views that `kvasir learn` takes."""
    definitions = [opened.manifest.space(one) for one in frozen_sources(opened.manifest, sources)]
    spaces = [open_space(opened.path, definition, "indexing") for definition in definitions]
    labelled = learning.method == AUTO or method_named(learning.method).labelled
    if not labelled:
        views = "none"
    return training_set(opened, spaces, None, views or default_views(definitions), progress, labelled)
