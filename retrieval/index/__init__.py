"""Nearest neighbours in one feature space, by the space's native distance.

A new backend is a module with the functions of `Backend` and a line in BACKENDS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from math import inf
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import Collection
from retrieval.index.cosine import Cosine
from retrieval.index.protocol import Backend, CompiledMetric, Index, Metric, Rows, StoredBackend
from retrieval.index.storage import index_folder

__all__ = [
    "BACKENDS",
    "Backend",
    "Cosine",
    "Entry",
    "Index",
    "Metric",
    "build_index",
    "is_exact",
    "open_index",
    "stored_backend",
]


def _is_cosine(metric: Metric) -> bool:
    return metric.name == Cosine.name


def _is_compiled(metric: Metric) -> bool:
    return isinstance(metric, CompiledMetric)


def _is_any(metric: Metric) -> bool:
    return True


@dataclass(frozen=True)
class Entry:
    """A backend's module, the metrics that it serves, and the number of vectors up to which it does.

    exact: every vector is compared, and nothing is stored on disk.
    """

    module: str
    serves: Callable[[Metric], bool]
    up_to: float
    exact: bool


BACKENDS = (
    # 50,000: beyond, a graph is faster (measured at 512 dimensions).
    Entry("retrieval.index.int8_scan", _is_cosine, up_to=50_000, exact=True),
    Entry("retrieval.index.faiss_index", _is_cosine, up_to=inf, exact=False),
    Entry("retrieval.index.descriptor_scan", _is_compiled, up_to=100_000, exact=True),
    Entry("retrieval.index.descriptor_ivf", _is_compiled, up_to=inf, exact=False),
    Entry("retrieval.index.scan", _is_any, up_to=inf, exact=True),
)
"""The first that serves a metric and a number of vectors is taken; its module is imported when it is needed."""


def is_exact(metric: Metric, count: int) -> bool:
    """Whether a search among so many vectors compares every one; then nothing is stored on disk."""
    return _entry(metric, count).exact


def stored_backend(metric: Metric, count: int) -> StoredBackend | None:
    """The module that searches so many vectors by a metric, where it stores its index on disk; else None."""
    entry = _entry(metric, count)
    return None if entry.exact else cast(StoredBackend, import_module(entry.module))


def _entry(metric: Metric, count: int) -> Entry:
    return next(entry for entry in BACKENDS if entry.serves(metric) and count <= entry.up_to)


def build_index(metric: Metric, rows: Rows, ids: NDArray[np.int64], folder: Path | None = None) -> Index:
    """An index of the images `ids` (n,) ascending, whose vectors are in `rows`.

    folder: where what is slow to build is stored and loaded from; None for nowhere.
    """
    backend = cast(Backend, import_module(_entry(metric, len(ids)).module))
    return backend.build(metric, rows, ids, folder)


def open_index(collection: Collection, space: str, metric: Metric) -> Index:
    """The index of a space of a collection; what is slow to build is stored in the collection's folder.

    Raises SpaceNameError, FormatError.
    """
    definition = collection.manifest.space(space)
    folder = index_folder(collection.path, definition.name)
    return build_index(metric, collection.rows(space), collection.ids(space), folder)
