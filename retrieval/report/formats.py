"""An evaluation as files for programs and papers: CSV, LaTeX, and TREC's run and qrels."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.protocols import Protocol
from retrieval.evaluation.result import Evaluation
from retrieval.evaluation.space_result import SpaceResult
from retrieval.report.summary import overview_name
from retrieval.tables import csv_rows
from retrieval.terminal import one_line

_SPECIAL = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\^{}",
}


def means_csv(result: Evaluation) -> str:
    """One line a space, measure and mean: `space,measure,mean,value,low,high`; mean is micro, macro or a class."""
    rows: list[list[object]] = [["space", "measure", "mean", "value", "low", "high"]]
    for space in result.spaces:
        intervals = space.intervals
        for name in space.measures:
            means = space.means(name)
            rows.append([space.space, name, "micro", means.micro, *(intervals.micro[name] if intervals else ("", ""))])
            rows.append([space.space, name, "macro", means.macro, *(intervals.macro[name] if intervals else ("", ""))])
            for c, class_name in enumerate(space.class_names):
                ends = intervals.per_class[name][c] if intervals else ("", "")
                rows.append([space.space, name, class_name, means.per_class[c], *ends])
    return csv_rows(rows)


def queries_csv(result: Evaluation) -> str:
    """One line a space and query, with every measure."""
    names = list(result.spaces[0].measures)
    rows: list[list[object]] = [["space", "id", "file", "class", "cluster", "relevant", "elected", *names]]
    for space in result.spaces:
        values = np.column_stack([space.measures[name] for name in names])
        for row in range(len(space.ids)):
            voted = space.class_names[space.predicted[row]] if space.predicted[row] >= 0 else ""
            rows.append(
                [
                    space.space,
                    space.ids[row],
                    space.files[row],
                    space.class_names[space.labels[row]],
                    space.clusters[row],
                    space.relevant[row],
                    voted,
                    *["" if np.isnan(value) else value for value in values[row]],
                ]
            )
    return csv_rows(rows)


def latex(result: Evaluation) -> str:
    """Two booktabs tables: all spaces with intervals, and each class of the best space."""
    measures = result.overview_measures
    lines = [
        "% Needs \\usepackage{booktabs}. Means of the class means; 95 % bootstrap intervals over clusters.",
        _begin(len(measures) + 1),
        "\\toprule",
        " & ".join(["Space", *map(_tex, measures), "MCC"]) + r" \\",
        "\\midrule",
    ]
    for space in result.best_first():
        cells = [_with_interval(space, name) for name in measures]
        cells = [_tex(overview_name(space)), *cells, _number(float(space.overall_scores.MCC))]
        lines.append(" & ".join(cells) + r" \\")
    lines += ["\\bottomrule", "\\end{tabular}}", ""]
    best = result.best_first()[0]
    scores = best.class_scores
    lines += [
        f"% {best.space}: classification by the {best.vote_k} nearest",
        _begin(8),
        "\\toprule",
        r"Class & Queries & mAP & Recall & Precision & Specificity & Accuracy & F1 & MCC \\",
        "\\midrule",
    ]
    queries, ap = best.confusion.sum(axis=1), best.means("mAP").per_class
    for c in np.flatnonzero(queries):
        ratios = (ap, scores.recall, scores.precision, scores.specificity, scores.accuracy, scores.F1, scores.MCC)
        cells = [_number(ratio[c]) for ratio in ratios]
        lines.append(" & ".join([_tex(best.class_names[c]), str(queries[c]), *cells]) + r" \\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}}", ""])


def run_name(space: str) -> str:
    """The file of a space's run; the name of a fusion of many spaces is cut, and without the colon of its method."""
    space = space.replace(":", ",")  # which Windows refuses in a file name; no space has a comma
    if len(space) > 120:
        space = f"{space[:100]}-{hashlib.sha256(space.encode()).hexdigest()[:8]}"
    return f"{space}.run"


def trec_run(space: SpaceResult) -> Iterator[str]:
    """Lines `query Q0 image rank score tag` of the neighbours, nearest first; the score falls strictly with the rank.

    trec_eval orders by score alone, in single precision, and breaks ties by name. So the score is not the similarity
    but K + 1 - rank for K neighbours, a whole number that single precision has exactly up to K = 16,777,216.
    """
    tag = re.sub(r"\s+", "_", space.space) or "-"
    count = space.neighbours.shape[1]
    for row in np.flatnonzero(space.scored):
        for rank, image in enumerate(space.neighbours[row], 1):
            if image < 0:
                break
            yield f"{space.ids[row]} Q0 {image} {rank} {count + 1 - rank} {tag}\n"


def trec_qrels(protocol: Protocol, ids: NDArray[np.int64], labels: NDArray[np.integer]) -> Iterator[str]:
    """Lines `query 0 image 1` for everything relevant to each query of a protocol made for these images (n,)."""
    for part in protocol.rounds:
        gallery = part.gallery[np.argsort(ids[part.gallery])]
        for query in part.queries[labels[part.queries] >= 0]:
            relevant = (labels[gallery] == labels[query]) & (protocol.groups[gallery] != protocol.groups[query])
            for image in ids[gallery[relevant]]:
                yield f"{ids[query]} 0 {image} 1\n"


def _with_interval(space: SpaceResult, name: str) -> str:
    value = _number(space.means(name).macro)
    if space.intervals is None:
        return value
    low, high = space.intervals.macro[name]
    return rf"{value} {{\scriptsize [{_number(low)}, {_number(high)}]}}"


def _begin(numbers: int) -> str:
    """A table of a name and so many columns of numbers, narrow enough for a page."""
    return "{\\small\\setlength{\\tabcolsep}{4pt}\\begin{tabular}{l" + "r" * numbers + "}"


def _number(value: float) -> str:
    return "--" if np.isnan(value) else f"{value:.3f}"


def _tex(text: str) -> str:
    return "".join(_SPECIAL.get(sign, sign) for sign in one_line(text))
