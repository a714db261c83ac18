"""The tables of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.chances import ChanceFigures, ClassChances
from retrieval.evaluation.feedback import FeedbackCurve
from retrieval.evaluation.generalisation import Figure, Standing
from retrieval.evaluation.result import Evaluation
from retrieval.evaluation.space_result import SpaceResult
from retrieval.report.document import Table
from retrieval.report.summary import overview_name
from retrieval.terminal import one_line


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
        # What is ranked anew or learned within each round is measured by one protocol.
        gap = [
            "{:.3f} ({:+.4f})".format(*gaps[space.space]) if space.space in gaps else "–" for gaps in others.values()
        ]
        rows.append((overview_name(space), *cells, f"{float(overall.accuracy):.3f}", f"{float(overall.MCC):.3f}", *gap))
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


LEARNING = ("", "queries", "P@1", "unlearned", "mAP", "unlearned", "least P@1")
TRANSFER = ("", "queries", "P@1", "by chance", "mAP")


def learning_rows(figures: Sequence[Figure]) -> list[tuple[str, ...]]:
    """A row for each setting of a way of learning, under LEARNING."""
    rows = []
    for figure in figures:
        cells = [figure.setting, f"{figure.queries:,}"]
        for measure in ("precision@1", "mAP"):
            cells += [_micro(figure.learned, measure), f"{figure.unlearned.micro[measure]:.3f}"]
        name, least = figure.learned.worst
        rows.append((*cells, f"{least:.3f} {one_line(name)}"))
    return rows


def transfer_rows(transfer: Mapping[str, Standing]) -> list[tuple[str, ...]]:
    """Rows for each space, under TRANSFER: over queries, of class means where there are several, and of each class."""
    rows: list[tuple[str, ...]] = []
    for space, of_space in transfer.items():
        queries = sum(int(one["queries"]) for one in of_space.per_class.values())
        first, mean = (_micro(of_space, measure) for measure in ("precision@1", "mAP"))
        rows.append((space, f"{queries:,}", first, f"{of_space.chance:.3f}", mean))
        if len(of_space.per_class) > 1:
            first, mean = (f"{of_space.macro[measure]:.3f}" for measure in ("precision@1", "mAP"))
            rows.append(("  mean of classes", "", first, "", mean))
        for name, one in of_space.per_class.items():
            figures = (f"{one['precision@1']:.3f}", f"{one['chance']:.3f}", f"{one['mAP']:.3f}")
            rows.append((f"  {one_line(name)}", f"{one['queries']:,}", *figures))
    return rows


def feedback_headings(curves: Sequence[FeedbackCurve]) -> tuple[str, ...]:
    """Headings of the table of feedback: the first column names the space."""
    users = curves[0].users
    after = tuple(f"after {users.marks * turn} marks" for turn in range(1, users.rounds + 1))
    return ("space", "before", *after, "without marks", "gain")


def feedback_rows(curves: Sequence[FeedbackCurve]) -> tuple[tuple[str, ...], ...]:
    """A row a space: precision before and after each round, without marks at the end, and the share of what missed."""
    return tuple(
        (
            curve.space,
            *(f"{value:.3f}" for value in curve.marked),
            f"{curve.unmarked[-1]:.3f}",
            f"{curve.gain:.0%}"
            + (f" ({curve.gain_low:.0%} to {curve.gain_high:.0%})" if isfinite(curve.gain_low) else ""),
        )
        for curve in curves
    )


def _range(low: float, high: float) -> str:
    return f" ({low:.0%} to {high:.0%})" if isfinite(low) else ""


def chances_table(figures: ChanceFigures) -> Table:
    """Calibration error of each class of queries, of the classes of few pictures together, and of all."""

    def row(name: str, one: ClassChances) -> tuple[str, ...]:
        of_hits = "" if one.error_of_hits is None else f"{one.error_of_hits:.3f}"
        return name, f"{one.queries:,}", f"{one.error:.3f}", of_hits, "too few pictures to judge by" if one.few else ""

    rows = [row(one_line(name), one) for name, one in figures.per_class.items()]
    if figures.few is not None:
        rows.append((*row("classes of few pictures together", figures.few)[:4], ""))
    rows.append(("all", f"{figures.queries:,}", f"{figures.error:.3f}", f"{figures.error:.3f}", ""))
    return Table(("class", "queries", "calibration error", "of hits of the class", ""), tuple(rows))


def _micro(of_space: Standing, measure: str) -> str:
    interval = of_space.intervals.get(measure)
    ends = f" ({interval[0]:.3f}–{interval[1]:.3f})" if interval else ""
    return f"{of_space.micro[measure]:.3f}{ends}"


def _value_and_interval(space: SpaceResult, name: str) -> str:
    """A macro mean, and in brackets its interval."""
    value = f"{space.means(name).macro:.3f}"
    return value if space.intervals is None else f"{value} ({_ends(space.intervals.macro[name])})"


def _ends(ends: NDArray[np.float64]) -> str:
    return f"{ends[0]:.3f}–{ends[1]:.3f}"
