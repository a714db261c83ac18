"""Which of several spaces is better, and which differences are real: paired on the same queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import QueryError
from retrieval.evaluation.bootstrap import LEVEL, interval, resampled_means
from retrieval.evaluation.choices import Measuring
from retrieval.evaluation.protocols import cluster_numbers

if TYPE_CHECKING:
    from retrieval.evaluation.result import SpaceResult

Floats = NDArray[np.float64]

FLIPS = 10_000
"""Sign flips of the test unless told otherwise: the smallest p is about 1 / FLIPS."""
SIGNIFICANT = 0.05


class NotSameQueriesError(QueryError):
    """Runs are to be compared that did not answer the same queries in the same gallery."""


@dataclass(frozen=True)
class Contender:
    """One space's values of one measure: query files, class and cluster of each, R of each, and the values (q,).

    protocol: the sentence that says by which it was measured.
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
    """A contender in the ranked table: the mean of its class means and the interval of that."""

    name: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """The better minus the worse of a pair; p is after the correction."""

    better: str
    worse: str
    by: float
    low: float
    high: float
    p: float

    @property
    def real(self) -> bool:
        """Whether it is larger than chance explains, at 5 % over all pairs together."""
        return self.p < SIGNIFICANT


@dataclass(frozen=True)
class Comparison:
    """Contenders, best first, and all their pairs."""

    measure: str
    queries: int
    clusters: int
    standings: tuple[Standing, ...]
    differences: tuple[Difference, ...]

    def summary(self) -> list[str]:
        """The same in few sentences where there are many pairs: how many are real, and each that is not."""
        if len(self.differences) <= 3:
            return self.sentences()
        real = sum(one.real for one in self.differences)
        rest = ", all but these:" if 0 < real < len(self.differences) else "."
        counted = (
            f"{real} of {len(self.differences)} differences in {self.measure} are real (p < {SIGNIFICANT} after Holm's "
            f"correction, sign flips over {self.clusters:,} clusters){rest}"
        )
        pairs = zip(self.sentences(), self.differences, strict=True)
        return [counted, *[sentence for sentence, one in pairs if not one.real]]

    def sentences(self) -> list[str]:
        """What is shown and what is not, in words."""
        pairs = len(self.differences)
        corrected = f" after Holm's correction for {pairs} pairs" if pairs > 1 else ""
        alone = " of this pair alone" if pairs > 1 else ""
        said = []
        for one in self.differences:
            span = f"{LEVEL:.0%} interval {one.low:.4f} to {one.high:.4f}{alone}, {_p(one.p)}{corrected}"
            if one.real:
                said.append(f"{one.better} is better than {one.worse}: {self.measure} higher by {one.by:.4f} ({span}).")
            else:
                said.append(
                    f"No difference is shown between {one.better} and {one.worse}: {self.measure} differs by "
                    f"{one.by:.4f} ({span})."
                )
        return said


def contender(result: SpaceResult, measure: str) -> Contender:
    """A space's queries that count, with one measure."""
    scored = result.scored
    return Contender(
        name=result.space,
        files=tuple(file for file, counts in zip(result.files, scored, strict=True) if counts),
        classes=tuple(result.class_names[c] for c in result.labels[scored]),
        clusters=result.clusters[scored],
        relevant=result.relevant[scored],
        protocol=result.protocol_sentence,
        values=result.measures[measure][scored],
    )


def compare(
    contenders: Sequence[Contender], measure: str, samples: int = Measuring.samples, flips: int = FLIPS, seed: int = 0
) -> Comparison:
    """Rank contenders by the mean of the class means, and test every pair.

    The test flips the sign of whole clusters' differences (Fisher's randomisation test, which Smucker, Allan and
    Carterette, CIKM 2007, recommend for retrieval), two-sided, p = (1 + flips at least as far) / (1 + flips), corrected
    for all pairs by Holm (1979). All pairs see the same flips and samples; clusters are the first contender's.
    Raises NotSameQueriesError.
    """
    first = contenders[0]
    if not len(first.values):
        raise NotSameQueriesError(f"{first.name} has no query that counts, so there is nothing to compare")
    for other in contenders[1:]:
        _require_same_queries(first, other)
    names, labels = np.unique(np.array(first.classes), return_inverse=True)
    clusters = cluster_numbers(first.clusters)
    values = np.column_stack([one.values for one in contenders])
    weights = 1 / (len(names) * np.bincount(labels)[labels])
    means = weights @ values
    order = np.argsort(-means, kind="stable")
    ranges = interval(resampled_means(values, labels, clusters, len(names), samples, seed).macro)
    standings = _standings(contenders, means, ranges, order)
    pairs = list(combinations(order, 2))
    if not pairs:
        return Comparison(measure, len(values), int(clusters.max()) + 1, standings, ())
    differences = np.column_stack([values[:, better] - values[:, worse] for better, worse in pairs])
    spans = interval(resampled_means(differences, labels, clusters, len(names), samples, seed).macro)
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
                low=float(span[0]),
                high=float(span[1]),
                p=float(p),
            )
            for (better, worse), span, p in zip(pairs, spans, probabilities, strict=True)
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
    together = 500
    for start in range(0, flips, together):
        signs = random.integers(0, 2, (min(together, flips - start), len(by_cluster))) * 2.0 - 1
        # The tolerance counts a flip that only rounding keeps from the observed difference.
        as_far += (np.abs(signs @ by_cluster) >= observed * (1 - 1e-12)).sum(axis=0)
    return (1 + as_far) / (1 + flips)


def _standings(
    contenders: Sequence[Contender], means: Floats, ranges: Floats, order: NDArray[np.int64]
) -> tuple[Standing, ...]:
    return tuple(
        Standing(contenders[at].name, float(means[at]), float(ranges[at, 0]), float(ranges[at, 1])) for at in order
    )


def _require_same_queries(first: Contender, other: Contender) -> None:
    if first.files != other.files:
        ours, theirs = set(first.files), set(other.files)
        raise NotSameQueriesError(
            f"{first.name} and {other.name} did not answer the same queries: {len(ours - theirs):,} are only in the "
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
