"""Two stored evaluations of a collection side by side: what both measured, query by query."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from retrieval.evaluation.comparison import NotSameQueriesError, compare
from retrieval.evaluation.store import load_contenders
from retrieval.report.store import StoredEvaluation, load_result, path_of_file

DETAILED = "evaluation.json"
"""The stored file that has every query's figures."""


@dataclass(frozen=True)
class RunDifference:
    """One space or fusion in two evaluations: its means, the second minus the first, with the 95 % interval.

    p: of the paired test, corrected by nothing, since each name is compared with itself alone.
    """

    name: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float
    significant: bool


@dataclass(frozen=True)
class RunComparison:
    """What two evaluations both measured, and the names that one of them has alone.

    apart: by name, why its two results cannot be compared.
    """

    measure: str
    differences: tuple[RunDifference, ...]
    apart: dict[str, str]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]


def compare_runs(
    collection: Path, first: StoredEvaluation, second: StoredEvaluation, measure: str = "mAP"
) -> RunComparison:
    """Compare two evaluations. Raises StoredEvaluationError, NotSameQueriesError where nothing can be compared."""
    loaded = [
        {one.name: one for one in load_contenders(path_of_file(collection, evaluation, DETAILED), measure)}
        for evaluation in (first, second)
    ]
    differences = []
    apart: dict[str, NotSameQueriesError] = {}
    for name in sorted(loaded[0].keys() & loaded[1].keys()):
        pair = [replace(each[name], name=which) for each, which in zip(loaded, ("first", "second"), strict=True)]
        try:
            compared = compare(pair, measure)
        except NotSameQueriesError as error:
            apart[name] = error
            continue
        (one,) = compared.differences
        means = {standing.name: standing.mean for standing in compared.standings}
        sign = 1 if one.better == "second" else -1  # a difference of 0 stays 0 by adding it to 0
        low, high = sorted((sign * one.low + 0.0, sign * one.high + 0.0))
        differences.append(
            RunDifference(
                name, means["first"], means["second"], sign * one.by + 0.0, low, high, one.p, bool(one.significant)
            )
        )
    if apart and not differences:
        raise next(iter(apart.values()))
    differences.sort(key=lambda one: (-one.second, one.name))
    alone = [tuple(sorted(loaded[at].keys() - loaded[1 - at].keys())) for at in range(2)]
    return RunComparison(measure, tuple(differences), {name: str(error) for name, error in apart.items()}, *alone)


def why_apart(first: StoredEvaluation, second: StoredEvaluation) -> str | None:
    """Why `compare_runs` refuses two evaluations, in a few words; None where it does not, or that is unknown."""
    names = first.queries.keys() & second.queries.keys()
    known = bool(first.queries and second.queries)
    if any(first.queries[name] == second.queries[name] for name in names):
        return None
    if known and not names:
        return "no space or fusion in common"
    if first.request.get("query_ids") != second.request.get("query_ids"):
        return "other queries"
    if first.request.get("protocol") != second.request.get("protocol"):
        return "another protocol"
    if not known:
        return None
    if first.images != second.images:
        return "other images, classes or clusters"
    return "other queries, such as those that taught no learned space"


def means_of(collection: Path, evaluation: StoredEvaluation, measure: str = "mAP") -> dict[str, float | None]:
    """The mean of the class means by space and fusion, best first. Raises StoredEvaluationError."""
    spaces: list[dict[str, Any]] = load_result(collection, evaluation)["spaces"]
    means = {space["space"]: space["measures"].get(measure, {}).get("macro") for space in spaces}
    return dict(sorted(means.items(), key=lambda pair: -(pair[1] or 0)))
