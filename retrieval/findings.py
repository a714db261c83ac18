"""Calibrated hits: the chance of each hit, and the classes that cover the query's in a stated share of cases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import Collection
from retrieval.learn.calibration import COVERAGE, DEPTH, agreement_of, conformal_set
from retrieval.learn.calibration_store import StoredCalibration


@dataclass(frozen=True)
class Findings:
    """Classes with their chances, the likeliest first.

    coverage: share of clusters of near duplicates in which the query's class was among them. outdated: whether the
    collection has changed since the calibration.
    """

    classes: tuple[tuple[str, float], ...]
    coverage: float
    outdated: bool

    def __str__(self) -> str:
        names = " or ".join(f"{name} ({chance:.0%})" for name, chance in self.classes) or "no class"
        outdated = "; calibrated before the collection changed, see `kvasir calibrate`" if self.outdated else ""
        return f"at {self.coverage:.0%} coverage: {names}{outdated}"


def calibrated(
    stored: StoredCalibration,
    collection: Collection,
    first: tuple[NDArray[np.int64], NDArray[np.float64]],
    ids: NDArray[np.int64],
    scores: NDArray[np.float64],
) -> tuple[NDArray[np.float64], Findings]:
    """The chance (m,) of each hit, NaN without a class, and what the query shows.

    first: ids and scores (k,) of the first hits of the whole collection; ids, scores: (m,) of the hits, which a filter
    may have chosen.
    """
    labels_of_first = _labels(collection, first[0][:DEPTH])
    labels = _labels(collection, ids)
    agreement = agreement_of(np.concatenate([labels_of_first, labels])[None])[0]
    count = len(labels_of_first)
    if count < DEPTH:  # of hits that follow none may count as one of the first
        padded = np.concatenate([labels_of_first, np.full(DEPTH - count, -1), labels])
        agreement = np.delete(agreement_of(padded[None])[0], np.arange(count, DEPTH))
    of_first = stored.calibration.chances(first[1][:DEPTH], agreement[:count], labels_of_first)
    likely = conformal_set(stored.calibration, of_first, labels_of_first)
    named = tuple((collection.classes[label], chance) for label, chance in likely)
    chances = np.where(labels >= 0, stored.calibration.chances(scores, agreement[count:], labels), np.nan)
    return chances, Findings(named, COVERAGE, stored.outdated)


def _labels(collection: Collection, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    return collection.images.labels[np.searchsorted(collection.images.ids, ids)].astype(np.int64)
