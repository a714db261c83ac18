"""Quality of the results of a batch, as sums: they take no more room for a million queries than for ten."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from retrieval.hits import Hits

MEASURES = ("precision", "recall", "hit")


@dataclass
class BatchQuality:
    """Sums over the queries of each class of precision@k, recall@k and hit@k (definitions: retrieval.metrics).

    unscored: by class, queries of which nothing in the collection is relevant; None: queries without a class.
    """

    k: int
    queries: dict[str, int] = field(default_factory=dict)
    sums: dict[str, list[float]] = field(default_factory=dict)
    unscored: dict[str, int] = field(default_factory=dict)
    without_class: int = 0

    @staticmethod
    def from_dict(fields: Any) -> BatchQuality:
        """Sums as `dataclasses.asdict` gives them. Raises ValueError, KeyError or TypeError for anything else."""
        quality = BatchQuality(**fields)
        counts = [quality.k, quality.without_class, *quality.queries.values(), *quality.unscored.values()]
        numbers = [number for sums in quality.sums.values() for number in sums]
        if not all(type(count) is int for count in counts) or not all(isinstance(n, int | float) for n in numbers):
            raise ValueError("a count or sum is no number")
        if quality.sums.keys() != quality.queries.keys() or any(len(s) != len(MEASURES) for s in quality.sums.values()):
            raise ValueError("sums do not fit the counts")
        return quality

    def add(self, hits: Hits) -> None:
        """Count the hits of one query."""
        quality, name = hits.quality, hits.query_class
        if quality is None or name is None:
            self.without_class += 1
        elif quality.recall is None:
            self.unscored[name] = self.unscored.get(name, 0) + 1
        else:
            self.queries[name] = self.queries.get(name, 0) + 1
            sums = self.sums.setdefault(name, [0.0] * len(MEASURES))
            for at, value in enumerate((quality.precision, quality.recall, float(quality.precision > 0))):
                sums[at] += value

    def to_dict(self) -> dict[str, Any]:
        """Means over queries (micro), over classes (macro) and of each class; None where no query counts."""
        of_classes = {
            name: {"queries": count} | {m: s / count for m, s in zip(MEASURES, self.sums[name], strict=True)}
            for name, count in sorted(self.queries.items())
        }
        total = sum(self.queries.values())
        micro = macro = None
        if total:
            micro = {m: sum(s[at] for s in self.sums.values()) / total for at, m in enumerate(MEASURES)}
            macro = {m: sum(means[m] for means in of_classes.values()) / len(of_classes) for m in MEASURES}
        return {
            "k": self.k,
            "queries": total,
            "micro": micro,
            "macro": macro,
            "classes": of_classes,
            "nothing_relevant": dict(sorted(self.unscored.items())),
            "without_class": self.without_class,
        }
