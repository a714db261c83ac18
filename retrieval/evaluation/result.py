"""The result of an evaluation: the spaces of one collection under one protocol, compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.evaluation.comparison import Comparison, NotSameQueriesError, compare
from retrieval.evaluation.feedback import FeedbackCurve
from retrieval.evaluation.generalisation import Figure, Standing
from retrieval.evaluation.space_result import SpaceResult, json_values
from retrieval.evaluation.speed import Speed

SCHEMA = "kvasir-evaluation/1"
"""Name and version of the JSON form; the version goes up when a reader of the old one would be misled."""
SCHEMA_FILE = Path(__file__).with_name("evaluation.schema.json")
"""The form as a JSON Schema (2020-12)."""

_OVERVIEW = ("mAP", "precision@1", "precision@10", "hit@10")


Gaps = dict[str, tuple[float, float]]
"""By space, a mean by another protocol, and that mean less the one by the protocol of the evaluation."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Several spaces of one collection under one protocol.

    leave_one_out: the same spaces by leave-one-out, where there are near duplicates that another protocol left out.
    leave_scene_out: the same by leave-scene-out, where there are scenes that leave-cluster-out does not leave out.
    figures: by way of learning, what `retrieval.evaluation.generalisation` asks. transfer: by space, how pictures of
    other sources retrieve. feedback: by space, precision after rounds of simulated relevance feedback.
    """

    collection: str
    spaces: tuple[SpaceResult, ...]
    seed: int = 0
    speeds: tuple[Speed, ...] = ()
    leave_one_out: tuple[SpaceResult, ...] = ()
    leave_scene_out: tuple[SpaceResult, ...] = ()
    figures: Mapping[str, Sequence[Figure]] = field(default_factory=dict)
    transfer: Mapping[str, Standing] = field(default_factory=dict)
    feedback: tuple[FeedbackCurve, ...] = ()
    _comparisons: dict[str, Comparison] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def overview_measures(self) -> list[str]:
        """The measures in a table of all spaces, as far as their k were evaluated."""
        return [name for name in _OVERVIEW if name in self.spaces[0].measures]

    def leave_one_out_gaps(self, measure: str = "mAP") -> Gaps:
        """By space, the macro mean by leave-one-out and the gap to it, which near duplicates make; or nothing."""
        return self._gaps(self.leave_one_out, measure)

    def leave_scene_out_gaps(self, measure: str = "mAP") -> Gaps:
        """By space, the macro mean by leave-scene-out and the gap to it, which frames of one scene make; or nothing."""
        return self._gaps(self.leave_scene_out, measure)

    def _gaps(self, others: Sequence[SpaceResult], measure: str) -> Gaps:
        gaps = {}
        for space, other in zip(self.spaces, others, strict=False):
            mean = other.means(measure).macro
            gaps[space.space] = mean, mean - space.means(measure).macro
        return gaps

    def gap_sentences(self, measure: str = "mAP") -> list[str]:
        """The gaps in words: of up to three spaces, or the smallest and the largest of more."""
        one_out = "Leave-one-out, which lets near duplicates help"
        scene_out = "Leave-scene-out, which lets no frame of the same place help"
        return [
            *_gap_sentences(one_out, measure, self.leave_one_out_gaps(measure)),
            *_gap_sentences(scene_out, measure, self.leave_scene_out_gaps(measure)),
            *(
                _gap_sentences(scene_out, "precision@1", self.leave_scene_out_gaps("precision@1"))
                if "precision@1" in self.overview_measures
                else []
            ),
        ]

    def comparison(self, measure: str = "mAP") -> Comparison:
        """The spaces ranked and tested in pairs; raises NotSameQueriesError where they have different images."""
        if measure not in self._comparisons:
            contenders = [space.contender(measure) for space in self.spaces]
            self._comparisons[measure] = compare(contenders, measure, seed=self.seed)
        return self._comparisons[measure]

    def best_first(self, measure: str = "mAP") -> list[SpaceResult]:
        """The spaces by the macro mean of a measure; equal ones in the order of the collection.

        Those that learned from their queries come last, whatever they reach.
        """
        return sorted(
            self.spaces, key=lambda space: (space.learned_from > 0, -np.nan_to_num(space.means(measure).macro))
        )

    def to_dict(self, *, per_query: bool = True) -> dict[str, Any]:
        """Ready for JSON; the same evaluation gives the same bytes, `speed` aside."""
        return {
            "schema": SCHEMA,
            "collection": self.collection,
            "spaces": [space.to_dict(per_query=per_query) for space in self.spaces],
            **self._comparison_to_dict(),
            **(
                {"leave_one_out": [space.to_dict(per_query=False) for space in self.leave_one_out]}
                if self.leave_one_out
                else {}
            ),
            **(
                {"leave_scene_out": [space.to_dict(per_query=False) for space in self.leave_scene_out]}
                if self.leave_scene_out
                else {}
            ),
            **(
                {"learning": {way: [figure.to_dict() for figure in each] for way, each in self.figures.items()}}
                if self.figures
                else {}
            ),
            **(
                {"transfer": {name: standing.to_dict() for name, standing in self.transfer.items()}}
                if self.transfer
                else {}
            ),
            **({"feedback": [curve.to_dict() for curve in self.feedback]} if self.feedback else {}),
            **({"speed": [speed.to_dict() for speed in self.speeds]} if self.speeds else {}),
        }

    def _comparison_to_dict(self) -> dict[str, Any]:
        if len(self.spaces) < 2:
            return {}
        try:
            comparison = self.comparison()
        except NotSameQueriesError:
            return {}
        return {"comparison": json_values(comparison.to_dict()) | {"sentences": comparison.sentences()}}


def _gap_sentences(protocol: str, measure: str, gaps: Gaps) -> list[str]:
    if not gaps:
        return []
    if len(gaps) > 3:
        (least, (_, low)), *_, (most, (_, high)) = sorted(gaps.items(), key=lambda item: item[1][1])
        change = f"change {measure} by {low:+.4f} ({least}) to {high:+.4f} ({most})"
    else:
        change = f"give {measure} " + ", ".join(
            f"{mean:.4f} ({gap:+.4f}) in {space}" for space, (mean, gap) in gaps.items()
        )
    return [f"{protocol}, would {change}."]
