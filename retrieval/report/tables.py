"""The tables of a report."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.result import Evaluation
from retrieval.evaluation.space_result import SpaceResult
from retrieval.report.document import Table


def overview_table(result: Evaluation) -> Table:
    """All spaces and fusions, best first: macro means with intervals, and some by other protocols."""
    measures = result.overview_measures
    others = {
        "mAP, leave-one-out": result.leave_one_out_gaps(),
        "precision@1, leave-scene-out": result.leave_scene_out_gaps("precision@1") if "precision@1" in measures else {},
        "mAP, leave-scene-out": result.leave_scene_out_gaps(),
    }
    others = {name: gaps for name, gaps in others.items() if gaps}
    rows = []
    for space in result.best_first():
        overall = space.overall_scores
        cells = [_value_and_interval(space, name) for name in measures]
        gap = ["{:.3f} ({:+.4f})".format(*gaps[space.space]) for gaps in others.values()]
        rows.append((space.space, *cells, f"{float(overall.accuracy):.3f}", f"{float(overall.MCC):.3f}", *gap))
    return Table(("space", *measures, "accuracy", "MCC", *others), tuple(rows))


def measures_table(space: SpaceResult) -> Table:
    """Every measure of a space: micro and macro means with intervals."""
    intervals = space.intervals
    rows = []
    for name in space.measures:
        means = space.means(name)
        ends = (_ends(intervals.micro[name]), _ends(intervals.macro[name])) if intervals else ("", "")
        rows.append((name, f"{means.micro:.4f}", ends[0], f"{means.macro:.4f}", ends[1]))
    return Table(("measure", "mean over queries", "interval", "mean of class means", "interval"), tuple(rows))


def class_table(space: SpaceResult) -> Table:
    """Each class as queries, and as voted, against the rest; the last row is over all classes."""
    scores, overall, ap = space.class_scores, space.overall_scores, space.means("mAP")
    queries = space.confusion.sum(axis=1)
    ratios = (scores.recall, scores.precision, scores.specificity, scores.accuracy, scores.F1, scores.MCC)
    rows = [
        (
            name,
            f"{queries[c]:,}",
            f"{ap.per_class[c]:.3f}",
            *[f"{count[c]:,.0f}" for count in (scores.TP, scores.TN, scores.FP, scores.FN)],
            *[f"{ratio[c]:.3f}" for ratio in ratios],
        )
        for c, name in enumerate(space.shown_names)
        if queries[c]
    ]
    over_all = (
        overall.macro_recall,
        overall.macro_precision,
        overall.macro_specificity,
        overall.accuracy,
        overall.macro_F1,
        overall.MCC,
    )
    values = [f"{float(value):.3f}" for value in over_all]
    rows.append(("all", f"{queries.sum():,}", f"{ap.macro:.3f}", "", "", "", "", *values))
    counts = ("TP", "TN", "FP", "FN")
    names = ("recall", "precision", "specificity", "accuracy", "F1", "MCC")
    return Table(("class", "queries", "mAP", *counts, *names), tuple(rows))


def _value_and_interval(space: SpaceResult, name: str) -> str:
    """A macro mean, and in brackets its interval."""
    value = f"{space.means(name).macro:.3f}"
    return value if space.intervals is None else f"{value} ({_ends(space.intervals.macro[name])})"


def _ends(ends: NDArray[np.float64]) -> str:
    return f"{ends[0]:.3f}–{ends[1]:.3f}"
