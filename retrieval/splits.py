"""Dividing images by class without parting clusters of near duplicates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def stratified_parts(
    labels: NDArray[np.integer], clusters: NDArray[np.int64], shares: Sequence[float], seed: int
) -> NDArray[np.int64]:
    """The part of each image, (n,) int: every class is divided as `shares` say, and a cluster stays together.

    labels (n,) int, -1 being divided like a class; clusters (n,) numbered from 0. Large clusters are placed first, in
    seeded order within a size, each where its classes are furthest from full (as scikit-learn's StratifiedGroupKFold
    does, but for any shares). Classes of fewer images than parts leave some parts without: among parts that are as far
    from full they go to the emptiest, since the first one would have all of them.
    """
    labels = np.asarray(labels, np.int64) + 1
    counts = np.zeros((int(clusters.max(initial=-1)) + 1, int(labels.max(initial=0)) + 1))
    np.add.at(counts, (clusters, labels), 1)
    wanted = np.maximum(np.outer(shares, counts.sum(axis=0)), 1e-9)
    filled = np.zeros_like(wanted)
    is_rare = counts.sum(axis=0) < len(shares)
    order = np.random.default_rng(seed).permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    part_of = np.empty(len(counts), np.int64)
    for cluster in order:
        fullness = (filled + counts[cluster]) / wanted
        full = fullness @ counts[cluster]
        part = int(np.argmin(full))
        if is_rare[counts[cluster] > 0].all():
            equal = np.flatnonzero(full == full[part])
            part = int(equal[np.argmin(filled[equal].sum(axis=1))])
        part_of[cluster] = part
        filled[part] += counts[cluster]
    return part_of[clusters]


def cluster_numbers(clusters: NDArray[np.integer]) -> NDArray[np.int64]:
    """Clusters numbered from 0 without gaps, an image without one (-1) being one by itself; (n,) int64."""
    own = np.where(clusters < 0, -1 - np.arange(len(clusters)), clusters)
    return np.unique(own, return_inverse=True)[1].astype(np.int64)
