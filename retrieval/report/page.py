"""The report as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.result import Evaluation
from retrieval.evaluation.space_result import SpaceResult
from retrieval.report.findings import SHOWN, Finding
from retrieval.report.thumbnails import picture


def page(title: str, head: str, sections: Sequence[tuple[str, str, str]], points: str, sheet: str) -> str:
    """The whole page.

    head, sections (anchor, name, HTML), the maps' points as a JavaScript object, and the sheet of small pictures.
    """
    folder = files("retrieval.report")
    style = (folder / "page.css").read_text("utf-8")
    script = (folder / "page.js").read_text("utf-8")
    menu = "".join(f'<a href="#{anchor}">{escape(name)}</a>' for anchor, name, _ in sections)
    body = "".join(
        f'<section id="{anchor}"><h2>{_breakable(name)}</h2>{content}</section>' for anchor, name, content in sections
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{style}</style></head><body>{sheet}<header><h1>{escape(title)}</h1>{head}</header>"
        f'<nav aria-label="Sections">{menu}</nav><main>{body}</main>'
        f"<footer>For research and teaching, not for diagnosis.</footer>"
        f"<script>const pictures = {points};\n{script}</script></body></html>\n"
    )


def figure(heading: str, how_to_read: str, content: str, kind: str = "plot") -> str:
    """A picture under its heading, with a sentence that says how to read it. kind: plot, map or gallery."""
    focus = "" if kind == "gallery" else ' tabindex="0"'  # what may scroll sideways is reached by the keyboard
    return (
        f'<figure class="{kind}"><h3>{escape(heading)}</h3><div{focus}>{content}</div>'
        f"<figcaption>{escape(how_to_read)}</figcaption></figure>"
    )


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column names the row."""
    head = "".join(f"<th>{escape(one)}</th>" for one in headings)
    body = "".join(
        f"<tr><th>{_breakable(first)}</th>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
        for first, *cells in rows
    )
    return f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _breakable(name: str) -> str:
    """A fusion's long name may break after a plus."""
    return escape(name).replace("+", "+<wbr>")


def overview_table(result: Evaluation) -> str:
    """All spaces and fusions, best first: macro means with intervals, and mAP by leave-one-out."""
    measures = result.overview_measures
    beside = result.leave_one_out_gaps()
    rows = []
    for space in result.best_first():
        overall = space.overall_scores
        cells = [value_and_interval(space, name) for name in measures]
        gap = ["{:.3f} ({:+.4f})".format(*beside[space.space])] if beside else []
        rows.append([space.space, *cells, f"{float(overall.accuracy):.3f}", f"{float(overall.MCC):.3f}", *gap])
    return table(["space", *measures, "accuracy", "MCC", *["mAP, leave-one-out"] * bool(beside)], rows)


def measures_table(space: SpaceResult) -> str:
    """Every measure of a space: micro and macro with intervals."""
    spans = space.intervals
    rows = []
    for name in space.measures:
        means = space.means(name)
        ends = [_ends(spans.micro[name]), _ends(spans.macro[name])] if spans else ["", ""]
        rows.append([name, f"{means.micro:.4f}", ends[0], f"{means.macro:.4f}", ends[1]])
    return table(["measure", "mean over queries", "interval", "mean of class means", "interval"], rows)


def class_table(space: SpaceResult) -> str:
    """Each class as queries, and its class by a vote, one against the rest; the last row is over all."""
    scores, overall, ap = space.class_scores, space.overall_scores, space.means("mAP")
    queries = space.confusion.sum(axis=1)
    rows = [
        [
            name,
            f"{queries[c]:,}",
            f"{ap.per_class[c]:.3f}",
            *[f"{count[c]:,.0f}" for count in (scores.TP, scores.TN, scores.FP, scores.FN)],
            *[
                f"{ratio[c]:.3f}"
                for ratio in (
                    scores.recall,
                    scores.precision,
                    scores.specificity,
                    scores.accuracy,
                    scores.F1,
                    scores.MCC,
                )
            ],
        ]
        for c, name in enumerate(space.class_names)
        if queries[c]
    ]
    whole = (
        overall.macro_recall,
        overall.macro_precision,
        overall.macro_specificity,
        overall.accuracy,
        overall.macro_F1,
        overall.MCC,
    )
    rows.append(
        ["all", f"{queries.sum():,}", f"{ap.macro:.3f}", "", "", "", "", *[f"{float(one):.3f}" for one in whole]]
    )
    headings = ["class", "queries", "mAP", "TP", "TN", "FP", "FN", "recall", "precision", "specificity", "accuracy"]
    return table([*headings, "F1", "MCC"], rows)


def value_and_interval(space: SpaceResult, name: str) -> str:
    """A macro mean, and in brackets its interval."""
    value = f"{space.means(name).macro:.3f}"
    return value if space.intervals is None else f"{value} ({_ends(space.intervals.macro[name])})"


def query_rows(space: SpaceResult, findings: Sequence[Finding], labels: dict[int, int], neighbours: int) -> str:
    """A gallery: each query and its first neighbours, framed by whether they have its class."""
    row_of = {int(image): row for row, image in enumerate(space.ids)}
    lines = []
    for one in findings:
        row = row_of[one.image]
        label = int(space.labels[row])
        name = space.class_names[label]
        suspected = f", rather {space.class_names[one.suspected]}?" if one.suspected >= 0 else ""
        near = [int(image) for image in space.neighbours[row, :neighbours] if image >= 0]
        cells = "".join(
            _thumb(image, _class(space, labels, image), "right" if labels.get(image) == label else "wrong")
            for image in near
        )
        text = f"{name}{suspected} (AP {space.measures['mAP'][row]:.3f})"
        lines.append(f'<div class="row">{_thumb(one.image, text, "query")}<div class="hits">{cells}</div></div>')
    return "".join(lines) or "<p>None.</p>"


def hub_row(space: SpaceResult, findings: Sequence[Finding], labels: dict[int, int]) -> str:
    """Images with how often they came up for a query of another class."""
    cells = "".join(
        _thumb(one.image, f"{_class(space, labels, one.image)}, {one.strength:.0f} times", "wrong") for one in findings
    )
    return (
        f'<div class="hits">{cells}</div>' if cells else f"<p>No image of another class is among the first {SHOWN}.</p>"
    )


def _thumb(image: int, text: str, kind: str) -> str:
    mark = {"right": "✓ ", "wrong": "✗ "}.get(kind, "")
    return f'<div class="thumb {kind}" title="image {image}">{picture(image)}<small>{mark}{escape(text)}</small></div>'


def _class(space: SpaceResult, labels: dict[int, int], image: int) -> str:
    label = labels.get(image, -1)
    return space.class_names[label] if label >= 0 else "unlabelled"


def _ends(ends: NDArray[np.float64]) -> str:
    return f"{ends[0]:.3f}–{ends[1]:.3f}"
