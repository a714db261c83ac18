"""Confidence intervals by the bootstrap: clusters of near duplicates are resampled with all their queries.

Near duplicates have nearly the same figures, so drawing single images would count one observation several times and
make the intervals too narrow (Field and Welsh, Bootstrapping clustered data, JRSS B 2007: the cluster bootstrap).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.metrics.confusion import class_scores, overall_scores
from retrieval.splits import cluster_numbers

Floats = NDArray[np.float64]

LEVEL = 0.95
"""Confidence level of the intervals."""
_BLOCK = 50
"""Samples drawn at once, so that memory does not grow with their number."""


@dataclass(frozen=True, eq=False)
class Resampled:
    """M means of b bootstrap samples: over queries (b, M), of the class means (b, M), per class (b, C, M).

    A class that a sample lacks has NaN there, and the sample's macro mean is over the others.
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
            of_class = class_of == c
            totals[rows, c] = weights[:, cluster_of[of_class]] @ sums[of_class]
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
    undefined = np.asarray(np.isnan(resampled).all(axis=0))
    ends = np.nanquantile(np.where(undefined, 0, resampled), tails, axis=0)
    return np.where(undefined[..., None], np.nan, np.moveaxis(ends, 0, -1))


@dataclass(frozen=True, eq=False)
class Intervals:
    """Lower and upper end of each figure by its name: (2,) or, per class, (C, 2); NaN where there is no figure."""

    level: float
    samples: int
    seed: int
    micro: dict[str, Floats]
    macro: dict[str, Floats]
    per_class: dict[str, Floats]
    overall_scores: dict[str, Floats]
    class_scores: dict[str, Floats]


def intervals_of(
    measures: Mapping[str, Floats],
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
    clusters: NDArray[np.int64],
    class_count: int,
    samples: int,
    seed: int,
) -> Intervals:
    """Intervals of all means and of classification by retrieval, from one set of samples.

    measures: values (q,) by name, none NaN; labels, predicted (-1 for none) and clusters (q,).
    """
    values = np.column_stack(list(measures.values()))
    means = resampled_means(values, labels, clusters, class_count, samples, seed)
    tables = resampled_confusion(labels, predicted, clusters, class_count, samples, seed)
    micro, macro, per_class = interval(means.micro), interval(means.macro), interval(means.per_class)
    return Intervals(
        level=LEVEL,
        samples=samples,
        seed=seed,
        micro=dict(zip(measures, micro, strict=True)),
        macro=dict(zip(measures, macro, strict=True)),
        per_class={name: per_class[:, m] for m, name in enumerate(measures)},
        overall_scores={name: interval(values) for name, values in asdict(overall_scores(tables)).items()},
        class_scores={name: interval(values) for name, values in asdict(class_scores(tables)).items()},
    )


def _weights(clusters: NDArray[np.int64], samples: int, seed: int) -> Iterator[tuple[slice, Floats]]:
    """How often each sample draws each cluster, by blocks of samples: their slice, and counts (samples, clusters)."""
    random = np.random.default_rng(seed)
    count = int(clusters.max(initial=-1)) + 1
    for start in range(0, samples, _BLOCK):
        size = min(_BLOCK, samples - start)
        drawn = random.integers(0, count, (size, count)) + count * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        yield slice(start, start + size), weights.astype(np.float64)
