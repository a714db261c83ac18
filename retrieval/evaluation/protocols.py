"""Protocols: which images are queries, what each is searched in, and what its ranked list leaves out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import EvaluationError
from retrieval.evaluation.options import EvaluationOptions
from retrieval.splits import cluster_numbers, stratified_parts


class UnknownProtocolError(EvaluationError):
    """There is no protocol of this name."""


class TooManyFoldsError(EvaluationError):
    """More folds are wanted than there are clusters."""


@dataclass(frozen=True, eq=False)
class Round:
    """Image rows (int64) that are queries, and rows of the gallery that they are searched in."""

    queries: NDArray[np.int64]
    gallery: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Protocol:
    """A protocol for n images.

    rounds: usually one; k-fold has k. groups: (n,) int64; a query's ranked list leaves out the images of its own group.
    sentence: the protocol in words, for reports.
    """

    name: str
    sentence: str
    rounds: tuple[Round, ...]
    groups: NDArray[np.int64]

    def reindexed(self, rows: NDArray[np.int64]) -> Protocol:
        """The same protocol for a subset of the images, rows (m,) ascending, numbered anew from 0 to m - 1."""
        new = np.full(len(self.groups), -1)
        new[rows] = np.arange(len(rows))

        def renumbered(old: NDArray[np.int64]) -> NDArray[np.int64]:
            return new[old][new[old] >= 0]

        rounds = tuple(Round(renumbered(round_.queries), renumbered(round_.gallery)) for round_ in self.rounds)
        return replace(self, rounds=rounds, groups=self.groups[rows])

    def restricted_to(self, rows: NDArray[np.int64]) -> Protocol:
        """The same protocol with only rows (m,) as queries and in the gallery; `sentence` says so."""
        rounds = tuple(
            Round(round_.queries[np.isin(round_.queries, rows)], round_.gallery[np.isin(round_.gallery, rows)])
            for round_ in self.rounds
        )
        others = len(self.groups) - len(rows)
        lacking = f"; {others:,} images that a space lacks take no part" if others else ""
        return replace(self, rounds=rounds, sentence=self.sentence + lacking)

    def with_queries(self, allowed: NDArray[np.bool_]) -> Protocol:
        """The same protocol with only the images of a mask (n,) as queries."""
        rounds = tuple(Round(round_.queries[allowed[round_.queries]], round_.gallery) for round_ in self.rounds)
        return replace(self, rounds=rounds)


def with_sampled_queries(protocol: Protocol, labels: NDArray[np.integer], count: int, seed: int) -> Protocol:
    """The same protocol with `count` of its queries, drawn from each class by its share; `sentence` says so.

    labels: (n,) int, -1 for an image without a class, which never queries. A class has one query at least.
    """
    queries = np.concatenate([round_.queries for round_ in protocol.rounds])
    queries = queries[labels[queries] >= 0]
    if count >= len(queries):
        return protocol
    random = np.random.default_rng(seed)
    sizes = np.bincount(labels[queries])
    exact = sizes * (count / len(queries))
    wanted = np.minimum(np.maximum(np.floor(exact).astype(np.int64), sizes > 0), sizes)
    for label in np.argsort(-(exact - wanted), kind="stable")[: max(0, count - int(wanted.sum()))]:
        wanted[label] += wanted[label] < sizes[label]
    chosen = np.zeros(len(labels), bool)
    for label in np.flatnonzero(sizes):
        chosen[random.choice(queries[labels[queries] == label], wanted[label], replace=False)] = True
    drawn = int(np.count_nonzero(chosen))
    said = f"; {drawn:,} of {len(queries):,} queries, drawn from each class by its share (seed {seed})"
    return replace(protocol.with_queries(chosen), sentence=protocol.sentence + said)


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


def leave_scene_out(scenes: NDArray[np.integer]) -> Protocol:
    """Every image queries all the others but its scene; scenes (n,) int, -1 for an image that has none."""
    sentence = "every image queries all the others but frames of its own scene"
    return replace(leave_cluster_out(scenes), name="leave-scene-out", sentence=sentence)


def hold_out(
    labels: NDArray[np.integer],
    clusters: NDArray[np.integer],
    test_share: float = EvaluationOptions.test_share,
    seed: int = 0,
) -> Protocol:
    """A share of each class queries the rest; no cluster is parted. labels, clusters (n,) int, -1 for none."""
    parts = stratified_parts(labels, cluster_numbers(clusters), (1 - test_share, test_share), seed)
    sentence = f"a class-stratified {test_share:.0%} of the images query the rest (seed {seed}); no cluster is parted"
    only = Round(np.flatnonzero(parts == 1), np.flatnonzero(parts == 0))
    return Protocol("hold-out", sentence, (only,), np.arange(len(labels)))


def k_fold(
    labels: NDArray[np.integer],
    clusters: NDArray[np.integer],
    folds: int = EvaluationOptions.folds,
    seed: int = 0,
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
    """How many queries can retrieve a near duplicate of themselves: the figures of these are too good."""
    numbers = cluster_numbers(clusters)
    both = np.unique(np.stack([numbers, protocol.groups]), axis=1, return_inverse=True)[1]
    leaking = 0
    for round_ in protocol.rounds:
        duplicates = np.bincount(numbers[round_.gallery], minlength=numbers.max(initial=0) + 1)
        left_out = np.bincount(both[round_.gallery], minlength=both.max(initial=0) + 1)
        leaking += int((duplicates[numbers[round_.queries]] > left_out[both[round_.queries]]).sum())
    return leaking


PROTOCOLS = {
    "leave-one-out": leave_one_out,
    "leave-cluster-out": leave_cluster_out,
    "leave-scene-out": leave_scene_out,
}
"""The protocols that need nothing but the clusters or scenes, by name."""


def protocol_named(name: str, clusters: NDArray[np.integer], scenes: NDArray[np.integer] | None = None) -> Protocol:
    """The protocol of a name for images with these clusters and scenes (n,), by default the clusters.

    Raises UnknownProtocolError.
    """
    if not isinstance(name, str) or name not in PROTOCOLS:  # type: ignore[redundant-expr]
        raise UnknownProtocolError(f"no protocol {name!r} that needs no split; there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name](scenes if name == "leave-scene-out" and scenes is not None else clusters)
