"""The plots of a report: matplotlib draws, the page's style sheet colours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.bootstrap import interval, resampled_means
from retrieval.evaluation.chances import ChanceFigures
from retrieval.evaluation.comparison import Comparison
from retrieval.evaluation.feedback import FeedbackCurve
from retrieval.evaluation.measures import NEIGHBOURS, RECALL_LEVELS
from retrieval.evaluation.space_result import SpaceResult
from retrieval.report.drawing import ACCENT, FAINT, INK, new_figure, styled, svg
from retrieval.report.palette import CLASS_COLOURS, class_colour, class_mark

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINES = ("-", "--", "-.", ":")
"""Tell classes apart that share a colour."""
LABEL_WIDTH = 32
"""Characters of a line of a space's name, and all of a class's name."""
WIDTH = 5.2
"""Inches of a plot: narrow, so that its words can be read on a phone, whose screen is as wide."""


@styled
def curves_over_k(result: SpaceResult, labels: Mapping[int, int], samples: int, seed: int) -> str:
    """Precision and recall over k, means over queries and of class means, with bands."""
    scored = result.scored
    near = result.neighbours[scored]
    classes = np.vectorize(lambda image: labels.get(int(image), -1), otypes=[np.int64])(near)
    hits = np.cumsum(classes == result.labels[scored][:, None], axis=1)[:, :NEIGHBOURS]
    ks = np.arange(1, hits.shape[1] + 1)
    relevant = result.relevant[scored][:, None]
    figure, (left, right) = new_figure(WIDTH, 3.2, 1, 2)
    for axes, values, title in (
        (left, hits / ks, "precision@k"),
        (right, hits / relevant, "recall@k"),
    ):
        _band(axes, ks, values, result, samples, seed)
        axes.set_title(title)
        axes.set_xlabel("k")
    ceiling = np.minimum(ks, relevant) / relevant
    labels_scored = result.labels[scored]
    of_classes = np.array([ceiling[labels_scored == c].mean(axis=0) for c in np.unique(labels_scored)]).mean(axis=0)
    right.plot(ks, ceiling.mean(axis=0), color=class_colour(0), linestyle=":", label="ceiling over queries")
    right.plot(ks, of_classes, color=class_colour(3), linestyle=":", label="ceiling of class means")
    left.set_ylim(0, 1.02)
    right.set_ylim(0, None)
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return svg(figure, f"over-k {result.space}")


@styled
def precision_recall(result: SpaceResult) -> str:
    """Interpolated precision over recall: each class, and the mean of the classes."""
    figure, axes = new_figure(WIDTH, 3.2 + 0.1 * len(result.class_names))
    means = []
    for c, name in enumerate(class_labels(result)):
        rows = (result.labels == c) & result.scored
        if rows.any():
            means.append(result.curve[rows].mean(axis=0))
            line = _LINES[c // len(CLASS_COLOURS) % len(_LINES)]
            axes.plot(RECALL_LEVELS, means[-1], line, color=class_colour(c), linewidth=1.2, label=name)
    axes.plot(RECALL_LEVELS, np.mean(means, axis=0), color=INK, linewidth=2.4, label="mean of classes")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    figure.legend(loc="outside lower center", ncols=2)
    return svg(figure, f"pr {result.space}")


@styled
def reliability(figures: ChanceFigures, name: str) -> str:
    """The share of hits that are right over their mean chance, in bins whose areas are their numbers of hits."""
    figure, axes = new_figure(WIDTH, 4.2)
    chances, right = ([getattr(one, field) for one in figures.reliability] for field in ("chance", "right"))
    hits = np.array([one.hits for one in figures.reliability])
    axes.plot([0, 1], [0, 1], ":", color=FAINT, linewidth=1.2)
    axes.plot(chances, right, color=class_colour(0), linewidth=1.2)
    axes.scatter(chances, right, s=8 + 160 * hits / hits.max(), color=class_colour(0))
    axes.set(xlabel="chance of a hit", ylabel="share of hits that are right", xlim=(0, 1.02), ylim=(0, 1.04))
    return svg(figure, f"reliability {name}")


@styled
def feedback(curves: Sequence[FeedbackCurve]) -> str:
    """Precision on images not shown yet over the marks given: solid with the marks, dotted without them."""
    figure, axes = new_figure(WIDTH, 3.0 + 0.2 * len(curves))
    for at, curve in enumerate(curves):
        marks = np.arange(len(curve.marked)) * curve.users.marks
        line = _LINES[at // len(CLASS_COLOURS) % 3]
        axes.plot(
            marks, curve.marked, line, marker="o", markersize=4, color=class_colour(at), label=wrapped(curve.space)
        )
        axes.plot(marks, curve.unmarked, ":", color=class_colour(at), linewidth=1.2)
    axes.set(xlabel="marks", ylabel=f"precision@{curves[0].users.shown}, not shown yet", ylim=(0, 1.02))
    axes.set_xticks(marks)
    figure.legend(loc="outside lower center")
    return svg(figure, "feedback")


@styled
def confusion(result: SpaceResult) -> str:
    """Counts of true by voted class, shaded by the row's share; a last column for queries without a vote."""
    table = result.confusion
    rows = np.flatnonzero(table.sum(axis=1))
    columns = np.union1d(rows, np.flatnonzero(table.sum(axis=0)))
    names = [*class_labels(result), "none"]
    figure, axes = new_figure(2.2 + 0.42 * len(columns), 1.8 + 0.42 * len(rows))
    for i, c in enumerate(rows):
        for j, d in enumerate(columns):
            # Opacity instead of a colour scale: on any paper a small share is near the paper's colour.
            share = table[c, d] / table[c].sum()
            axes.add_patch(_square(j, i, class_colour(0) if c == d else class_colour(3), share))
            if table[c, d]:
                axes.text(j + 0.5, i + 0.5, f"{table[c, d]:,}", ha="center", va="center", fontsize=8, color=INK)
    axes.set(xlim=(0, len(columns)), ylim=(len(rows), 0), aspect="equal", xlabel="elected class", ylabel="true class")
    axes.set_xticks(np.arange(len(columns)) + 0.5, [names[d] for d in columns], rotation=40, ha="right")
    axes.set_yticks(np.arange(len(rows)) + 0.5, [names[c] for c in rows])
    axes.tick_params(length=0)
    axes.grid(False)
    return svg(figure, f"confusion {result.space}")


@styled
def per_class_bars(result: SpaceResult) -> str:
    """mAP, precision@10 (or the largest k) and recall of the vote, per class, with intervals."""
    k = result.class_k
    present = np.flatnonzero(result.confusion.sum(axis=1))
    intervals = result.intervals
    vote = intervals.class_scores["recall"] if intervals else None
    bars = (
        ("mAP", result.means("mAP").per_class, intervals.per_class["mAP"] if intervals else None, class_colour(0)),
        (
            f"precision@{k}",
            result.means(f"precision@{k}").per_class,
            intervals.per_class[f"precision@{k}"] if intervals else None,
            class_colour(1),
        ),
        (
            "recall of the vote",
            result.class_scores.recall,
            vote,
            class_colour(2),
        ),
    )
    figure, axes = new_figure(WIDTH, 1.1 + 0.48 * len(present))
    names = class_labels(result)
    places = np.arange(len(present))[::-1]
    for at, (name, values, ends, colour) in enumerate(bars):
        y = places + 0.27 * (1 - at)
        axes.barh(y, values[present], 0.25, color=colour, label=name)
        if ends is not None:
            axes.hlines(y, ends[present, 0], ends[present, 1], color=INK, linewidth=1)
    axes.set_yticks(places, [names[c] for c in present])
    axes.set_xlim(0, 1.02)
    figure.legend(loc="outside lower center", ncols=3)
    return svg(figure, f"bars {result.space}")


@styled
def flow(result: SpaceResult, shares: NDArray[np.float64]) -> str:
    """Ribbons from query classes to the classes of their first ten neighbours, as wide as the share."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    present = np.flatnonzero(result.confusion.sum(axis=1)).tolist()
    names = class_labels(result)
    room = 0.07 * max(len(names[c]) for c in present)  # inches on each side
    figure, axes = new_figure(max(WIDTH, 2.4 + 2 * room), 0.6 + 0.5 * len(present))
    gap = 0.25
    right_height = shares[present].sum(axis=0)
    left_at = {c: -(1 + gap) * i for i, c in enumerate(present)}
    total = (1 + gap) * len(present) - gap
    right_gap = max((total - right_height[present].sum()) / max(len(present) - 1, 1), 0)
    right_at, top = {}, 0.0
    for d in present:
        right_at[d] = top
        top -= right_height[d] + right_gap
    right_start = dict(right_at)
    for c in present:
        y0 = left_at[c]
        for d in present:
            width = shares[c, d]
            if width > 0:
                y1 = right_at[d]
                corners = [(0, y0), (0.5, y0), (0.5, y1), (1, y1), (1, y1 - width)]
                corners += [(0.5, y1 - width), (0.5, y0 - width), (0, y0 - width), (0, y0)]
                codes = [1, 4, 4, 4, 2, 4, 4, 4, 79]
                axes.add_patch(
                    PathPatch(
                        Path(corners, codes), facecolor=class_colour(c), alpha=0.85 if c == d else 0.45, linewidth=0
                    )
                )
            y0 -= width
            right_at[d] -= width
        axes.text(-0.02, left_at[c] - 0.5, names[c], ha="right", va="center", color=INK)
        middle = right_start[c] - right_height[c] / 2
        axes.text(1.02, middle, f"{names[c]}  {shares[c, c]:.0%}", ha="left", va="center", color=INK)
    ribbon = figure.get_figwidth() - 2 * room - 0.5  # and as much for the percentage
    axes.set(xlim=(-room / ribbon, 1 + (room + 0.5) / ribbon), ylim=(-total - 0.1, 0.1))
    axes.axis("off")
    return svg(figure, f"flow {result.space}")


@styled
def space_map(result: SpaceResult, places: NDArray[np.floating], labels: NDArray[np.integer], key: str) -> str:
    """Every image as a point; those of class c lie in a group with the id `map-KEY-C`, in the order given."""
    figure, axes = new_figure(WIDTH, 4.2 + 0.1 * len(result.class_names))
    names = class_labels(result)
    for c in (-1, *range(len(result.class_names))):
        rows = labels == c
        if rows.any():
            name = "unlabelled" if c < 0 else names[c]
            points = axes.scatter(
                places[rows, 0],
                places[rows, 1],
                s=14,
                marker="o" if c < 0 else class_mark(c),
                color=FAINT if c < 0 else class_colour(c),
                alpha=0.75,
                linewidths=0,
                label=name,
            )
            points.set_gid(f"map-{key}-{c}")
    axes.set_aspect("equal", "datalim")
    axes.axis("off")
    figure.legend(loc="outside lower center", ncols=2)
    return svg(figure, f"map {result.space}")


@styled
def standings(comparison: Comparison) -> str:
    """Every space's mean with its interval, best on top."""
    names = [wrapped(standing.name) for standing in reversed(comparison.standings)]
    row = max(0.32, 0.16 * max((name.count("\n") + 1 for name in names), default=1))
    figure, axes = new_figure(WIDTH, 0.8 + row * len(names))
    for y, standing in enumerate(reversed(comparison.standings)):
        axes.hlines(y, standing.low, standing.high, color=ACCENT, linewidth=3, alpha=0.5)
        axes.plot(standing.mean, y, "o", color=ACCENT)
        axes.annotate(
            f"{standing.mean:.3f}", (standing.mean, y), (0, 6), textcoords="offset points", ha="center", color=INK
        )
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(comparison.standings) - 0.2)
    axes.set_xlabel(f"{comparison.measure}, mean of the class means")
    return svg(figure, "standings")


def wrapped(name: str) -> str:
    """The name of a space or fusion in lines that end after a +, so that a long one leaves room for the axes."""
    lines = [""]
    for summand in re.findall(r"[^+]*\+|[^+]+", name):
        if lines[-1] and len(lines[-1] + summand) > LABEL_WIDTH:
            lines.append("")
        lines[-1] += summand
    return "\n".join(lines)


def _band(
    axes: Axes, ks: NDArray[Any], values: NDArray[np.float64], result: SpaceResult, samples: int, seed: int
) -> None:
    labels, clusters = result.labels[result.scored], result.clusters[result.scored]
    drawn = resampled_means(values, labels, clusters, len(result.class_names), samples, seed) if samples else None
    means = np.array([values[labels == c].mean(axis=0) for c in np.unique(labels)])
    for name, mean, colour, resampled in (
        ("over queries", values.mean(axis=0), class_colour(0), drawn.micro if drawn else None),
        ("of class means", means.mean(axis=0), class_colour(3), drawn.macro if drawn else None),
    ):
        axes.plot(ks, mean, color=colour, label=name)
        if resampled is not None:
            ends = interval(resampled)
            axes.fill_between(ks, ends[:, 0], ends[:, 1], color=colour, alpha=0.2, linewidth=0)


def class_labels(result: SpaceResult) -> list[str]:
    """The names of the classes; a long one without its middle, since grades stand at the end."""
    tail = LABEL_WIDTH // 3
    return [n if len(n) <= LABEL_WIDTH else f"{n[: LABEL_WIDTH - tail - 1]}…{n[-tail:]}" for n in result.shown_names]


def _square(x: int, y: int, colour: str, share: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), 1, 1, facecolor=colour, alpha=0.75 * float(share), edgecolor=FAINT, linewidth=0.4)
