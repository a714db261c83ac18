"""The confidence interval of every figure of a space, from one set of bootstrap samples."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.bootstrap import LEVEL, interval, resampled_confusion, resampled_means
from retrieval.metrics.confusion import class_scores, overall_scores

if TYPE_CHECKING:
    from retrieval.evaluation.result import SpaceResult

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Intervals:
    """Lower and upper end of each figure by its name: (2,) or, per class, (C, 2); NaN where there is no figure."""

    level: float
    samples: int
    seed: int
    micro: dict[str, Floats]
    macro: dict[str, Floats]
    per_class: dict[str, Floats]
    overall_scores: dict[str, Floats]
    class_scores: dict[str, Floats]


def intervals_of(result: SpaceResult, samples: int, seed: int) -> Intervals:
    """Intervals of all means and of classification by retrieval, over the queries that count."""
    scored, class_count = result.scored, len(result.class_names)
    labels, clusters = result.labels[scored], result.clusters[scored]
    values = np.column_stack([measure[scored] for measure in result.measures.values()])
    means = resampled_means(values, labels, clusters, class_count, samples, seed)
    tables = resampled_confusion(labels, result.predicted[scored], clusters, class_count, samples, seed)
    micro, macro, per_class = interval(means.micro), interval(means.macro), interval(means.per_class)
    return Intervals(
        level=LEVEL,
        samples=samples,
        seed=seed,
        micro=dict(zip(result.measures, micro, strict=True)),
        macro=dict(zip(result.measures, macro, strict=True)),
        per_class={name: per_class[:, m] for m, name in enumerate(result.measures)},
        overall_scores={name: interval(values) for name, values in asdict(overall_scores(tables)).items()},
        class_scores={name: interval(values) for name, values in asdict(class_scores(tables)).items()},
    )
