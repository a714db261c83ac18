"""What an evaluation of one space found: every query's figures, and the means over them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.comparison import Comparison, NotSameQueriesError, compare, contender
from retrieval.evaluation.fusions import Fusion
from retrieval.evaluation.intervals import Intervals
from retrieval.evaluation.speed import Speed
from retrieval.metrics.confusion import (
    ClassScores,
    OverallScores,
    class_scores,
    confusion_matrix,
    overall_scores,
)

SCHEMA = "kvasir-evaluation/1"
"""Name and version of the JSON form; the version goes up when a reader of the old one would be misled."""
SCHEMA_FILE = Path(__file__).with_name("evaluation.schema.json")
"""The form as a JSON Schema (2020-12)."""

_OVERVIEW = ("mAP", "precision@1", "precision@10", "hit@10")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Means:
    """One measure over all queries (micro), as the mean of the class means (macro), and per class (C,)."""

    micro: float
    macro: float
    per_class: Floats


@dataclass(frozen=True)
class SpaceResult:
    """One space, or fusion of several, under one protocol. q queries ordered by image id, C classes, K neighbours kept.

    measures: name of evaluation -> (q,) float64, NaN for a query to which nothing is relevant.
    relevant, listed: (q,) R and the length of the query's list. predicted: (q,) the class voted, -1 none.
    neighbours: (q, K) image ids, -1 beyond the list; distances: (q, K), inf there.
    curve: (q, levels) interpolated precision at equally spaced recall from 0 to 1.
    leaking: queries that can find a near duplicate of themselves. intervals: None where no bootstrap was asked for.
    class_sizes: (C,) images of each class among all; unlabelled: images without a class, searched but never queries.
    fusion: what is fused; a fusion has no dimension, and its distance is the negative score.
    """

    space: str
    dimension: int | None
    metric: str
    protocol: str
    protocol_sentence: str
    class_names: tuple[str, ...]
    class_sizes: NDArray[np.int64]
    unlabelled: int
    cluster_count: int
    ks: tuple[int, ...]
    vote_k: int
    ids: NDArray[np.int64]
    files: tuple[str, ...]
    labels: NDArray[np.int64]
    clusters: NDArray[np.int64]
    relevant: NDArray[np.int64]
    listed: NDArray[np.int64]
    measures: dict[str, Floats]
    predicted: NDArray[np.int64]
    neighbours: NDArray[np.int64]
    distances: Floats
    curve: Floats
    leaking: int = 0
    intervals: Intervals | None = None
    fusion: Fusion | None = None

    @cached_property
    def scored(self) -> NDArray[np.bool_]:
        """Queries that count, (q,): those to which something is relevant."""
        return self.relevant > 0

    @property
    def class_k(self) -> int:
        """The k of figures that are shown for one k alone, such as those of a class: 10, or else the largest."""
        return 10 if 10 in self.ks else max(self.ks)

    def means(self, measure: str) -> Means:
        """Micro, macro and per-class mean of a measure; NaN where no query counts."""
        values, labels = self.measures[measure][self.scored], self.labels[self.scored]
        counts = np.bincount(labels, minlength=len(self.class_names))
        sums = np.bincount(labels, values, len(self.class_names))
        per_class = np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
        some = counts > 0
        if not some.any():
            return Means(math.nan, math.nan, per_class)
        return Means(float(values.mean()), float(per_class[some].mean()), per_class)

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """Queries that count by class (row) and voted class (column, the last: none), (C, C + 1)."""
        return confusion_matrix(self.labels[self.scored], self.predicted[self.scored], len(self.class_names))

    @property
    def class_scores(self) -> ClassScores:
        """Classification by retrieval, each class against the rest."""
        return class_scores(self.confusion)

    @property
    def overall_scores(self) -> OverallScores:
        """Classification by retrieval, all classes together."""
        return overall_scores(self.confusion)

    def to_dict(self, *, per_query: bool = True) -> dict[str, Any]:
        """Plain numbers, strings, lists and dicts in a fixed order, ready for JSON; NaN becomes None."""
        per_class = asdict(self.class_scores)
        spans = self.intervals
        answer: dict[str, Any] = {
            "space": self.space,
            "dimension": self.dimension,
            "metric": self.metric,
            **({"fusion": dict(zip(self.fusion.spaces, self.fusion.weights, strict=True))} if self.fusion else {}),
            "protocol": {"name": self.protocol, "sentence": self.protocol_sentence},
            "images": {
                "all": int(self.class_sizes.sum()) + self.unlabelled,
                "unlabelled": self.unlabelled,
                "clusters": self.cluster_count,
                "per_class": dict(zip(self.class_names, self.class_sizes.tolist(), strict=True)),
            },
            "queries": {
                "all": len(self.ids),
                "scored": int(self.scored.sum()),
                "nothing_relevant": int((~self.scored).sum()),
                "leaking": self.leaking,
            },
            **({"intervals": {"level": spans.level, "samples": spans.samples, "seed": spans.seed}} if spans else {}),
            "measures": {name: self._means_to_dict(name) for name in self.measures},
            "classification": {
                "vote_k": self.vote_k,
                "vote": "similarity-weighted",
                "overall": plain(asdict(self.overall_scores)),
                **({"overall_interval": plain(spans.overall_scores)} if spans else {}),
                "per_class": {
                    name: {key: plain(values[c]) for key, values in per_class.items()}
                    for c, name in enumerate(self.class_names)
                },
                **(
                    {
                        "per_class_interval": {
                            name: {key: plain(values[c]) for key, values in spans.class_scores.items()}
                            for c, name in enumerate(self.class_names)
                        }
                    }
                    if spans
                    else {}
                ),
                "confusion": {
                    "rows": list(self.class_names),
                    "columns": [*self.class_names, None],
                    "counts": self.confusion.tolist(),
                },
            },
        }
        if per_query:
            answer["per_query"] = {
                "id": self.ids.tolist(),
                "file": list(self.files),
                "class": [self.class_names[c] for c in self.labels],
                "cluster": self.clusters.tolist(),
                "relevant": self.relevant.tolist(),
                "predicted": [None if c < 0 else self.class_names[c] for c in self.predicted],
                "measures": {name: plain(values) for name, values in self.measures.items()},
            }
        return answer

    def _means_to_dict(self, measure: str) -> dict[str, Any]:
        means = self.means(measure)
        per_class = dict(zip(self.class_names, plain(means.per_class), strict=True))
        answer = {"micro": plain(means.micro), "macro": plain(means.macro), "per_class": per_class}
        if self.intervals:
            answer["micro_interval"] = plain(self.intervals.micro[measure])
            answer["macro_interval"] = plain(self.intervals.macro[measure])
            spans = plain(self.intervals.per_class[measure])
            answer["per_class_interval"] = dict(zip(self.class_names, spans, strict=True))
        return answer


@dataclass(frozen=True)
class Evaluation:
    """Several spaces of one collection under one protocol.

    leave_one_out: the same spaces by leave-one-out, where there are near duplicates that another protocol left out.
    """

    collection: str
    spaces: tuple[SpaceResult, ...]
    seed: int = 0
    speeds: tuple[Speed, ...] = ()
    leave_one_out: tuple[SpaceResult, ...] = ()
    _compared: dict[str, Comparison] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def overview_measures(self) -> list[str]:
        """What a table of all spaces shows of the measures, where their k were chosen."""
        return [name for name in _OVERVIEW if name in self.spaces[0].measures]

    def beside(self, measure: str = "mAP") -> dict[str, tuple[float, float]]:
        """Each space's macro mean by leave-one-out, where that was measured, and what near duplicates add to it."""
        found = {}
        for honest, other in zip(self.spaces, self.leave_one_out, strict=False):
            mean = other.means(measure).macro
            found[honest.space] = mean, mean - honest.means(measure).macro
        return found

    def gap_sentences(self, measure: str = "mAP") -> list[str]:
        """The same in words: for each of a few spaces, or the least and the most of many."""
        beside = self.beside(measure)
        if len(beside) > 3:
            (least, (_, low)), *_, (most, (_, high)) = sorted(beside.items(), key=lambda one: one[1][1])
            said = f"change {measure} by {low:+.4f} ({least}) to {high:+.4f} ({most})"
        else:
            said = f"give {measure} " + ", ".join(
                f"{mean:.4f} ({gap:+.4f}) in {s}" for s, (mean, gap) in beside.items()
            )
        return [f"Leave-one-out, which lets near duplicates help, would {said}."] if beside else []

    def comparison(self, measure: str = "mAP") -> Comparison:
        """The spaces ranked and tested in pairs; raises NotSameQueriesError where they hold different images."""
        if measure not in self._compared:
            contenders = [contender(space, measure) for space in self.spaces]
            self._compared[measure] = compare(contenders, measure, seed=self.seed)
        return self._compared[measure]

    def ranked(self, measure: str = "mAP") -> list[SpaceResult]:
        """Best first by the macro mean of a measure; equal ones in the order of the collection."""
        return sorted(self.spaces, key=lambda space: -np.nan_to_num(space.means(measure).macro))

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
            **({"speed": [asdict(one) for one in self.speeds]} if self.speeds else {}),
        }

    def _comparison_to_dict(self) -> dict[str, Any]:
        if len(self.spaces) < 2:
            return {}
        try:
            found = self.comparison()
        except NotSameQueriesError:
            return {}
        return {"comparison": plain(asdict(found)) | {"sentences": found.sentences()}}


def plain(value: Any) -> Any:
    """Arrays as lists and NaN as None, at any depth of a dict."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
