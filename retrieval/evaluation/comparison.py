"""Which of several spaces is better, and which differences are significant: tests paired on the same queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import EvaluationError
from retrieval.evaluation.bootstrap import LEVEL, interval, resampled_means
from retrieval.evaluation.options import MeasureOptions
from retrieval.splits import cluster_numbers

Floats = NDArray[np.float64]

FLIPS = 10_000
"""Sign flips of the test by default: the smallest p is about 1 / FLIPS."""
_BLOCK = 500
"""Flips drawn at once, so that memory does not grow with their number."""
SIGNIFICANCE = 0.05
"""Significance level, over all pairs together."""


class NotSameQueriesError(EvaluationError):
    """Evaluations that are to be compared had different queries, or different images to search."""


@dataclass(frozen=True, eq=False)
class Contender:
    """One space's values of one measure: query files, class and cluster of each, R of each, and the values (q,).

    clusters: scenes where they are known.

    protocol: its sentence.
    """

    name: str
    files: tuple[str, ...]
    classes: tuple[str, ...]
    clusters: NDArray[np.int64]
    relevant: NDArray[np.int64]
    protocol: str
    values: Floats


@dataclass(frozen=True)
class Standing:
    """A contender in the table: the mean of its class means, and its interval."""

    name: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """The better minus the worse of a pair, with its interval; p is after the correction."""

    better: str
    worse: str
    by: float
    low: float
    high: float
    p: float

    @property
    def significant(self) -> bool:
        """Whether p is below the significance level."""
        return self.p < SIGNIFICANCE


@dataclass(frozen=True)
class Comparison:
    """Contenders, best first, and all their pairs."""

    measure: str
    queries: int
    clusters: int
    standings: tuple[Standing, ...]
    differences: tuple[Difference, ...]

    def summary(self) -> list[str]:
        """`sentences` or, of more than three pairs, how many are significant, and the sentence of each other one."""
        if len(self.differences) <= 3:
            return self.sentences()
        significant = sum(difference.significant for difference in self.differences)
        rest = ", all but these:" if 0 < significant < len(self.differences) else "."
        count = (
            f"{significant} of {len(self.differences)} differences in {self.measure} are significant "
            f"(p < {SIGNIFICANCE} after Holm's correction, sign flips over {self.clusters:,} clusters){rest}"
        )
        pairs = zip(self.sentences(), self.differences, strict=True)
        return [count, *[sentence for sentence, difference in pairs if not difference.significant]]

    def sentences(self) -> list[str]:
        """One sentence a pair: which is better, or that no difference is shown."""
        pairs = len(self.differences)
        corrected = f" after Holm's correction for {pairs} pairs" if pairs > 1 else ""
        alone = " of this pair alone" if pairs > 1 else ""
        sentences = []
        for pair in self.differences:
            evidence = f"{LEVEL:.0%} interval {pair.low:.4f} to {pair.high:.4f}{alone}, {_p(pair.p)}{corrected}"
            if pair.significant:
                claim = f"{pair.better} is better than {pair.worse}: {self.measure} higher by {pair.by:.4f}"
            else:
                claim = (
                    f"No difference is shown between {pair.better} and {pair.worse}: {self.measure} differs by "
                    f"{pair.by:.4f}"
                )
            sentences.append(f"{claim} ({evidence}).")
        return sentences

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)


def compare(
    contenders: Sequence[Contender],
    measure: str,
    samples: int = MeasureOptions.samples,
    flips: int = FLIPS,
    seed: int = 0,
) -> Comparison:
    """Rank contenders by the mean of the class means, and test every pair.

    The test flips the sign of whole clusters' differences (Fisher's randomisation test, which Smucker, Allan and
    Carterette, CIKM 2007, recommend for retrieval), two-sided, p = (1 + flips at least as far) / (1 + flips), corrected
    for all pairs by Holm (1979). All pairs see the same flips and samples; clusters are the first contender's.
    Raises NotSameQueriesError.
    """
    first = contenders[0]
    if not len(first.values):
        raise NotSameQueriesError(f"{first.name} has no query with anything relevant, so there is nothing to compare")
    for other in contenders[1:]:
        _require_same_queries(first, other)
    names, labels = np.unique(np.array(first.classes), return_inverse=True)
    clusters = cluster_numbers(first.clusters)
    values = np.column_stack([contender.values for contender in contenders])
    weights = 1 / (len(names) * np.bincount(labels)[labels])
    means = weights @ values
    order = np.argsort(-means, kind="stable")
    ends = interval(resampled_means(values, labels, clusters, len(names), samples, seed).macro)
    standings = tuple(
        Standing(contenders[at].name, float(means[at]), float(ends[at, 0]), float(ends[at, 1])) for at in order
    )
    pairs = list(combinations(order, 2))
    if not pairs:
        return Comparison(measure, len(values), int(clusters.max()) + 1, standings, ())
    differences = np.column_stack([values[:, better] - values[:, worse] for better, worse in pairs])
    ends = interval(resampled_means(differences, labels, clusters, len(names), samples, seed).macro)
    probabilities = holm(_sign_flip(differences * weights[:, None], clusters, flips, seed))
    return Comparison(
        measure=measure,
        queries=len(values),
        clusters=int(clusters.max()) + 1,
        standings=standings,
        differences=tuple(
            Difference(
                better=contenders[better].name,
                worse=contenders[worse].name,
                by=float(means[better] - means[worse]),
                low=float(low),
                high=float(high),
                p=float(p),
            )
            for (better, worse), (low, high), p in zip(pairs, ends, probabilities, strict=True)
        ),
    )


def holm(probabilities: Floats) -> Floats:
    """Holm's correction: the smallest of m p-values times m, the next times m - 1, ..., never falling; (m,) -> (m,).

    Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 1979.
    """
    order = np.argsort(probabilities, kind="stable")
    factors = np.arange(len(probabilities), 0, -1)
    corrected = np.empty_like(probabilities)
    corrected[order] = np.minimum(np.maximum.accumulate(probabilities[order] * factors), 1)
    return corrected


def _sign_flip(shares: Floats, clusters: NDArray[np.int64], flips: int, seed: int) -> Floats:
    """Two-sided p of each column of shares (q, pairs), whose sum is the difference of two means."""
    by_cluster = np.zeros((int(clusters.max()) + 1, shares.shape[1]))
    np.add.at(by_cluster, clusters, shares)
    observed = np.abs(by_cluster.sum(axis=0))
    random = np.random.default_rng(seed)
    as_far = np.zeros(shares.shape[1])
    for start in range(0, flips, _BLOCK):
        signs = random.integers(0, 2, (min(_BLOCK, flips - start), len(by_cluster))) * 2.0 - 1
        # The tolerance counts a flip that falls short of the observed difference by rounding alone.
        as_far += (np.abs(signs @ by_cluster) >= observed * (1 - 1e-12)).sum(axis=0)
    return (1 + as_far) / (1 + flips)


def _require_same_queries(first: Contender, other: Contender) -> None:
    if first.files != other.files:
        ours, theirs = set(first.files), set(other.files)
        raise NotSameQueriesError(
            f"{first.name} and {other.name} do not have the same queries: {len(ours - theirs):,} are only in the "
            f"first, {len(theirs - ours):,} only in the second; where a space lacks images, `kvasir evaluate --common` "
            "leaves them out of all"
        )
    if first.classes != other.classes:
        raise NotSameQueriesError(f"{first.name} and {other.name} give the same queries different classes")
    if first.protocol != other.protocol:
        raise NotSameQueriesError(
            f"{first.name} and {other.name} were measured by different protocols: "
            f"`{first.protocol}`, and `{other.protocol}`"
        )
    if not np.array_equal(first.relevant, other.relevant):
        raise NotSameQueriesError(
            f"{first.name} and {other.name} were searched in different images: R of a query is not the same"
        )


def _p(probability: float) -> str:
    return "p < 0.001" if probability < 0.001 else f"p = {probability:.3f}"
