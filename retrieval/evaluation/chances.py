"""Do chances hold? Calibrations of ranked lists by cross-validation over clusters, and their figures.

A class of few pictures cannot show whether its chances hold: its error is given, marked, and once more for all such
classes together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.learn.calibration import (
    BINS,
    Calibration,
    agreement_of,
    calibration_error,
    conformal_set,
    fit_calibration,
)
from retrieval.splits import cluster_numbers, stratified_parts

FOLDS = 5
FEW = 30
"""Clusters of queries below which the error of a class says little."""

Rows = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class FirstHits:
    """The first hits of q queries: scores and labels (q, DEPTH), -1 for none; wanted labels and clusters (q,)."""

    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    wanted: NDArray[np.int64]
    clusters: NDArray[np.int64]

    def part(self, rows: Rows) -> FirstHits:
        """Some of the queries (q,)."""
        return FirstHits(self.scores[rows], self.labels[rows], self.wanted[rows], self.clusters[rows])


@dataclass(frozen=True)
class ClassChances:
    """Of the queries of one class, or of several.

    error: of the chances of their hits; error_of_hits: of the chances of hits that have this class, whatever the query;
    None where there is no such hit. few: whether there are too few clusters to judge by.
    """

    queries: int
    error: float
    error_of_hits: float | None
    few: bool


@dataclass(frozen=True)
class Bin:
    """Hits whose chances lie in one of the bins of equal width: their number, mean chance, and the share right."""

    hits: int
    chance: float
    right: float


@dataclass(frozen=True)
class ChanceFigures:
    """How well chances hold over the first hits of some queries: expected calibration error (15 bins) and Brier score.

    per_class: by class of the query; few: of all classes of few pictures together. covered: share of queries whose
    class is in the conformal set, and set_size: classes in it. reliability: bins that have hits, by chance.
    calibration: what was fitted on all of the queries, where it was fitted on them.
    """

    queries: int
    error: float
    brier: float
    per_class: Mapping[str, ClassChances]
    few: ClassChances | None
    covered: float
    set_size: float
    reliability: tuple[Bin, ...]
    calibration: Calibration | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON, without the calibration."""
        fields = asdict(self)
        del fields["calibration"]
        return fields | {"reliability": list(fields["reliability"])}

    def sentence(self) -> str:
        """The figures of all classes in words."""
        return (
            f"calibration error {self.error:.3f}, Brier score {self.brier:.3f} over {self.queries:,} queries; the set "
            f"has the class of {self.covered:.1%} of them, {self.set_size:.2f} classes on average"
        )


def enough(hits: FirstHits) -> bool:
    """Whether there are clusters enough for calibrations by cross-validation."""
    known = (hits.labels >= 0).any(axis=1)
    return len(np.unique(cluster_numbers(hits.clusters)[known])) >= 2 * FOLDS


def cross_fitted(hits: FirstHits, classes: tuple[str, ...], seed: int = 0) -> tuple[Calibration, ChanceFigures]:
    """A calibration on all of the hits, and figures of calibrations that were fitted on the other folds."""
    part_of = stratified_parts(hits.wanted, cluster_numbers(hits.clusters), (1 / FOLDS,) * FOLDS, seed)
    parts = [(_fitted(hits.part(part_of != fold)), hits.part(part_of == fold)) for fold in np.unique(part_of)]
    return _fitted(hits), measured(parts, classes)


def _fitted(hits: FirstHits) -> Calibration:
    return fit_calibration(hits.scores, hits.labels, hits.wanted, cluster_numbers(hits.clusters))


def measured(parts: Sequence[tuple[Calibration, FirstHits]], classes: tuple[str, ...]) -> ChanceFigures:
    """How well chances hold, each part of the hits by its own calibration."""
    chances, covered, sizes = [], [], []
    for calibration, hits in parts:
        of_part = calibration.chances(hits.scores, agreement_of(hits.labels), hits.labels)
        chances.append(of_part)
        for row, labels in enumerate(hits.labels):
            chosen = [label for label, _ in conformal_set(calibration, of_part[row], labels)]
            covered.append(int(hits.wanted[row]) in chosen)
            sizes.append(len(chosen))
    every = np.concatenate(chances)
    labels, wanted, clusters = (
        np.concatenate([getattr(hits, name) for _, hits in parts]) for name in ("labels", "wanted", "clusters")
    )
    known, right = labels >= 0, labels == wanted[:, None]

    def of(chosen: NDArray[np.int64]) -> ClassChances:
        rows = np.isin(wanted, chosen)
        own, of_class = known & rows[:, None], np.isin(labels, chosen)
        return ClassChances(
            queries=int(rows.sum()),
            error=calibration_error(every[own], right[own]),
            error_of_hits=calibration_error(every[of_class], right[of_class]) if of_class.any() else None,
            few=len(np.unique(cluster_numbers(clusters[rows]))) < FEW,
        )

    per_class = {int(label): of(np.array([label])) for label in np.unique(wanted)}
    few = np.array([label for label, one in per_class.items() if one.few], np.int64)
    return ChanceFigures(
        queries=len(wanted),
        error=calibration_error(every[known], right[known]),
        brier=float(((every - right)[known] ** 2).mean()),
        per_class={classes[label]: one for label, one in per_class.items()},
        few=of(few) if len(few) else None,
        covered=float(np.mean(covered)),
        set_size=float(np.mean(sizes)),
        reliability=_bins(every[known], right[known]),
    )


def _bins(chances: NDArray[np.float64], right: Rows) -> tuple[Bin, ...]:
    of = np.minimum((chances * BINS).astype(np.int64), BINS - 1)
    return tuple(
        Bin(int((of == at).sum()), float(chances[of == at].mean()), float(right[of == at].mean()))
        for at in np.unique(of)
    )
