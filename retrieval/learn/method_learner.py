"""Learning by a method of `METHODS`, or by the method that cross-validation chooses."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from retrieval.learn.learner import TrainingSet
from retrieval.learn.methods import AUTO, method_named
from retrieval.learn.model import LearnOptions, Model
from retrieval.learn.selection import fit_chosen
from retrieval.learn.views import NO_VIEWS


@dataclass(frozen=True)
class MethodLearner:
    """A `Learner` by options. An automatic method, or an unlearned share of None, is chosen by cross-validation."""

    sources: tuple[str, ...]
    views: str
    options: LearnOptions

    @property
    def labelled(self) -> bool:
        """Whether it learns from classes. Raises UnknownMethodError."""
        return self.options.method == AUTO or method_named(self.options.method).labelled

    @property
    def baseline(self) -> MethodLearner:
        """Principal components of the same sources."""
        return replace(self, views=NO_VIEWS, options=LearnOptions("pca", self.options.dimension))

    def fit(self, training: TrainingSet, images: NDArray[np.int64]) -> Model:
        """See `Learner`."""
        if self.options.method == AUTO or self.options.unlearned is None:
            return fit_chosen(training, images, self.options)[0]
        return training.fit(images, self.options)

    def settled(self, training: TrainingSet) -> MethodLearner:
        """See `Learner`."""
        _, options, _ = fit_chosen(training, np.arange(len(training.ids)), self.options)
        return replace(self, options=options)
