"""What an index costs: memory, disk, build and query time by kind, from constants that were measured.

Measured on two cores of an AMD EPYC (Zen 4), FAISS 1.15.1, galleries mixed from real embeddings,
`tests/benchmarks/bench_scale.py`. Times of other machines differ; their proportions hold better.
"""

from __future__ import annotations

import math
from typing import Literal

Kind = Literal["exact", "graph", "lists"]

CODING = 1.1e-8
"""Seconds to code one number of a vector in 8 bits."""
SCAN = 5.5e-11
"""Seconds to compare one number of a code with a query's, one thread."""
GRAPH_BUILD = 2.6e-8
"""Seconds of one number of a vector and doubling of the gallery when it is added to a graph."""
LISTS_TRAIN = 3.0e-11
"""Seconds of one number of a training vector, list and iteration."""
LISTS_ADD = 6.0e-11
"""Seconds of one number of a vector and list when it is added to an inverted file."""
CATALOG_BYTES = 345.0
"""Bytes of an image in the catalog, with its digest, and as a column file."""
COLUMN_BYTES = 113.0
"""Bytes of an image in the columns that a reader maps."""
_GRAPH_NODE = 4.5e-10
"""Seconds to compare one number of a code at a random place."""
_LISTS_CODE = 9.8e-11
"""Seconds to compare one four-bit code."""


def build_seconds(kind: Kind, count: int, dimension: int) -> float:
    """Seconds that building takes, vectors in memory or on a fast disk."""
    coding = count * dimension * CODING
    if kind == "exact" or not count:
        return coding
    if kind == "graph":
        return coding + GRAPH_BUILD * count * dimension * math.log2(count + 1)
    lists = 4 * math.sqrt(count)
    training = 64 * lists * 10 * lists * dimension * LISTS_TRAIN
    return coding + training + LISTS_ADD * count * lists * dimension


def query_milliseconds(kind: Kind, count: int, dimension: int) -> float:
    """Milliseconds of one query on one thread, at a recall of 0.995."""
    if kind == "exact":
        return 1000 * SCAN * count * dimension
    if kind == "graph":
        return 1000 * _GRAPH_NODE * dimension * 64 * math.log2(count + 1)
    lists = 4 * math.sqrt(count)
    scanned = count / 40 * dimension / 4 * _LISTS_CODE
    return 1000 * (scanned + lists * dimension * SCAN * 4 + 600 * dimension * _GRAPH_NODE)
