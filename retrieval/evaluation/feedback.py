"""How far relevance feedback helps: simulated users mark shown images, and what was not shown yet is ranked again.

A user sees the first `shown` images and marks `marks` of them at random; each mark is wrong with the chance `wrong`.
What was shown is taken out of the gallery (the residual collection of Rocchio and of Salton and Buckley, 1990), so that
feedback is not rewarded for the images that it was told about. Beside it the query without marks ranks the very same
residual collection, which gets poorer with every page that is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.feedback import Movement, moved
from retrieval.index.protocol import Metric
from retrieval.query_vectors import QueryVectors

QUERIES = 300
"""Queries of which users are simulated, drawn from all by the seed."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Users:
    """Simulated users. rounds: of feedback; marks: of each round; shown: images on a page, the k of precision@k."""

    rounds: int = 3
    marks: int = 5
    shown: int = 20
    wrong: float = 0.1


@dataclass(frozen=True)
class FeedbackCurve:
    """Mean precision@k on images not shown yet, before feedback and after each round.

    unmarked: of the query without marks on the same images; ceiling: the best possible, where few relevant images are
    left. gain: after the last round, the share of what was missing to 1 that feedback brings; gain_low, gain_high: its
    95 % interval over clusters.
    """

    space: str
    queries: int
    users: Users
    marked: tuple[float, ...]
    unmarked: tuple[float, ...]
    ceiling: tuple[float, ...]
    gain: float
    gain_low: float
    gain_high: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        values: dict[str, Any] = asdict(self)
        ends = {name: values[name] if isfinite(values[name]) else None for name in ("gain_low", "gain_high")}
        values |= {name: list(values[name]) for name in ("marked", "unmarked", "ceiling")}
        return values | ends


def simulate(
    vectors: NDArray[Any],
    metric: Metric,
    labels: NDArray[np.integer],
    groups: NDArray[np.integer],
    queries: NDArray[np.integer],
    users: Users = Users(),
    movement: Movement = Movement(),  # noqa: B008  # frozen
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Floats, Floats, Floats]:
    """Precision@k (q, rounds + 1) of the moved query, of the query without marks, and the best possible, at each round.

    vectors (n, d); labels (n,); groups (n,), near duplicates of the query are not searched; queries (q,) rows.
    """
    outcome = np.zeros((3, len(queries), users.rounds + 1))
    for at, query in enumerate(queries.tolist()):
        rng = np.random.default_rng([seed, query])
        relevant, seen = labels == labels[query], groups == groups[query]
        made = QueryVectors(vectors[query][None], np.ones(1))
        first = distances = _distances(metric, made, vectors)
        marked: list[int] = []
        said: list[bool] = []
        for turn in range(users.rounds + 1):
            page, unmoved = (_first(each, seen, users.shown) for each in (distances, first))
            best = min(users.shown, int((relevant & ~seen).sum()))
            outcome[:, at, turn] = relevant[page].sum(), relevant[unmoved].sum(), best
            if turn == users.rounds or not len(page):
                break
            chosen = rng.choice(page, min(users.marks, len(page)), replace=False)
            marked += chosen.tolist()
            said += (relevant[chosen] ^ (rng.random(len(chosen)) < users.wrong)).tolist()
            seen = seen.copy()
            seen[page] = True
            fits = np.array(said)
            of_marks = vectors[marked]
            again = moved(made, of_marks[fits], of_marks[~fits], metric, movement)
            distances = _distances(metric, again, vectors)
        if progress is not None:
            progress(at + 1, len(queries))
    precision, unmarked, ceiling = outcome / users.shown
    return precision, unmarked, ceiling


def feedback_curve(
    space: str,
    vectors: NDArray[Any],
    metric: Metric,
    labels: NDArray[np.integer],
    groups: NDArray[np.integer],
    users: Users = Users(),
    seed: int = 0,
    samples: int = 1000,
    progress: Callable[[int, int], None] | None = None,
) -> FeedbackCurve | None:
    """The curve of one space by QUERIES of its labelled images; None where there are none."""
    labelled = np.flatnonzero(labels >= 0)
    queries = np.sort(np.random.default_rng(seed).permutation(labelled)[:QUERIES])
    if not len(queries):
        return None
    simulated = simulate(vectors, metric, labels, groups, queries, users, seed=seed, progress=progress)
    marked, unmarked, ceiling = (tuple(each.mean(axis=0).tolist()) for each in simulated)
    low, high = _gain_interval([each[:, -1] for each in simulated[:2]], groups[queries], samples, seed)
    return FeedbackCurve(
        space, len(queries), users, marked, unmarked, ceiling, gain_of(marked[-1], unmarked[-1]), low, high
    )


def gain_of(marked: float, unmarked: float) -> float:
    """The share of what was missing to a precision of 1 that feedback brings; 0 where nothing was missing."""
    return (marked - unmarked) / (1 - unmarked) if unmarked < 1 else 0.0


def _gain_interval(
    figures: Sequence[Floats], groups: NDArray[np.integer], samples: int, seed: int
) -> tuple[float, float]:
    """95 % of the gains of bootstrap samples over groups (q,), from both precisions (q,) of each query."""
    numbers, count = np.unique(groups, return_inverse=True)[1], len(np.unique(groups))
    rng = np.random.default_rng(seed)
    gains = []
    for _ in range(samples):
        weights = np.bincount(rng.integers(0, count, count), minlength=count)[numbers]
        gains.append(gain_of(*(float(weights @ each / weights.sum()) for each in figures)))
    low, high = np.quantile(gains, (0.025, 0.975)) if gains else (np.nan, np.nan)
    return float(low), float(high)


def _distances(metric: Metric, query: QueryVectors, vectors: NDArray[Any]) -> Floats:
    """Distances (n,) of a query of several parts; see `retrieval.query.Query`."""
    return np.asarray(query.weights @ metric.distances(query.vectors, vectors) / query.positive, np.float64)


def _first(distances: Floats, seen: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
    """Rows of the nearest images that were not seen, equal distances by row."""
    order = np.argsort(np.where(seen, np.inf, distances), kind="stable")[: min(count, int((~seen).sum()))]
    return np.asarray(order, np.int64)
