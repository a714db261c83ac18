"""Precision and recall of one answer over k, as points of an SVG drawing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

from retrieval.hits import Hits

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

    Where fewer hits exist, they end at the answer's own precision@k all the same.

    Precision is drawn from 0 to 1, recall and ceiling from 0 to the last ceiling.
    """
    quality = hits.quality
    if quality is None or not hits.hits:
        return {}
    right = [hit.class_name == hits.query_class for hit in hits]
    so_far = list(accumulate(right + [False] * (quality.k - len(right))))
    drawn = {"precision": _curve(lambda k: so_far[k - 1] / k, quality.k)}
    relevant = quality.relevant
    if relevant:
        # Few hits of a large class cannot recall much: the drawing ends at the ceiling, not at 1.
        top = min(quality.k, relevant) / relevant
        drawn["recall"] = _curve(lambda k: so_far[k - 1] / relevant, quality.k, top)
        drawn["ceiling"] = _curve(lambda k: min(k, relevant) / relevant, quality.k, top)
    return drawn


def _curve(value: Callable[[int], float], count: int, top: float = 1.0) -> Curve:
    step = WIDTH / max(count - 1, 1)
    values = tuple(value(k) for k in range(1, count + 1))
    points = " ".join(f"{at * step:.1f},{HEIGHT * (1 - one / top):.1f}" for at, one in enumerate(values))
    if count == 1:
        points += f" {WIDTH:.1f},{HEIGHT * (1 - values[0] / top):.1f}"
    return Curve(points, values)
