"""Precision and recall of one answer over k, as points of an SVG drawing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
    """`precision`, and where anything is relevant `recall` and its `ceiling`, for k from 1 to the number of hits.

    Precision is drawn from 0 to 1, recall and ceiling from 0 to the last ceiling.
    """
    quality = hits.quality
    if quality is None or not hits.hits:
        return {}
    found = 0
    so_far = []
    for hit in hits:
        found += hit.class_name == hits.query_class
        so_far.append(found)
    drawn = {"precision": _curve(lambda k: so_far[k - 1] / k, len(so_far))}
    relevant = quality.relevant
    if relevant:
        # Few hits of a large class cannot recall much: the drawing ends at the ceiling, not at 1.
        top = min(len(so_far), relevant) / relevant
        drawn["recall"] = _curve(lambda k: so_far[k - 1] / relevant, len(so_far), top)
        drawn["ceiling"] = _curve(lambda k: min(k, relevant) / relevant, len(so_far), top)
    return drawn


def _curve(value: Callable[[int], float], count: int, top: float = 1.0) -> Curve:
    step = WIDTH / max(count - 1, 1)
    values = tuple(value(k) for k in range(1, count + 1))
    points = " ".join(f"{at * step:.1f},{HEIGHT * (1 - one / top):.1f}" for at, one in enumerate(values))
    if count == 1:
        points += f" {WIDTH:.1f},{HEIGHT * (1 - values[0] / top):.1f}"
    return Curve(points, values)
