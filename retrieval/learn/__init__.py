"""Learned spaces: vectors of frozen spaces -> one vector of unit length, by classes that images of the collection have.

`fit` makes a `Model` of vectors and labels; `METHODS` lists the ways. A model applies without scikit-learn or PyTorch.
"""

from __future__ import annotations

from retrieval.learn.methods import DEFAULT_METHOD, METHODS, UnknownMethodError, method_named
from retrieval.learn.model import LearnOptions, Model, NothingToLearnError, fit

__all__ = [
    "DEFAULT_METHOD",
    "METHODS",
    "LearnOptions",
    "Model",
    "NothingToLearnError",
    "UnknownMethodError",
    "fit",
    "method_named",
]
