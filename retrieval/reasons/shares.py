"""The distance of two descriptors in parts that have a meaning: colours, textures, edges, places.

Every native distance is a sum over the descriptor's bins, or can be written as one exactly: Tanimoto's by the squared
differences of the bins over its denominator, a Euclidean length by the squares over the length. So the parts of a facet
sum to the distance. What brings two pictures together is a part that is small against that of pictures at random.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.descriptors import DESCRIPTORS

Floats = NDArray[np.float64]
Groups = Mapping[str, NDArray[np.int64]]
"""The bins of each group of a facet, by its name in words."""

_LEAST_USUAL = 0.04
"""Share of the usual distance below which a group is not named in the sentence."""


@dataclass(frozen=True)
class Group:
    """Some bins. distance: what they add to the distance; share: of all of it, 0..1; usual: what they add between two
    pictures of the collection at random, on average; None where that is not known.
    """

    name: str
    distance: float
    share: float
    usual: float | None

    @property
    def ratio(self) -> float | None:
        """Its distance against the usual one: below 1 it brings the pictures together."""
        return None if not self.usual else self.distance / self.usual


@dataclass(frozen=True)
class Facet:
    """One way of grouping the bins, such as by colour; the distances of the groups sum to that of the pictures."""

    name: str
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Shares:
    """The distance of two pictures in a descriptor's space, by facet."""

    space: str
    distance: float
    facets: tuple[Facet, ...]

    @property
    def sentence(self) -> str:
        """Which groups are nearer than usual and which farther, in words."""
        if not self.distance:
            return "Equal in all of it."
        usual = sum(group.usual or 0 for group in self.facets[0].groups)
        named = [
            (group.ratio, group.name)
            for facet in self.facets
            for group in facet.groups
            if group.ratio is not None and group.usual is not None and group.usual >= _LEAST_USUAL * usual
        ]
        if not named:
            return "How far pictures of this collection usually are is not known."
        near = [name for ratio, name in sorted(named) if ratio < 0.8][:3]
        far = [name for ratio, name in sorted(named, reverse=True) if ratio > 1.2][:2]
        words = [f"Nearer than pictures at random in: {', '.join(near)}." if near else "Nowhere nearer than at random."]
        return " ".join(words + ([f"Farther in: {', '.join(far)}."] if far else []))

    def to_dict(self) -> dict[str, Any]:
        """The shares as plain values."""
        return {
            "space": self.space,
            "distance": self.distance,
            "sentence": self.sentence,
            "facets": [
                {"name": facet.name, "groups": [dict(vars(group)) for group in facet.groups]} for facet in self.facets
            ],
        }


def shares(
    space: str, descriptor: str, query: NDArray[Any], hit: NDArray[Any], others: NDArray[Any] | None = None
) -> Shares:
    """The distance of two vectors (d,) of a descriptor by its parts.

    others: vectors (n, d) of pictures at random, whose neighbours in this order make the usual distances.
    """
    metric = DESCRIPTORS[descriptor].metric
    distance = float(metric.distances(query[None], hit[None])[0, 0])
    terms = _scaled(_TERMS[descriptor](query[None], hit[None])[0], distance)
    usual = None
    if others is not None and len(others) > 1:
        usual = _TERMS[descriptor](others[:-1], others[1:]).mean(axis=0)
    return Shares(
        space,
        distance,
        tuple(
            Facet(
                name,
                tuple(
                    Group(
                        group,
                        float(terms[bins].sum()),
                        float(terms[bins].sum() / distance) if distance else 0.0,
                        None if usual is None else float(usual[bins].sum()),
                    )
                    for group, bins in groups.items()
                ),
            )
            for name, groups in FACETS[descriptor].items()
        ),
    )


def _scaled(terms: Floats, distance: float) -> Floats:
    """Terms that sum to the distance, which LIRE rounds to single precision on the way in some descriptors."""
    total = float(terms.sum())
    return terms * (distance / total) if total else terms


# What each bin adds to the distance: pairs of rows (n, d), (n, d) -> (n, d)


def _jcd(queries: NDArray[Any], hits: NDArray[Any]) -> Floats:
    """100 - 100 pq / (pp + qq - pq) = 100 (p - q)^2 / (pp + qq - pq), of vectors divided by their sums."""
    p, q = (
        np.divide(rows, sums, out=np.zeros(rows.shape), where=sums > 0)
        for rows, sums in ((rows.astype(np.float64), rows.sum(axis=1, keepdims=True)) for rows in (queries, hits))
    )
    whole = (p * p + q * q - p * q).sum(axis=1, keepdims=True)
    terms: Floats = np.divide(100 * (p - q) ** 2, whole, out=np.zeros(p.shape), where=whole > 0)
    return terms


def _tamura(queries: NDArray[Any], hits: NDArray[Any]) -> Floats:
    """Squared differences of the counts of directions; coarseness and contrast add nothing in LIRE."""
    terms: Floats = (queries.astype(np.float64) - hits) ** 2
    terms[:, :2] = 0
    return terms


def _color_layout(queries: NDArray[Any], hits: NDArray[Any]) -> Floats:
    """The three Euclidean lengths, each by its weighted squares."""
    from retrieval.descriptors.color_layout import DISTANCE

    squares = DISTANCE.tables[0] * (queries.astype(np.float64) - hits) ** 2
    terms = np.zeros(squares.shape)
    for first, behind in ((0, 21), (21, 27), (27, 33)):
        length = np.sqrt(squares[:, first:behind].sum(axis=1, keepdims=True))
        np.divide(squares[:, first:behind], length, out=terms[:, first:behind], where=length > 0)
    return terms


def _edge_histogram(queries: NDArray[Any], hits: NDArray[Any]) -> Floats:
    """Differences of the shares that levels stand for, and of the levels, five times for the first part."""
    from retrieval.descriptors.edge_histogram import QUANTISATION

    kinds = np.arange(80) % 5
    one, other = queries.astype(np.int64), hits.astype(np.int64)
    weights = np.where(np.arange(80) < 5, 5.0, 1.0)
    terms: Floats = np.abs(QUANTISATION[kinds, one] - QUANTISATION[kinds, other]) + weights * np.abs(one - other)
    return terms


def _auto_color_correlogram(queries: NDArray[Any], hits: NDArray[Any]) -> Floats:
    """Jensen-Shannon's terms."""
    from retrieval.descriptors.auto_color_correlogram import DISTANCE

    terms: Floats = DISTANCE.tables[0][queries.astype(np.int64), hits.astype(np.int64)]
    return terms


def _phog(queries: NDArray[Any], hits: NDArray[Any]) -> Floats:
    """Absolute differences."""
    terms: Floats = np.abs(queries.astype(np.float64) - hits)
    return terms


_TERMS: dict[str, Callable[[NDArray[Any], NDArray[Any]], Floats]] = {
    "JCD": _jcd,
    "Tamura": _tamura,
    "ColorLayout": _color_layout,
    "EdgeHistogram": _edge_histogram,
    "AutoColorCorrelogram": _auto_color_correlogram,
    "PHOG": _phog,
}


# What the bins mean


def _by(names: Sequence[str]) -> Groups:
    """Groups from the name of each bin, in the order in which they first come."""
    of_bin = np.array(names)
    return {name: np.flatnonzero(of_bin == name) for name in dict.fromkeys(names)}


_FUZZY_COLOURS = (
    ["white", "grey", "black"]
    + [hue for hue in ("red", "orange", "yellow", "green", "cyan", "blue", "magenta") for _ in range(3)]
)  # fmt: skip
"""CEDD's and FCTH's 24 fuzzy colours: three without a hue, seven hues of three shades."""
_JCD_ROWS = (
    "smooth areas", "horizontal texture", "edges rising at 45°", "vertical texture", "edges falling at 45°",
    "texture in all directions", "edges without direction",
)  # fmt: skip
_QUADRANTS = ("upper left", "upper right", "lower left", "lower right")
_HUES = (
    "red to orange", "yellow", "green", "blue-green", "light blue", "blue", "violet", "pink to red"
)  # fmt: skip


def _quadrant(row: int, column: int) -> str:
    return _QUADRANTS[2 * (row // 2) + column // 2]


def _correlogram_colour(colour: int) -> str:
    """8 x hue + 2 x saturation + value, of 8 hues, 4 saturations and 2 values."""
    hue, rest = divmod(colour, 8)
    saturation, value = divmod(rest, 2)
    return "dark colours" if value == 0 else "pale colours and white" if saturation == 0 else _HUES[hue]


def _outline(bin_of_30: int) -> str:
    """The direction of an outline by that of its gradient, -90 to 90 degrees in 30 bins."""
    if bin_of_30 < 4 or bin_of_30 > 25:
        return "horizontal outlines"
    if 11 <= bin_of_30 <= 18:
        return "vertical outlines"
    return "outlines falling to the right" if bin_of_30 < 11 else "outlines rising to the right"


def _phog_place(part: int) -> str:
    if part == 0:
        return "the picture as a whole"
    if part < 5:
        return _QUADRANTS[part - 1]
    return _quadrant((part - 5) % 4, (part - 5) // 4)  # column by column


_TAMURA_DIRECTIONS = (
    ["vertical edges"] * 2 + ["edges falling to the right"] * 4 + ["horizontal edges"] * 4
    + ["edges rising to the right"] * 4 + ["vertical edges"] * 2
)  # fmt: skip
_PLACES_OF_EDGES = [_quadrant(part // 4, part % 4) for part in range(16) for _ in range(5)]
_KINDS_OF_EDGES = [
    "vertical edges", "horizontal edges", "edges at 45°", "edges at 135°", "edges without direction"
]  # fmt: skip

FACETS: dict[str, dict[str, Groups]] = {
    "JCD": {
        "Colours": _by(_FUZZY_COLOURS * 7),
        "Textures": _by([row for row in _JCD_ROWS for _ in range(24)]),
    },
    "Tamura": {"Textures": _by(["coarseness", "contrast", *_TAMURA_DIRECTIONS])},
    "ColorLayout": {
        "Colours": _by(["brightness"] * 21 + ["blue against yellow"] * 6 + ["red against green"] * 6),
        "Places": _by(
            (["mean colour"] + ["coarse layout"] * 5 + ["fine layout"] * 15)
            + (["mean colour"] + ["coarse layout"] * 5) * 2
        ),
    },
    "EdgeHistogram": {"Edges": _by(_KINDS_OF_EDGES * 16), "Places": _by(_PLACES_OF_EDGES)},
    "AutoColorCorrelogram": {
        "Colours": _by([_correlogram_colour(colour) for colour in range(64) for _ in range(4)]),
        "Textures": _by(["1 pixel apart", "2 pixels apart", "3 pixels apart", "4 pixels apart"] * 64),
    },
    "PHOG": {
        "Edges": _by([_outline(number) for _ in range(21) for number in range(30)]),
        "Places": _by([_phog_place(part) for part in range(21) for _ in range(30)]),
        "Levels": _by(
            [name for name, parts in (("whole", 1), ("quarters", 4), ("sixteenths", 16)) for _ in range(parts * 30)]
        ),
    },
}
"""By descriptor, the facets of its bins."""
