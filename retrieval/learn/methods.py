"""Ways of learning a space; a new one is a module with `fit` and `apply`, and a line in METHODS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import LearningError
from retrieval.learn.whitening import Arrays, Floats

Progress = Callable[[str, int, int], None]
"""Takes a task's name, how much of it is done, and all of it."""


class UnknownMethodError(LearningError):
    """There is no way of learning of this name."""


class Step(Protocol):
    """What the module of a method provides."""

    def fit(self, features: Floats, labels: NDArray[np.int64], seed: int) -> dict[str, NDArray[np.float32]]:
        """Parameters, learned from components (n, p) and labels (n,) from 0."""
        ...

    def apply(self, arrays: Arrays, features: Floats) -> Floats:
        """Components (n, p) -> the learned part (n, m)."""
        ...


@dataclass(frozen=True)
class Method:
    """Learned parts, by the module of each its share; the unlearned components have what is left of 1.

    labelled: whether images without a class teach nothing.
    """

    name: str
    parts: Mapping[str, float]
    sentence: str

    @property
    def labelled(self) -> bool:
        """Whether it learns from classes."""
        return bool(self.parts)


METHODS = {
    method.name: method
    for method in (
        Method("pca", {}, "principal components of the standardised vectors; learns from no class"),
        Method("wccn", {"within_class": 1.0}, "within-class covariance normalisation"),
        Method("lda", {"discriminant": 0.7}, "linear discriminant analysis, 30 % unlearned"),
        Method("pooled", {"pooled": 0.7}, "the same, its covariance weighing large classes more, 30 % unlearned"),
        Method("nystroem", {"nystroem": 0.7}, "discriminant analysis of a radial kernel, 30 % unlearned"),
        Method("head", {"head": 0.7}, "a two-layer network with normalised softmax, 30 % unlearned"),
        Method("blend", {"discriminant": 0.35, "head": 0.35}, "discriminant and network, 30 % unlearned"),
        Method(
            "ensemble",
            {"discriminant": 0.23, "nystroem": 0.23, "head": 0.24},
            "discriminant, kernel discriminant and network, 30 % unlearned",
        ),
    )
}
SEEDED = ("nystroem", "head")
"""Parts that chance has a hand in; fits of several seeds are averaged."""
AUTO = "auto"
"""In the place of a method: cross-validation chooses."""
DEFAULT_METHOD = "blend"


def method_named(name: str) -> Method:
    """The method of a name. Raises UnknownMethodError."""
    if name not in METHODS:
        raise UnknownMethodError(f"no method of learning is called '{name}'; there are {', '.join(METHODS)}")
    return METHODS[name]


def step_named(name: str) -> Step:
    """The module of a learned part."""
    return cast(Step, import_module(f"retrieval.learn.{name}"))
