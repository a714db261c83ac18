"""The chance that a hit shows the query's finding: logistic regression on its score and on the agreement of the hits.

Agreement is the share of the first DEPTH hits that have the hit's class, a hit of rank r counting 1/r. It halves the
Brier score of the score alone. Each class of hits has an offset, which the ridge penalty shrinks towards the common
curve: a class of few pictures, which could not be calibrated alone, has nearly none. With the chances comes a conformal
set (Vovk et al., 2005): classes of which one is the query's in a stated share of clusters of near duplicates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

DEPTH = 10
"""Hits that agree or not."""
COVERAGE = 0.9
"""Share of clusters in which the query's class is to be in the set."""
BINS = 15
_SMOOTHING = 0.02
"""Added to the share that agrees and to the share that does not, before their odds."""
_PENALTY = 1e-3
_WEIGHTS = 1 / np.arange(1, DEPTH + 1)

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Calibration:
    """Coefficients of the standardised features, and the least chance of a class in the conformal set.

    offsets: of the log odds, by label of the hit; none for further labels.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    coefficients: tuple[float, ...]
    least: float
    offsets: tuple[float, ...] = ()

    def chances(self, scores: Floats, agreement: Floats, labels: Labels) -> Floats:
        """The chance of each hit, from scores, agreement and labels of one shape."""
        standardised = (_features(scores, agreement) - self.mean) / self.scale
        known = (labels >= 0) & (labels < len(self.offsets))
        offsets = np.append(self.offsets, 0.0)[np.where(known, labels, -1)]
        chances: Floats = _sigmoid(standardised @ self.coefficients[1:] + self.coefficients[0] + offsets)
        return chances

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "mean": list(self.mean),
            "scale": list(self.scale),
            "coefficients": list(self.coefficients),
            "least": self.least,
            "offsets": list(self.offsets),
        }

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> Calibration:
        """From plain values. Raises KeyError, TypeError, ValueError."""
        mean, scale, coefficients = (
            tuple(float(value) for value in fields[name]) for name in ("mean", "scale", "coefficients")
        )
        if not len(mean) == len(scale) == len(coefficients) - 1 == 3:
            raise ValueError("a calibration has three features")
        offsets = tuple(float(value) for value in fields.get("offsets", ()))  # version 1 had none
        return Calibration(mean, scale, coefficients, float(fields["least"]), offsets)


def fit_calibration(scores: Floats, labels: Labels, wanted: Labels, clusters: Labels) -> Calibration:
    """Fitted on ranked lists, from whose galleries near duplicates of the query were left out.

    scores, labels: (q, DEPTH) of the hits, label -1 for none; wanted, clusters: (q,) of the queries.
    """
    agreement = agreement_of(labels)
    known = labels >= 0
    features = _features(scores, agreement)[known]
    right = (labels == wanted[:, None])[known].astype(np.float64)
    mean = features.mean(axis=0)
    deviation = features.std(axis=0)
    scale = np.where(deviation > 1e-9, deviation, 1.0)
    of_class = labels[known][:, None] == np.arange(int(labels.max(initial=-1)) + 1)
    fitted = _logistic(np.concatenate([(features - mean) / scale, of_class], axis=1), right)
    count = 1 + features.shape[1]
    coefficients, offsets = tuple(fitted[:count].tolist()), tuple(fitted[count:].tolist())
    made = Calibration(tuple(mean.tolist()), tuple(scale.tolist()), coefficients, 0.0, offsets)
    return replace(made, least=_least(class_chances(made.chances(scores, agreement, labels), labels, wanted), clusters))


def agreement_of(labels: Labels) -> Floats:
    """The weighted share (q, k) of the first DEPTH hits that have a hit's class; labels (q, k)."""
    first = labels[:, :DEPTH]
    weights = _WEIGHTS[: first.shape[1]]
    same = (labels[:, :, None] == first[:, None, :]) & (first >= 0)[:, None, :]
    shares: Floats = (same * weights).sum(axis=2) / max(float(weights.sum()), 1e-12)
    return shares


def class_chances(chances: Floats, labels: Labels, classes: Labels) -> Floats:
    """The largest chance (q,) of a hit of each query's class (q,); 0 where no hit has it."""
    largest: Floats = np.where(labels == classes[:, None], chances, 0.0).max(axis=1, initial=0.0)
    return largest


def conformal_set(calibration: Calibration, chances: Floats, labels: Labels) -> list[tuple[int, float]]:
    """Labels and chances of one query's first hits (k,), the likeliest first: the best, and all from `least` on."""
    best = {int(label): 0.0 for label in labels[labels >= 0]}
    for label, chance in zip(labels.tolist(), chances.tolist(), strict=True):
        if label >= 0:
            best[label] = max(best[label], chance)
    ranked = sorted(best.items(), key=lambda item: (-item[1], item[0]))
    return [pair for at, pair in enumerate(ranked) if at == 0 or pair[1] >= calibration.least]


def calibration_error(chances: Floats, right: NDArray[np.bool_]) -> float:
    """Expected calibration error: in BINS bins of equal width, |mean chance - share right|, weighted by count.

    chances, right: of one shape.
    """
    chances, right = chances.ravel(), right.ravel()
    bins = np.minimum((chances * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    gaps = np.abs(np.bincount(bins, chances, BINS) - np.bincount(bins, right, BINS))
    return float(gaps.sum() / max(1, counts.sum()))


def _features(scores: Floats, agreement: Floats) -> Floats:
    """Score, log odds of the agreement, and their product, (..., 3)."""
    odds = np.log((agreement + _SMOOTHING) / (1 + _SMOOTHING - agreement))
    return np.stack([scores, odds, scores * odds], axis=-1)


def _sigmoid(values: Floats) -> Floats:
    out: Floats = 1 / (1 + np.exp(-np.clip(values, -50, 50)))
    return out


def _logistic(features: Floats, right: Floats) -> Floats:
    """Intercept and coefficients (p + 1,) by Newton's method, with a ridge penalty on the coefficients."""
    design = np.concatenate([np.ones((len(features), 1)), features], axis=1)
    penalty = _PENALTY * np.diag([1e-6, *np.ones(features.shape[1])])
    coefficients = np.zeros(design.shape[1])
    for _ in range(100):
        chances = _sigmoid(design @ coefficients)
        slope = design.T @ (chances - right) / len(right) + penalty @ coefficients
        curvature = (design * (chances * (1 - chances))[:, None]).T @ design / len(right) + penalty
        step = np.linalg.solve(curvature, slope)
        coefficients = coefficients - np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-9:
            break
    return coefficients


def _least(chances: Floats, clusters: Labels) -> float:
    """The chance that the query's class reaches in at least COVERAGE of the clusters, in each by its worst image."""
    worst = np.full(int(clusters.max()) + 1, np.inf)
    np.minimum.at(worst, clusters, chances)
    worst = np.sort(worst[np.isfinite(worst)])
    allowed = int((len(worst) + 1) * (1 - COVERAGE) + 1e-9)  # clusters that may miss it
    return float(worst[allowed - 1]) if allowed else 0.0
