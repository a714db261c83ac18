"""Which images are queries, what each is searched in, and what is left out of its answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import QueryError


class UnknownProtocolError(QueryError):
    """There is no protocol of this name."""


@dataclass(frozen=True)
class Round:
    """Image rows (int64) that are queries, and rows that they are searched in."""

    queries: NDArray[np.int64]
    gallery: NDArray[np.int64]


@dataclass(frozen=True)
class Protocol:
    """A protocol made ready for n images.

    rounds: usually one; k-fold has k. groups: (n,) int64; a query's answer leaves out the images of its own group.
    """

    name: str
    sentence: str
    rounds: tuple[Round, ...]
    groups: NDArray[np.int64]


def leave_one_out(clusters: NDArray[np.integer]) -> Protocol:
    """Every image queries all the others."""
    rows = np.arange(len(clusters))
    return Protocol("leave-one-out", "every image queries all the others", (Round(rows, rows),), rows)


def leave_cluster_out(clusters: NDArray[np.integer]) -> Protocol:
    """Every image queries all the others but its near duplicates; clusters (n,) int, -1 for an image that has none."""
    rows = np.arange(len(clusters))
    return Protocol(
        "leave-cluster-out",
        "every image queries all the others but its own near duplicates",
        (Round(rows, rows),),
        cluster_numbers(clusters),
    )


def cluster_numbers(clusters: NDArray[np.integer]) -> NDArray[np.int64]:
    """Clusters numbered from 0 without gaps, an image without one (-1) being one by itself; (n,) int64."""
    own = np.where(clusters < 0, -1 - np.arange(len(clusters)), clusters)
    return np.unique(own, return_inverse=True)[1].astype(np.int64)


PROTOCOLS = {"leave-one-out": leave_one_out, "leave-cluster-out": leave_cluster_out}
"""The protocols that need nothing but the clusters, by name."""


def protocol_named(name: str, clusters: NDArray[np.integer]) -> Protocol:
    """The protocol of a name for images with these clusters (n,); raises UnknownProtocolError."""
    if name not in PROTOCOLS:
        raise UnknownProtocolError(f"no protocol {name!r}; there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name](clusters)
