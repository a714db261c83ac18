"""What an index costs: memory, disk, build and query time by kind, from constants that were measured.

Measured on two cores of an AMD EPYC (Zen 4), FAISS 1.15.1, galleries mixed from real embeddings,
`tests/benchmarks/bench_scale.py`. Times of other machines differ; their proportions hold better.
"""

from __future__ import annotations

import math
from typing import Literal

Kind = Literal["flat", "exact", "graph", "lists", "milvus"]

CODING = 1.1e-8
"""Seconds to code one number of a vector in 8 bits."""
SCAN = 5.5e-11
"""Seconds to compare one number of a code with a query's, one thread."""
FLAT = 1.95e-10
"""Seconds to compare one number of a vector in single precision, as FAISS Flat does, one thread."""
MILVUS_CALL = 7e-3
"""Seconds of a search in a Milvus server on the same machine, without the comparisons; of 924 images."""
MILVUS_BUILD = 2.6e-8
"""Seconds of one number of a whole vector and doubling of the gallery when it is added to a graph."""
GRAPH_BUILD = 6.0e-8
"""Seconds of one number of a vector and doubling of the gallery when it is added to a graph, at 400,000 x 1,280 beside
one other process; on a busy machine it took three to five times that.
"""
REDUCED = 256
"""Dimensions, at most, of the subspace that is taken for the estimate; how many there are is known once vectors are."""
LISTS_TRAIN = 3.0e-11
"""Seconds of one number of a training vector, list and iteration."""
LISTS_ADD = 6.0e-11
"""Seconds of one number of a vector and list when it is added to an inverted file."""
GRAPH_TUNE, LISTS_TUNE = 0.01, 0.08
"""Seconds of a vector that an index is tuned by, at most 400: half of the processor time at 100,000 x 512."""
CATALOG_BYTES = 325.0
"""Bytes of an image in the catalog, with its digest, and as a column file; of vectors without pictures."""
PICTURE_BYTES = 4500.0
"""Further bytes of an image with a picture: its small grey for near duplicates, 4.1 kB, its marks, a longer name."""
COLUMN_BYTES = 104.0
"""Bytes of an image in the columns that a reader maps."""
_GRAPH_NODE = 4.0e-7
"""Seconds to fetch a code at a random place, whatever its length."""
_GRAPH_NUMBER = 5.0e-11
"""Seconds to compare one number of it."""
_LISTS_CODE = 9.8e-11
"""Seconds to compare one four-bit code."""


def build_seconds(kind: Kind, count: int, dimension: int) -> float:
    """Seconds that building and tuning take, vectors in memory or on a fast disk."""
    sample = min(400.0, count / 250)
    coding = count * dimension * CODING
    if kind == "flat":
        return 0.0
    if kind == "exact" or not count:
        return coding
    if kind == "milvus":
        return coding + MILVUS_BUILD * count * dimension * math.log2(count + 1)
    if kind == "graph":
        return coding + GRAPH_BUILD * count * min(dimension, REDUCED) * math.log2(count + 1) + GRAPH_TUNE * sample
    lists, reduced = 4 * math.sqrt(count), min(dimension, REDUCED)
    training = 64 * lists * 10 * lists * reduced * LISTS_TRAIN
    return coding + training + LISTS_ADD * count * lists * reduced + LISTS_TUNE * sample


def query_milliseconds(kind: Kind, count: int, dimension: int) -> float:
    """Milliseconds of one query on one thread, at a recall of 0.995."""
    if kind == "flat":
        return 1000 * FLAT * count * dimension
    if kind == "exact":
        return 1000 * SCAN * count * dimension
    node = _GRAPH_NODE + _GRAPH_NUMBER * dimension
    if kind == "graph":
        return 1000 * (_GRAPH_NODE + _GRAPH_NUMBER * min(dimension, REDUCED)) * 64 * math.log2(count + 1)
    if kind == "milvus":
        return 1000 * (MILVUS_CALL + (node + FLAT * dimension) * 64 * math.log2(count + 1))
    lists = 4 * math.sqrt(count)
    scanned = count / 40 * dimension / 4 * _LISTS_CODE
    return 1000 * (scanned + lists * dimension * SCAN * 4 + 600 * node)
