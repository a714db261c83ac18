"""Which approximate index a gallery gets, from its size, its dimension, the memory it may take and its recall."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from retrieval.index.costs import REDUCED, build_seconds
from retrieval.index.reduction import PART, transform_of

HNSW_UP_TO = 1_000_000
"""Vectors up to which a graph is built: it is searched sooner than an inverted file, but beyond takes long to build."""
LISTS_UP_TO = 0.9
"""Recall up to which an inverted file is searched sooner than a graph, in 60 % of its memory: 100,000 vectors of 512
numbers in 0.16 ms where a graph takes 0.28, and 60,000 of 256 numbers in 0.13 and 0.14 to 0.26.
"""
TARGET_RECALL = 0.995
"""Share of the true nearest that a search of an approximate index returns, unless another is asked for."""
_LINKS = 32
_CONSTRUCTION = 128
"""Nodes that are expanded when a vector is linked; with 80 a query in a hundred was not led to its neighbours."""
LINK_BYTES = 272
"""Bytes of a vector's links: twice 32 on the lowest level, a few above."""
_PART = 4
"""Numbers of a vector that one four-bit code stands for: a bit each, which orders candidates well enough to refine."""
_ID_BYTES = 16
"""Bytes of a vector's number in its list and of its image id."""
TRAINING = 64
"""Vectors per list that an inverted file is trained on."""


@dataclass(frozen=True)
class Shape:
    """A FAISS index over the int8 codes of all vectors.

    name: FAISS's, such as `HNSW32` or `IVF2048,PQ128x4fs`. lists: of an inverted file, 0 for a graph. parts: of its
    product quantiser. bytes: of codes, links or lists, and ids. seconds: that building is expected to take here.
    """

    name: str
    lists: int
    parts: int
    bytes: int
    seconds: float

    @property
    def is_graph(self) -> bool:
        """Whether it is a graph (Y. Malkov and D. Yashunin, "Efficient and robust approximate nearest neighbor search
        using Hierarchical Navigable Small World graphs", 2016) and not an inverted file.
        """
        return not self.lists


def shape_of(count: int, dimension: int, memory: int | None = None, recall: float = TARGET_RECALL) -> Shape:
    """The index of `count` vectors for a recall, within `memory` bytes; the smallest where none is small enough."""
    graph, lists = graph_of(count, dimension), lists_of(count, dimension)
    suits = (count <= HNSW_UP_TO and recall > LISTS_UP_TO) or padded(dimension) < 8 * _PART
    return graph if suits and (memory is None or graph.bytes <= memory) else lists


def graph_of(count: int, dimension: int) -> Shape:
    """A graph."""
    reduced = min(REDUCED, dimension // 2 // PART * PART)  # where vectors lie near a subspace, a second code of each
    size = count * (padded(dimension) + reduced + LINK_BYTES + _ID_BYTES // 2)
    return Shape(f"HNSW{_LINKS}", 0, 0, size, build_seconds("graph", count, dimension))


def lists_of(count: int, dimension: int) -> Shape:
    """An inverted file of four-bit codes of parts of a vector (product quantisation), which int8 codes refine."""
    lists, parts = 1 << int(math.log2(max(4.0, 4 * math.sqrt(count)))), padded(dimension) // _PART
    size = count * (padded(dimension) + -(-parts // 2) + _ID_BYTES) + 4 * lists * padded(dimension)
    return Shape(f"IVF{lists},PQ{parts}x4fs", lists, parts, size, build_seconds("lists", count, dimension))


def padded(dimension: int) -> int:
    """The length of a vector that zeros were appended to, so that its parts are equally long; products stay."""
    return _PART * -(-dimension // _PART)


def empty_index(shape: Shape, dimension: int, basis: NDArray[np.float32] | None = None) -> tuple[Any, Any]:
    """FAISS's index of a shape, untrained and empty, and that of the int8 codes: a graph over whole vectors has them
    inside.

    basis: (r, padded dimension), of the subspace that the index covers; None for whole vectors.
    """
    width, direct = padded(dimension), faiss.ScalarQuantizer.QT_8bit_direct_signed
    codes = faiss.IndexScalarQuantizer(width, direct, faiss.METRIC_INNER_PRODUCT)
    if basis is None:
        if not shape.is_graph:
            return faiss.index_factory(width, shape.name, faiss.METRIC_INNER_PRODUCT), codes
        graph = _empty_graph(width, direct)
        return graph, codes_of(graph)
    reduced = len(basis)
    if shape.is_graph:
        inner = _empty_graph(reduced, faiss.ScalarQuantizer.QT_8bit)
    else:  # two dimensions a code, of what a list's centre leaves: so few dimensions have room for finer codes
        inner = faiss.IndexIVFPQFastScan(
            faiss.IndexFlatIP(reduced), reduced, shape.lists, reduced // 2, 4, faiss.METRIC_INNER_PRODUCT
        )
        inner.by_residual = True
        inner.cp.spherical = True
    return faiss.IndexPreTransform(transform_of(basis), inner), codes


def _empty_graph(dimension: int, coding: int) -> Any:
    graph = faiss.IndexHNSWSQ(dimension, coding, _LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = _CONSTRUCTION
    return graph


def inner_of(index: Any) -> Any:
    """The graph or inverted file inside an index, which it keeps alive; the index itself if it covers whole vectors."""
    if not isinstance(index, faiss.IndexPreTransform):
        return index
    inner = faiss.downcast_index(index.index)
    inner.referenced_objects = [index]
    return inner


def name_of(shape: Shape, index: Any) -> str:
    """FAISS's name of an index of a shape, with the subspace that it covers."""
    inner = inner_of(index)
    if inner is index:
        return shape.name
    return f"PCA{inner.d}," + (shape.name if shape.is_graph else f"IVF{shape.lists},PQ{inner.pq.M}x4fsr")


def codes_of(graph: Any) -> Any:
    """The codes inside a graph, which they keep alive."""
    codes = faiss.downcast_index(graph.storage)
    codes.referenced_objects = [graph]  # FAISS's wrapper does not own what it points at
    return codes


def parts_of(refined: Any) -> tuple[Any, Any]:
    """The inverted file and the codes inside an IndexRefine, which they keep alive."""
    lists, codes = faiss.downcast_index(refined.base_index), faiss.downcast_index(refined.refine_index)
    lists.referenced_objects = codes.referenced_objects = [refined]
    return lists, codes
