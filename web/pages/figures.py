"""What the pages draw: precision and recall over k as an SVG, and the colours of classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from retrieval.hits import Hits, Quality
from retrieval.report.palette import CLASS_COLOURS

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
    """`precision`, and where anything is relevant `recall` and its `ceiling`, for k from 1 to that of the search.

    Missing hits count as wrong, as in the quality of the hits. Precision is drawn from 0 to 1, recall and ceiling from
    0 to the last ceiling.
    """
    quality = hits.quality
    if quality is None or not hits.hits:
        return {}
    right = [int(hit.class_name == hits.query_class) for hit in hits]
    counts = accumulate(right + [0] * (quality.k - len(right)))  # a missing hit is not right
    each = [Quality.of(count, quality.relevant, k) for k, count in enumerate(counts, 1)]
    drawn = {"precision": _curve(each, "precision")}
    # Few hits of a large class cannot recall much: the drawing ends at the ceiling, not at 1.
    top = each[-1].recall_ceiling
    if top is not None:
        drawn["recall"] = _curve(each, "recall", top)
        drawn["ceiling"] = _curve(each, "recall_ceiling", top)
    return drawn


def _curve(each: Sequence[Quality], measure: str, top: float = 1.0) -> Curve:
    values = tuple(getattr(quality, measure) for quality in each)
    step = WIDTH / max(len(values) - 1, 1)
    points = " ".join(f"{n * step:.1f},{HEIGHT * (1 - value / top):.1f}" for n, value in enumerate(values))
    if len(values) == 1:
        points += f" {WIDTH:.1f},{HEIGHT * (1 - values[0] / top):.1f}"
    return Curve(points, values)


def colour_number(label: int) -> int:
    """The number of a class's colour; -1, no class, has none."""
    return label % len(CLASS_COLOURS) if label >= 0 else -1


def class_stylesheet() -> str:
    """One rule a colour: `.colour-0` and so on set `color`, which chips and bars draw with.

    Colour is never the only sign: the name of the class stands next to it.
    """
    return "\n".join(f".colour-{number} {{ color: {colour}; }}" for number, colour in enumerate(CLASS_COLOURS)) + "\n"
