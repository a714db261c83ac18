"""Precision and recall of one answer over k, as points of an SVG drawing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from retrieval.hits import Hits, Quality

WIDTH, HEIGHT = 300.0, 120.0


@dataclass(frozen=True)
class Curve:
    """One curve: the `points` attribute of a polyline in a drawing of WIDTH x HEIGHT, and its values from k = 1."""

    points: str
    values: tuple[float, ...]

    @property
    def last(self) -> float:
        """The value at the largest k."""
        return self.values[-1]


def curves(hits: Hits) -> dict[str, Curve]:
    """`precision`, and where anything is relevant `recall` and its `ceiling`, for k from 1 to what was asked for.

    Where fewer hits exist, those that are missing count as wrong, as in the answer's own figures. Precision is drawn
    from 0 to 1, recall and ceiling from 0 to the last ceiling.
    """
    quality = hits.quality
    if quality is None or not hits.hits:
        return {}
    right = [int(hit.class_name == hits.query_class) for hit in hits]
    found = accumulate(right + [0] * (quality.k - len(right)))  # what is missing is not right
    each = [Quality.of(so_far, quality.relevant, k) for k, so_far in enumerate(found, 1)]
    drawn = {"precision": _curve(each, "precision")}
    # Few hits of a large class cannot recall much: the drawing ends at the ceiling, not at 1.
    top = each[-1].recall_ceiling
    if top is not None:
        drawn["recall"] = _curve(each, "recall", top)
        drawn["ceiling"] = _curve(each, "recall_ceiling", top)
    return drawn


def _curve(each: Sequence[Quality], measure: str, top: float = 1.0) -> Curve:
    values = tuple(getattr(one, measure) for one in each)
    step = WIDTH / max(len(values) - 1, 1)
    points = " ".join(f"{at * step:.1f},{HEIGHT * (1 - one / top):.1f}" for at, one in enumerate(values))
    if len(values) == 1:
        points += f" {WIDTH:.1f},{HEIGHT * (1 - values[0] / top):.1f}"
    return Curve(points, values)
