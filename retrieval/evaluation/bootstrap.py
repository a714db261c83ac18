"""Confidence intervals: queries drawn again, whole clusters of near duplicates at a time.

Near duplicates have nearly the same figures, so drawing single images would count one observation several times and
make the intervals too narrow (Field and Welsh, Bootstrapping clustered data, JRSS B 2007: the cluster bootstrap).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.protocols import cluster_numbers

Floats = NDArray[np.float64]

LEVEL = 0.95
_TOGETHER = 50
"""Samples drawn together: what they need stays small whatever the number of samples."""


@dataclass(frozen=True)
class Resampled:
    """M means of b bootstrap samples: over queries (b, M), of the class means (b, M), per class (b, C, M).

    A class that a sample happens to leave out has NaN there, and its macro mean is over the others.
    """

    micro: Floats
    macro: Floats
    per_class: Floats


def resampled_means(
    values: Floats, labels: NDArray[np.int64], clusters: NDArray[np.int64], class_count: int, samples: int, seed: int
) -> Resampled:
    """The means of values (q, M), none NaN, in bootstrap samples of the clusters (q,); labels (q,) from 0."""
    numbers = cluster_numbers(clusters)
    cell, cell_of = np.unique(labels * (numbers.max(initial=0) + 1) + numbers, return_inverse=True)
    sums = np.zeros((len(cell), values.shape[1] + 1))
    np.add.at(sums, cell_of, np.column_stack([values, np.ones(len(values))]))
    class_of, cluster_of = np.divmod(cell, numbers.max(initial=0) + 1)
    totals = np.empty((samples, class_count, sums.shape[1]))
    for rows, weights in _weights(numbers, samples, seed):
        for c in range(class_count):
            its = class_of == c
            totals[rows, c] = weights[:, cluster_of[its]] @ sums[its]
    counts = totals[..., -1:]
    per_class = np.divide(totals[..., :-1], counts, out=np.full(totals[..., :-1].shape, np.nan), where=counts > 0)
    present = (counts > 0).sum(axis=1)
    return Resampled(
        micro=totals[..., :-1].sum(axis=1) / counts.sum(axis=1),
        macro=np.nansum(per_class, axis=1) / present,
        per_class=per_class,
    )


def resampled_confusion(
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
    clusters: NDArray[np.int64],
    class_count: int,
    samples: int,
    seed: int,
) -> Floats:
    """The confusion matrix of each bootstrap sample, (samples, C, C + 1); drawn as `resampled_means` draws."""
    numbers = cluster_numbers(clusters)
    columns = class_count + 1
    cells = labels * columns + np.where(predicted < 0, class_count, predicted)
    order = np.argsort(cells, kind="stable")
    used, starts = np.unique(cells[order], return_index=True)
    tables = np.zeros((samples, class_count * columns))
    for rows, weights in _weights(numbers, samples, seed):
        tables[rows, used] = np.add.reduceat(weights[:, numbers[order]], starts, axis=1)
    return tables.reshape(samples, class_count, columns)


def interval(resampled: Floats, level: float = LEVEL) -> Floats:
    """Percentile interval over the first axis, (b, ...) -> (..., 2); samples with NaN do not count."""
    tails = [(1 - level) / 2, (1 + level) / 2]
    if not np.isnan(resampled).any():
        return np.moveaxis(np.quantile(resampled, tails, axis=0), 0, -1)
    everywhere = np.asarray(np.isnan(resampled).all(axis=0))
    found = np.nanquantile(np.where(everywhere, 0, resampled), tails, axis=0)
    return np.where(everywhere[..., None], np.nan, np.moveaxis(found, 0, -1))


def _weights(clusters: NDArray[np.int64], samples: int, seed: int) -> Iterator[tuple[slice, Floats]]:
    """How often each sample draws each cluster: rows of the samples and (rows, clusters), a few samples at a time."""
    random = np.random.default_rng(seed)
    count = int(clusters.max(initial=-1)) + 1
    for start in range(0, samples, _TOGETHER):
        size = min(_TOGETHER, samples - start)
        drawn = random.integers(0, count, (size, count)) + count * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        yield slice(start, start + size), weights.astype(np.float64)
