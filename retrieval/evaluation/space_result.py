"""The result of one space or fusion: the figures of every query, and the means over them."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.bootstrap import Intervals
from retrieval.evaluation.chances import ChanceFigures
from retrieval.evaluation.comparison import Contender
from retrieval.evaluation.mark_bias import MarkBias
from retrieval.evaluation.options import Fusion
from retrieval.fusion import DEFAULT_METHOD
from retrieval.metrics.confusion import (
    ClassScores,
    OverallScores,
    class_scores,
    confusion_matrix,
    overall_scores,
)
from retrieval.terminal import one_line

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Means:
    """One measure over all queries (micro), as the mean of the class means (macro), and per class (C,)."""

    micro: float
    macro: float
    per_class: Floats


@dataclass(frozen=True, eq=False)
class SpaceResult:
    """One space, or fusion of several, under one protocol: q queries ordered by image id, C classes, K neighbours each.

    measures: by name (q,) float64, NaN for a query to which nothing is relevant.
    relevant, listed: (q,) R and the length of the query's ranked list. predicted: (q,) the class voted, -1 for none.
    neighbours: (q, K) image ids, -1 beyond the list; distances: (q, K), inf there.
    curve: (q, levels) interpolated precision at equally spaced recall from 0 to 1.
    leaking: queries that can retrieve a near duplicate of themselves. learned_from: queries that the space, or one of a
    fusion, was learned from; their figures are not clean. intervals: None without a bootstrap.
    class_sizes: (C,) images of each class; unlabelled: images without a class, which are searched but are no queries.
    fusion: what is fused, None for a space; a fusion has no dimension, and its distance is the negative score.
    mark_bias: None where marks of the device are not known, or all images have the same.
    scenes: (q,) numbers of the queries' scenes, None where they are the clusters. chances: whether calibrated chances
    hold; None where there are too few scenes, or where queries taught the space.
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
    learned_from: int = 0
    intervals: Intervals | None = None
    fusion: Fusion | None = None
    mark_bias: MarkBias | None = None
    chances: ChanceFigures | None = None
    scenes: NDArray[np.int64] | None = None

    @property
    def units(self) -> NDArray[np.int64]:
        """Scenes of the queries where they are known, else clusters, (q,): what bootstraps and tests draw."""
        return self.clusters if self.scenes is None else self.scenes

    @cached_property
    def scored(self) -> NDArray[np.bool_]:
        """Mask of the queries that are in the figures, (q,): those to which something is relevant."""
        return self.relevant > 0

    @property
    def class_k(self) -> int:
        """The k of figures that a report shows for one k alone, such as those of a class: 10, or else the largest."""
        return 10 if 10 in self.ks else max(self.ks)

    @cached_property
    def shown_names(self) -> tuple[str, ...]:
        """The classes' names as reports show them: control characters are escaped."""
        return tuple(map(one_line, self.class_names))

    def means(self, measure: str) -> Means:
        """Micro, macro and per-class mean of a measure over the scored queries; NaN where there are none."""
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
        """Scored queries by class (row) and voted class (column, the last: none), (C, C + 1)."""
        return confusion_matrix(self.labels[self.scored], self.predicted[self.scored], len(self.class_names))

    @property
    def class_scores(self) -> ClassScores:
        """Classification by retrieval, each class against the rest."""
        return class_scores(self.confusion)

    @property
    def overall_scores(self) -> OverallScores:
        """Classification by retrieval, all classes together."""
        return overall_scores(self.confusion)

    def contender(self, measure: str) -> Contender:
        """The scored queries with one measure, for `compare`."""
        scored = self.scored
        return Contender(
            name=self.space,
            files=tuple(file for file, counts in zip(self.files, scored, strict=True) if counts),
            classes=tuple(self.class_names[c] for c in self.labels[scored]),
            clusters=self.units[scored],
            relevant=self.relevant[scored],
            protocol=self.protocol_sentence,
            values=self.measures[measure][scored],
        )

    @property
    def queries_digest(self) -> str:
        """Of the protocol and the scored queries' files, classes and R: equal for results that `compare` takes."""
        scored = np.flatnonzero(self.scored).tolist()
        queries = sorted((self.files[at], self.class_names[self.labels[at]], int(self.relevant[at])) for at in scored)
        return hashlib.sha256(json.dumps([self.protocol_sentence, queries]).encode()).hexdigest()[:16]

    def to_dict(self, *, per_query: bool = True) -> dict[str, Any]:
        """Plain numbers, strings, lists and dicts in a fixed order, ready for JSON; NaN becomes None."""
        fields: dict[str, Any] = {
            "space": self.space,
            "dimension": self.dimension,
            "metric": self.metric,
            **_fusion_to_dict(self.fusion),
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
                **({"learned_from": self.learned_from} if self.learned_from else {}),
            },
            **self._bootstrap_to_dict(),
            **({"mark_bias": self.mark_bias.to_dict()} if self.mark_bias else {}),
            **({"chances": self.chances.to_dict()} if self.chances else {}),
            "measures": {name: self._means_to_dict(name) for name in self.measures},
            "classification": self._classification_to_dict(),
        }
        if per_query:
            fields["per_query"] = {
                "id": self.ids.tolist(),
                "file": list(self.files),
                "class": [self.class_names[c] for c in self.labels],
                "cluster": self.clusters.tolist(),
                **({} if self.scenes is None else {"scene": self.scenes.tolist()}),
                "relevant": self.relevant.tolist(),
                "predicted": [None if c < 0 else self.class_names[c] for c in self.predicted],
                "measures": {name: json_values(values) for name, values in self.measures.items()},
            }
        return fields

    def _bootstrap_to_dict(self) -> dict[str, Any]:
        drawn = self.intervals
        return {"intervals": {"level": drawn.level, "samples": drawn.samples, "seed": drawn.seed}} if drawn else {}

    def _classification_to_dict(self) -> dict[str, Any]:
        intervals = self.intervals

        def by_class(scores: dict[str, Floats]) -> dict[str, Any]:
            return {
                name: {score: json_values(values[c]) for score, values in scores.items()}
                for c, name in enumerate(self.class_names)
            }

        return {
            "vote_k": self.vote_k,
            "vote": "similarity-weighted",
            "overall": json_values(asdict(self.overall_scores)),
            **({"overall_interval": json_values(intervals.overall_scores)} if intervals else {}),
            "per_class": by_class(asdict(self.class_scores)),
            **({"per_class_interval": by_class(intervals.class_scores)} if intervals else {}),
            "confusion": {
                "rows": list(self.class_names),
                "columns": [*self.class_names, None],
                "counts": self.confusion.tolist(),
            },
        }

    def _means_to_dict(self, measure: str) -> dict[str, Any]:
        means = self.means(measure)
        per_class = dict(zip(self.class_names, json_values(means.per_class), strict=True))
        fields = {"micro": json_values(means.micro), "macro": json_values(means.macro), "per_class": per_class}
        if self.intervals:
            fields["micro_interval"] = json_values(self.intervals.micro[measure])
            fields["macro_interval"] = json_values(self.intervals.macro[measure])
            ends = json_values(self.intervals.per_class[measure])
            fields["per_class_interval"] = dict(zip(self.class_names, ends, strict=True))
        return fields


def _fusion_to_dict(fusion: Fusion | None) -> dict[str, Any]:
    if fusion is None:
        return {}
    fused = {"fusion": dict(zip(fusion.spaces, fusion.weights, strict=True))}
    return fused if fusion.method == DEFAULT_METHOD else fused | {"fusion_method": fusion.method}


def json_values(value: Any) -> Any:
    """Arrays as lists and NaN as None, at any depth of a dict."""
    if isinstance(value, dict):
        return {key: json_values(part) for key, part in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list):
        return [json_values(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
