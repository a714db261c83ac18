"""What learns a space, and what it learns from, so that evaluation can learn it again from parts of the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.learn.methods import Progress
from retrieval.learn.model import LearnOptions, Model, fit


class Transform(Protocol):
    """What was learned: vectors of the sources -> vectors of the space."""

    def transform(self, vectors: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Vectors (n, d) of each source -> (n, m) float32 of unit length."""
        ...


class Learner(Protocol):
    """A way of learning a space from frozen ones. Hashable; equal learners learn the same of the same images."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the frozen spaces that it learns from."""
        ...

    @property
    def views(self) -> str:
        """Views of each image that it also learns from, as `retrieval.learn.views.views_named` reads them."""
        ...

    @property
    def labelled(self) -> bool:
        """Whether it learns from classes, so that an image without one teaches nothing."""
        ...

    @property
    def baseline(self) -> Learner:
        """The learner without classes that its figures are compared with."""
        ...

    def fit(self, training: TrainingSet, images: NDArray[np.int64]) -> Transform:
        """Learn from some images (m,) of a training set. Raises NothingToLearnError."""
        ...

    def settled(self, training: TrainingSet) -> Learner:
        """The same learner with its open choices made once, on all images of a training set."""
        ...


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Images to learn from: rows (r,) into ids, labels and clusters (n,), and vectors (r, d) of each source.

    The first n rows are the images themselves, in order; the others are views of them. clusters: scenes where they are
    known, which validation never parts. kinds: of the device's marks (n,), -1 where not known; None for all unknown.
    """

    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    clusters: NDArray[np.int64]
    rows: NDArray[np.int64]
    vectors: tuple[NDArray[Any], ...]
    kinds: NDArray[np.int64] | None = None
    learned: dict[tuple[object, bytes], NDArray[np.float64]] = field(default_factory=dict)
    """Cache: vectors of all images by learner and the images that it learned from."""

    def fit(
        self,
        images: NDArray[np.int64],
        options: LearnOptions,
        progress: Progress = lambda task, done, total: None,
    ) -> Model:
        """A model of some images (m,) with all their views."""
        chosen = np.isin(self.rows, images)
        rows = self.rows[chosen]
        kinds = self.kinds_of_rows
        kinds = None if kinds is None else kinds[chosen]
        return fit([of_source[chosen] for of_source in self.vectors], self.labels[rows], options, progress, kinds)

    def part(self, images: NDArray[np.int64]) -> TrainingSet:
        """Some of the images (m,), ascending, with all their views."""
        chosen = np.isin(self.rows, images)
        rows = np.searchsorted(images, self.rows[chosen])
        vectors = tuple(of_source[chosen] for of_source in self.vectors)
        kinds = None if self.kinds is None else self.kinds[images]
        return TrainingSet(self.ids[images], self.labels[images], self.clusters[images], rows, vectors, kinds)

    @property
    def kinds_of_rows(self) -> NDArray[np.int64] | None:
        """Kinds of marks (r,) of all rows, -1 for views, which add, remove or cut off marks; None for all unknown."""
        if self.kinds is None:
            return None
        return np.concatenate([self.kinds, np.full(len(self.rows) - len(self.ids), -1)])

    @property
    def frames(self) -> list[NDArray[Any]]:
        """Vectors (n, d) of the images themselves, of each source."""
        return [of_source[: len(self.ids)] for of_source in self.vectors]
