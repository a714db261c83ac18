"""Images worth a look: best and worst queries, hubs of other classes, labels that may be wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.space_result import SpaceResult

FIRST = 10
"""Neighbours of each query that count for hubs, label errors and the flow between classes."""


@dataclass(frozen=True)
class Example:
    """An image id, how strongly it is an example, and the class number that it may really have, -1 for none."""

    image: int
    strength: float
    suspected: int = -1


def best_queries(result: SpaceResult, count: int) -> list[Example]:
    """Queries with the highest AP, of each class in turn, so that no easy class takes all places; strength is AP."""
    return _queries(result, count, -1)


def worst_queries(result: SpaceResult, count: int) -> list[Example]:
    """Queries with the lowest AP, of each class in turn; strength is AP."""
    return _queries(result, count, 1)


def hubs(result: SpaceResult, labels: Mapping[int, int], count: int) -> list[Example]:
    """Images most often among the first ten of a query of another class; strength is how often.

    labels: class number of every image id. Hubs arise in any space of many dimensions (Radovanović, Nanopoulos and
    Ivanović, Hubs in Space, JMLR 2010).
    """
    near = result.neighbours[:, :FIRST]
    classes = _classes(near, labels)
    wrong = near[(near >= 0) & (classes != result.labels[:, None])]
    images, times = np.unique(wrong, return_counts=True)
    order = np.argsort(-times, kind="stable")[:count]
    return [Example(int(images[at]), float(times[at])) for at in order]


def likely_label_errors(result: SpaceResult, labels: Mapping[int, int], count: int) -> list[Example]:
    """Queries whose ten nearest nearly all have one other class; strength is its share less that of the own class.

    Only those above one half are listed (the idea of edited nearest neighbours, Wilson 1972).
    """
    classes = _classes(result.neighbours[:, :FIRST], labels)
    shares = np.stack([(classes == c).mean(axis=1) for c in range(len(result.class_names))], axis=1)
    rows = np.arange(len(result.labels))
    own = shares[rows, result.labels]
    shares[rows, result.labels] = -1
    other = shares.argmax(axis=1)
    doubt = shares[rows, other] - own
    order = [int(at) for at in np.argsort(-doubt, kind="stable")[:count] if doubt[at] > 0.5]
    return [Example(int(result.ids[at]), float(doubt[at]), int(other[at])) for at in order]


def neighbour_flow(result: SpaceResult, labels: Mapping[int, int]) -> NDArray[np.float64]:
    """Share of each class's first ten neighbours that has each class, (C, C); rows sum to 1 at most."""
    classes = _classes(result.neighbours[:, :FIRST], labels)
    count = len(result.class_names)
    flow = np.zeros((count, count))
    for c in range(count):
        neighbours = classes[result.labels == c]
        if neighbours.size:
            flow[c] = np.bincount(neighbours[neighbours >= 0], minlength=count) / neighbours.size
    return flow


def _queries(result: SpaceResult, count: int, direction: int) -> list[Example]:
    ap = result.measures["mAP"]
    turns = []
    for c in range(len(result.class_names)):
        rows = np.flatnonzero((result.labels == c) & result.scored)
        order = rows[np.argsort(direction * ap[rows], kind="stable")][:count]
        turns += [(turn, c, int(row)) for turn, row in enumerate(order)]
    chosen = [row for _, _, row in sorted(turns)[:count]]
    return [Example(int(result.ids[row]), float(ap[row])) for row in chosen]


def _classes(images: NDArray[np.int64], labels: Mapping[int, int]) -> NDArray[np.int64]:
    different, inverse = np.unique(images, return_inverse=True)
    classes = np.array([labels.get(int(image), -1) for image in different], np.int64)
    return classes[inverse].reshape(images.shape)
