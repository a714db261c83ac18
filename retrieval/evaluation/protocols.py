"""Which images are queries, what each is searched in, and what is left out of its answer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import QueryError
from retrieval.evaluation.choices import Choices
from retrieval.evaluation.splits import stratified_parts


class UnknownProtocolError(QueryError):
    """There is no protocol of this name."""


class TooManyFoldsError(QueryError):
    """More folds are asked for than there are clusters."""


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

    def restricted_to(self, rows: NDArray[np.int64]) -> Protocol:
        """The same protocol for some of the images, rows (m,) ascending: those that have a vector in one space."""
        new = np.full(len(self.groups), -1)
        new[rows] = np.arange(len(rows))

        def renumbered(old: NDArray[np.int64]) -> NDArray[np.int64]:
            return new[old][new[old] >= 0]

        rounds = tuple(Round(renumbered(one.queries), renumbered(one.gallery)) for one in self.rounds)
        return replace(self, rounds=rounds, groups=self.groups[rows])

    def among(self, rows: NDArray[np.int64]) -> Protocol:
        """The same protocol where other images than rows (m,) neither ask nor are searched; `sentence` says so."""
        rounds = tuple(
            Round(one.queries[np.isin(one.queries, rows)], one.gallery[np.isin(one.gallery, rows)])
            for one in self.rounds
        )
        others = len(self.groups) - len(rows)
        lacking = f"; {others:,} images that a space lacks take no part" if others else ""
        return replace(self, rounds=rounds, sentence=self.sentence + lacking)

    def asking(self, may_ask: NDArray[np.bool_]) -> Protocol:
        """The same protocol with only these images, (n,), as queries."""
        rounds = tuple(Round(one.queries[may_ask[one.queries]], one.gallery) for one in self.rounds)
        return replace(self, rounds=rounds)


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


def hold_out(
    labels: NDArray[np.integer], clusters: NDArray[np.integer], test_share: float = Choices.test_share, seed: int = 0
) -> Protocol:
    """A share of each class queries the rest; no cluster is parted. labels, clusters (n,) int, -1 for none."""
    parts = stratified_parts(labels, cluster_numbers(clusters), (1 - test_share, test_share), seed)
    sentence = f"a class-stratified {test_share:.0%} of the images query the rest (seed {seed}); no cluster is parted"
    one = Round(np.flatnonzero(parts == 1), np.flatnonzero(parts == 0))
    return Protocol("hold-out", sentence, (one,), np.arange(len(labels)))


def k_fold(
    labels: NDArray[np.integer], clusters: NDArray[np.integer], folds: int = Choices.folds, seed: int = 0
) -> Protocol:
    """Each fold queries the other folds; no cluster is parted. labels, clusters (n,) int, -1 for none.

    Raises TooManyFoldsError.
    """
    numbers = cluster_numbers(clusters)
    if folds > (most := int(numbers.max(initial=-1)) + 1):
        raise TooManyFoldsError(f"{folds:,} folds of {most:,} clusters, which are not parted: ask for fewer folds")
    parts = stratified_parts(labels, numbers, (1 / folds,) * folds, seed)
    sentence = f"each of {folds} class-stratified folds queries the other ones (seed {seed}); no cluster is parted"
    return from_folds("k-fold", sentence, parts)


def from_folds(name: str, sentence: str, folds: NDArray[np.integer]) -> Protocol:
    """Each fold, numbered in folds (n,) int, queries the other ones; an image of fold -1 takes no part."""
    rounds = tuple(
        Round(np.flatnonzero(folds == fold), np.flatnonzero((folds != fold) & (folds >= 0)))
        for fold in np.unique(folds[folds >= 0])
    )
    return Protocol(name, sentence, rounds, np.arange(len(folds)))


def leaking_queries(protocol: Protocol, clusters: NDArray[np.integer]) -> int:
    """How many queries can find a near duplicate of themselves: the figures of these are too good."""
    numbers = cluster_numbers(clusters)
    both = np.unique(np.stack([numbers, protocol.groups]), axis=1, return_inverse=True)[1]
    leaking = 0
    for one in protocol.rounds:
        mates = np.bincount(numbers[one.gallery], minlength=numbers.max(initial=0) + 1)
        left_out = np.bincount(both[one.gallery], minlength=both.max(initial=0) + 1)
        leaking += int((mates[numbers[one.queries]] > left_out[both[one.queries]]).sum())
    return leaking


def cluster_numbers(clusters: NDArray[np.integer]) -> NDArray[np.int64]:
    """Clusters numbered from 0 without gaps, an image without one (-1) being one by itself; (n,) int64."""
    own = np.where(clusters < 0, -1 - np.arange(len(clusters)), clusters)
    return np.unique(own, return_inverse=True)[1].astype(np.int64)


PROTOCOLS = {"leave-one-out": leave_one_out, "leave-cluster-out": leave_cluster_out}
"""The protocols that need nothing but the clusters, by name."""


def protocol_named(name: str, clusters: NDArray[np.integer]) -> Protocol:
    """The protocol of a name for images with these clusters (n,); raises UnknownProtocolError."""
    if name not in PROTOCOLS:
        raise UnknownProtocolError(f"no protocol {name!r} that needs no split; there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name](clusters)
