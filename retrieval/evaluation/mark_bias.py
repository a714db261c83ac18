"""Bias by the device: how often hits carry the query's mark, against chance.

A mark is what is in the corner of the frame: nothing, ScopeGuide's picture, or a black box.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import Images
from retrieval.evaluation.protocols import Protocol
from retrieval.marks import NAMES, kind_of

HITS = 10
"""Hits of each query that are looked at."""
_BLOCK = 512
_PAIRS = 4_000_000
"""Distances in memory at a time, of a gallery so large that fewer queries than _BLOCK are compared together."""

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class DeviceMarks:
    """Of n images: kinds (n,) int64, -1 where not known; features (n, f) float64 of the marks and the frame's size."""

    kinds: Rows
    features: NDArray[np.float64]

    @staticmethod
    def of(images: Images, positions: Rows) -> DeviceMarks | None:
        """Those of some images; None where no two marks are known to differ."""
        bits = images.marks[positions]
        kinds = kind_of(bits)
        if len(np.unique(kinds[kinds >= 0])) < 2:
            return None
        each = bits[:, None] >> np.arange(len(NAMES)) & 1
        features = np.concatenate([each, np.log2(np.maximum(images.sizes[positions], 1))], axis=1).astype(np.float64)
        return DeviceMarks(kinds, features)


@dataclass(frozen=True)
class MarkBias:
    """Shares over pairs of a query and one of its first hits, each with the share in what was searched as its chance.

    within, across: of pairs of one class, and of two; alone: P@1 of a space of marks and frame size alone.
    """

    share: float
    chance: float
    within: float
    within_chance: float
    across: float
    across_chance: float
    alone: float

    def to_dict(self) -> dict[str, float]:
        """Plain values, ready for JSON."""
        return asdict(self)

    def sentence(self) -> str:
        """The figures in words."""
        return (
            f"Device: {self.share:.0%} of the first {HITS} hits have the query's mark, {self.chance:.0%} by chance; "
            f"in its class {self.within:.0%}, {self.within_chance:.0%} by chance; in other classes {self.across:.0%}, "
            f"{self.across_chance:.0%} by chance. Marks and frame size alone have a precision@1 of {self.alone:.3f}."
        )


def mark_bias(marks: DeviceMarks, labels: Rows, protocol: Protocol, rows: Rows, neighbours: Rows) -> MarkBias:
    """The bias of ranked lists. rows (q,) of queries; neighbours (q, k) rows of their hits, best first, -1 for none."""
    first = neighbours[:, :HITS]
    kinds = marks.kinds
    pairs = (first >= 0) & (kinds[first] >= 0) & (kinds[rows] >= 0)[:, None]
    same = kinds[first] == kinds[rows][:, None]
    one_class = (labels[first] == labels[rows][:, None]) & (labels[rows] >= 0)[:, None]
    chances = np.zeros((len(labels), 3))
    for round_ in protocol.rounds:
        chances[round_.queries] = _chances(marks, labels, protocol.groups, round_.queries, round_.gallery)

    def shares(at: int, chosen: NDArray[np.bool_]) -> tuple[float, float]:
        expected = np.broadcast_to(chances[rows, at][:, None], chosen.shape)
        return (float(same[chosen].mean()), float(expected[chosen].mean())) if chosen.any() else (0.0, 0.0)

    return MarkBias(
        *shares(0, pairs),
        *shares(1, pairs & one_class),
        *shares(2, pairs & ~one_class),
        alone=_alone(marks.features, labels, protocol, rows),
    )


def _chances(marks: DeviceMarks, labels: Rows, groups: Rows, queries: Rows, gallery: Rows) -> NDArray[np.float64]:
    """The share (q, 3) of a query's kind in its gallery, in its class and in other classes, its own group left out."""
    gallery = gallery[marks.kinds[gallery] >= 0]
    order = np.argsort(groups[gallery], kind="stable")
    gallery = gallery[order]
    starts, ends = (np.searchsorted(groups[gallery], groups[queries], side) for side in ("left", "right"))
    counts = np.zeros((labels.max() + 2, 3))
    np.add.at(counts, (labels[gallery], marks.kinds[gallery]), 1)
    out = np.zeros((len(queries), 3))
    for at, query in enumerate(queries.tolist()):
        left = counts.copy()
        own = gallery[starts[at] : ends[at]]
        np.subtract.at(left, (labels[own], marks.kinds[own]), 1)
        in_class = left[labels[query]]
        for column, of in enumerate((left.sum(axis=0), in_class, left.sum(axis=0) - in_class)):
            out[at, column] = of[marks.kinds[query]] / max(1.0, of.sum())
    return out


def _alone(features: NDArray[np.float64], labels: Rows, protocol: Protocol, rows: Rows) -> float:
    """P@1 of the features by Euclidean distance, each standardised; of several nearest images their mean."""
    deviation = features.std(axis=0)
    points = (features - features.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    right = np.full(len(labels), np.nan)
    for round_ in protocol.rounds:
        searched = points[round_.gallery]
        lengths = (searched**2).sum(axis=1)
        size = min(_BLOCK, max(16, _PAIRS // len(searched)))
        for start in range(0, len(round_.queries), size):
            queries = round_.queries[start : start + size]
            distances = lengths - 2 * points[queries] @ searched.T
            distances[protocol.groups[queries][:, None] == protocol.groups[round_.gallery]] = np.inf
            nearest = distances <= distances.min(axis=1, keepdims=True) + 1e-6
            relevant = labels[round_.gallery] == labels[queries][:, None]
            right[queries] = (nearest & relevant).sum(axis=1) / nearest.sum(axis=1)
    return float(np.nanmean(right[rows]))
