"""The test of reasons: erasing the cells that are said to matter must hurt, on this collection and by its encoder.

For pairs of a query and one of its hits, the tenth of the query's cells of the highest relevance is erased (W. Samek et
al., "Evaluating the visualization of what a deep neural network has learned", IEEE TNNLS 28(11), 2017). The fall of the
similarity is compared with that by as many random cells, by the cells nearest the centre, where an endoscope looks, and
by the cells that an encoder of shuffled weights calls relevant (J. Adebayo et al., "Sanity checks for saliency maps",
NeurIPS 2018). It must be deeper than by random cells in 90 % of pairs, and deeper than by the centre on average and in
most pairs; that by shuffled weights must not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.encoders.spatial import SpatialTower
from retrieval.reasons.erasing import Fill, Way, erased, filling, highest
from retrieval.reasons.relevance import encoder_inputs, erasures, vectors_in
from retrieval.spaces import Space

NEEDED = 0.9
"""Share of pairs in which the relevant cells must matter more than random ones, and those of shuffled weights not."""
PAIRS = 100
_DRAWS = 3
"""Random choices of cells of a pair, whose mean fall is compared."""


@dataclass(frozen=True)
class Faithfulness:
    """How a way of telling relevance did.

    above_random, above_centre: share of pairs in which the similarity falls deeper than by random cells and by central
    ones; shuffled_above_random: the same of cells by an encoder of shuffled weights. falls: mean fall of the
    similarity by what was erased: `relevant`, `random`, `centre`, `shuffled`. confirms: whether these are other pairs
    than those that the way was chosen on.
    """

    fill: Fill
    passes: int
    pairs: int
    seed: int
    above_random: float
    above_centre: float
    shuffled_above_random: float
    falls: Mapping[str, float]
    confirms: bool = False

    @property
    def way(self) -> Way:
        """The way that was tested."""
        return Way(self.fill, self.passes)

    @property
    def faults(self) -> list[str]:
        """What it fails in, in words; nothing where it passes."""
        faults = []
        if self.above_random < NEEDED:
            faults.append(
                f"erasing the cells it marks matters more than erasing random cells in only {self.above_random:.0%} of "
                f"pairs ({NEEDED:.0%} are needed)"
            )
        if self.above_centre <= 0.5 or self.falls["relevant"] <= self.falls["centre"]:
            faults.append(f"it is no better than the centre of the picture ({self.above_centre:.0%} of pairs)")
        if self.shuffled_above_random >= NEEDED:
            faults.append("an encoder of shuffled weights does as well, so it does not tell what the encoder learned")
        return faults

    @property
    def passed(self) -> bool:
        """Whether it may be shown."""
        return not self.faults

    def to_dict(self) -> dict[str, Any]:
        """The outcome as plain values."""
        return asdict(self) | {"falls": dict(self.falls), "passed": self.passed}

    @staticmethod
    def from_dict(stored: Mapping[str, Any]) -> Faithfulness:
        """The outcome from plain values. Raises KeyError, ValueError, TypeError."""
        fields = {name: stored[name] for name in Faithfulness.__dataclass_fields__ if name != "confirms"}
        fields["confirms"] = bool(stored.get("confirms", False))  # earlier versions tested once
        return Faithfulness(**fields | {"falls": {name: float(fall) for name, fall in fields["falls"].items()}})

    def __str__(self) -> str:
        """One sentence for a person."""
        return (
            f"erasing the marked tenth of cells lowers the similarity by {self.falls['relevant']:.3f}, random cells by "
            f"{self.falls['random']:.3f}, the centre by {self.falls['centre']:.3f}: more than random in "
            f"{self.above_random:.0%} of {self.pairs} pairs, more than the centre in {self.above_centre:.0%}; with "
            f"shuffled weights {self.shuffled_above_random:.0%}"
        )


@dataclass(frozen=True, eq=False)
class Pair:
    """Prepared pictures (h, w, 3) of a query and of one of its hits, and the hit's vector (d,) in the space."""

    query: NDArray[np.uint8]
    hit: NDArray[np.uint8]
    vector: NDArray[np.float64]


def measure(
    tower: SpatialTower,
    shuffled: SpatialTower,
    space: Space,
    way: Way,
    pairs: Sequence[Pair],
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Faithfulness:
    """Test a way on pairs; shuffled: the tower with shuffled weights."""
    random = np.random.default_rng(seed)
    rows, columns = np.indices(tower.grid)
    nearness = -((rows - (tower.grid[0] - 1) / 2) ** 2 + (columns - (tower.grid[1] - 1) / 2) ** 2)
    falls = np.empty((len(pairs), 4))
    for at, pair in enumerate(pairs):
        inputs = encoder_inputs(pair.query, way, tower.grid)
        own = erasures(tower, space, way, tower.encode_all(inputs))
        hit, *by_others = shuffled.encode_all([pair.hit, *inputs])
        by_shuffled = erasures(shuffled, space, way, by_others).relevance(vectors_in(space, hit.vector[None])[0])
        chosen = [
            own.relevance(pair.vector),
            *(random.random(tower.grid) for _ in range(_DRAWS)),
            nearness,
            by_shuffled,
        ]
        fill = filling(pair.query, way.fill)
        without = tower.encode_all([erased(pair.query, fill, highest(scores)) for scores in chosen])
        left = vectors_in(space, np.stack([one.vector for one in without])) @ pair.vector
        fall = float(own.whole @ pair.vector) - left
        falls[at] = fall[0], fall[1 : 1 + _DRAWS].mean(), *fall[1 + _DRAWS :]
        progress(at + 1, len(pairs))
    relevant, by_chance, centre, mixed = falls.T
    return Faithfulness(
        way.fill,
        way.passes,
        len(pairs),
        seed,
        above_random=float(np.mean(relevant > by_chance)),
        above_centre=float(np.mean(relevant > centre)),
        shuffled_above_random=float(np.mean(mixed > by_chance)),
        falls={
            name: float(values.mean())
            for name, values in zip(("relevant", "random", "centre", "shuffled"), falls.T, strict=True)
        },
    )
