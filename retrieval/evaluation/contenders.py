"""The retriever of a space or fusion, among the images that have a vector in one of its spaces."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import Collection
from retrieval.evaluation.options import Fusion
from retrieval.evaluation.proposed import Proposed
from retrieval.evaluation.protocols import Protocol
from retrieval.evaluation.retrievers import FusedRetriever, Member, Retriever, SpaceRetriever
from retrieval.index import Index
from retrieval.spaces import metric_of

Vectors = tuple[NDArray[np.int64], NDArray[np.generic]]
"""Positions (m,) ascending of images in the collection, and their vectors (m, d)."""


def retriever_of(
    opened: Collection,
    contender: Fusion,
    vectors: Mapping[str, Vectors],
    protocol: Protocol,
    indexes: Mapping[str, Index] | None = None,
) -> tuple[Retriever, NDArray[np.int64], Protocol]:
    """The retriever of a space or fusion, the positions of its images, ascending, and the protocol among them.

    vectors: of each space. protocol: of the collection's images. indexes: those that search spaces in the place of
    comparing every image.
    """
    positions = np.unique(np.concatenate([vectors[name][0] for name in contender.spaces]))
    protocol = protocol.reindexed(positions)
    proposed = {
        name: Proposed(index, opened.images.ids[positions], protocol.groups) for name, index in (indexes or {}).items()
    }
    members = [
        Member(
            vectors[name][1],
            np.searchsorted(positions, vectors[name][0]),
            metric_of(opened.manifest.space(name)),
            weight,
            proposed.get(name),
        )
        for name, weight in zip(contender.spaces, contender.weights, strict=True)
    ]
    if len(members) == 1:
        return SpaceRetriever(members[0].vectors, members[0].metric, members[0].proposed), positions, protocol
    retriever = FusedRetriever(members, protocol.groups, contender.method)
    return retriever, positions, protocol.with_queries(retriever.complete)
