"""Nearest neighbours in one feature space, by the space's native distance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from retrieval.errors import CollectionError
from retrieval.index.cosine import Cosine
from retrieval.index.protocol import Index, Metric

__all__ = ["Cosine", "Index", "Metric", "UnknownMetricError", "build_index", "metric_named"]


class UnknownMetricError(CollectionError):
    """A space names a distance that this version does not know."""


def metric_named(name: str) -> Metric:
    """The distance that a space's definition names.

    Raises UnknownMetricError.
    """
    if name == Cosine.name:
        return Cosine()
    from retrieval.descriptors import DESCRIPTORS

    for descriptor in DESCRIPTORS.values():
        if descriptor.metric_name == name:
            return descriptor.metric
    raise UnknownMetricError(f"no distance is called '{name}'; the collection may be of a newer version")


def build_index(metric: Metric, vectors: NDArray[Any], ids: NDArray[Any], folder: Path | None, name: str) -> Index:
    """An index over vectors (n, d) with ids (n,) ascending; what takes long to build is kept in `folder`."""
    if metric.name == Cosine.name:
        from retrieval.index.embedding import EmbeddingIndex

        return EmbeddingIndex(vectors, ids, folder, name)
    from retrieval.descriptors.native_distance import NativeDistance
    from retrieval.index.native import native_index

    assert isinstance(metric, NativeDistance)
    return native_index(metric, vectors, ids, folder, name)
