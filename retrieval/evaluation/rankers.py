"""What orders a gallery for a query: one space by its distance, or several spaces fused by their ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.ranking import Side, distances_by, rank
from retrieval.fusion import DEPTH, METHODS
from retrieval.index.protocol import Metric

Floats = NDArray[np.floating]
Rows = NDArray[np.int64]


class Ranker(Protocol):
    """Orders n images for a query that is one of them."""

    @property
    def metric_name(self) -> str:
        """What reports call its distance."""
        ...

    @property
    def dimension(self) -> int | None:
        """Numbers in a vector, where there is one."""
        ...

    def over(self, gallery: Rows) -> Callable[[Rows], Floats]:
        """Made ready for gallery rows (m,), the function from rows of queries (q,) to distances (q, m)."""
        ...

    def scores(self, distances: Floats) -> Floats:
        """Similarities for distances of any shape."""
        ...


@dataclass(frozen=True)
class SpaceRanker:
    """One space: vectors (n, d) in its stored dtype, and its native distance."""

    vectors: NDArray[np.generic]
    metric: Metric

    @property
    def metric_name(self) -> str:
        """The native distance's name."""
        return self.metric.name

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""
        return int(self.vectors.shape[1])

    def over(self, gallery: Rows) -> Callable[[Rows], Floats]:
        """See `Ranker`."""
        distances = distances_by(self.metric, self.vectors[gallery])
        return lambda queries: distances(self.vectors[queries])

    def scores(self, distances: Floats) -> Floats:
        """The metric's own."""
        return self.metric.scores(distances)


@dataclass(frozen=True)
class Member:
    """A space in a fusion: vectors (m, d) of the images rows (m,) of n, its distance and its weight."""

    vectors: NDArray[np.generic]
    rows: Rows
    metric: Metric
    weight: float = 1.0


@dataclass(frozen=True)
class FusedRanker:
    """Spaces fused by weighted reciprocal ranks, as `retrieval.search` fuses them.

    A search takes the first 1,000 of each space and gives no score to an image that is in none of them. So that a whole
    list can be measured, such images follow after all others, by the reciprocal ranks of the whole lists.
    groups: (n,) as in a protocol: what a query's answer leaves out takes no rank in any space.
    A query must have a vector in every space; an image of the gallery may lack some.
    """

    members: Sequence[Member]
    groups: Rows

    metric_name = "reciprocal ranks"
    dimension = None

    @property
    def complete(self) -> NDArray[np.bool_]:
        """Images that can be queries, (n,): those that have a vector in every space."""
        held = np.zeros(len(self.groups), np.int64)
        for member in self.members:
            held[member.rows] += 1
        there: NDArray[np.bool_] = held == len(self.members)
        return there

    def over(self, gallery: Rows) -> Callable[[Rows], Floats]:
        """See `Ranker`; a distance is the negative score, a score above 0 being what a search gives."""
        total = sum(member.weight for member in self.members)
        orders = [self._order(member, gallery) for member in self.members]

        def distances(queries: Rows) -> Floats:
            # One column more takes the ranks that the protocol leaves empty.
            first, whole = np.zeros((2, len(queries), len(gallery) + 1))
            at = np.arange(len(queries))[:, None]
            for member, order in zip(self.members, orders, strict=True):
                columns = order(queries)
                added = METHODS["rrf"].points(member.weight / total, np.empty(columns.shape), None)
                whole[at, columns] += added
                first[at, columns[:, :DEPTH]] += added[:DEPTH]
            found: Floats = np.where(first > 0, first, whole - 1)[:, :-1]
            return -found

        return distances

    def scores(self, distances: Floats) -> Floats:
        """1 for an image that is first in every space, below 0 beyond what a search finds."""
        return -distances

    def _order(self, member: Member, gallery: Rows) -> Callable[[Rows], Rows]:
        """The function from queries (q,) to a space's ranking: columns of the gallery (q, m), the last for no image."""
        its_row = np.full(len(self.groups), -1, np.int64)
        its_row[member.rows] = np.arange(len(member.rows))
        columns = np.flatnonzero(its_row[gallery] >= 0)
        distances = distances_by(member.metric, member.vectors[its_row[gallery[columns]]])
        side = self._side(gallery[columns])
        column_of = np.append(columns, len(gallery))  # -1, no image, is the last

        def order(queries: Rows) -> Rows:
            ranking = rank(distances(member.vectors[its_row[queries]]), self._side(queries), side)
            return column_of[ranking.order]

        return order

    def _side(self, rows: Rows) -> Side:
        return Side(np.full(len(rows), -1, np.int64), self.groups[rows])
