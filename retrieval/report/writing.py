"""Write a report's folder: the page, and the same as files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from retrieval.evaluation.comparison import NotSameQueriesError
from retrieval.evaluation.result import Evaluation, SpaceResult
from retrieval.index import metric_named
from retrieval.report import files, findings, page, plots
from retrieval.report.embedding_map import map_of
from retrieval.report.table import summary_lines
from retrieval.report.thumbnails import thumbnails

if TYPE_CHECKING:
    from retrieval.collection import Collection
    from retrieval.evaluation.protocols import Protocol

MAP_POINTS = 1500
"""Images on a map; of more, a seeded sample is drawn, since each brings its picture into the page."""
_SAMPLES = 300
"""Bootstrap samples of the bands over k, which are drawn no finer than that."""
_QUERIES, _HITS, _HUBS = 8, 6, 14


def write_report(result: Evaluation, opened: Collection, protocol: Protocol, folder: Path) -> Path:
    """Write index.html, evaluation.json, means.csv, queries.csv, tables.tex, qrels.txt and SPACE.run; returns the page.

    protocol: the one evaluated, for all images of the collection.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluation.json").write_text(json.dumps(result.to_dict(), indent=1, allow_nan=False), "utf-8")
    (folder / "means.csv").write_text(files.means_csv(result), "utf-8")
    (folder / "queries.csv").write_text(files.queries_csv(result), "utf-8")
    (folder / "tables.tex").write_text(files.latex(result), "utf-8")
    with (folder / "qrels.txt").open("w", encoding="utf-8") as lines:
        lines.writelines(files.trec_qrels(protocol, opened.images.ids, opened.images.labels))
    for space in result.spaces:
        with (folder / f"{space.space}.run").open("w", encoding="utf-8") as lines:
            lines.writelines(files.trec_run(space))
    place = folder / "index.html"
    place.write_text(_page(result, opened), "utf-8")
    return place


def _page(result: Evaluation, opened: Collection) -> str:
    labels = dict(zip(opened.images.ids.tolist(), opened.images.labels.tolist(), strict=True))
    sample = np.sort(np.random.default_rng(result.seed).permutation(opened.images.ids)[:MAP_POINTS])
    pictures = thumbnails(opened, sample.tolist())
    points: dict[str, list[int]] = {}
    names: dict[str, str] = {}
    common = summary_lines(result.spaces[0])[1:]
    sections = [("overview", "Overview", _overview(result))]
    for number, space in enumerate(result.ranked()):
        ids, vectors = opened.vectors(space.space)
        rows = np.flatnonzero(np.isin(ids, sample))
        places = map_of(vectors[rows], metric_named(space.metric), result.seed)
        its_labels = np.array([labels[int(image)] for image in ids[rows]])
        for c in (-1, *range(len(space.class_names))):
            points[f"map-{number}-{c}"] = ids[rows][its_labels == c].tolist()
            names[f"map-{number}-{c}"] = "unlabelled" if c < 0 else space.class_names[c]
        drawn = plots.space_map(space, places, its_labels, str(number))
        about = [line for line in summary_lines(space) if line not in common]
        content = _lines(about) + _space(space, opened, labels, drawn, result.seed)
        sections.append((f"space-{number}", space.space, content))
    head = _lines(common)
    shown = {"points": points, "classes": names, "thumbnails": pictures}
    return page.page(f"Retrieval in {result.collection}", head, sections, json.dumps(shown).replace("</", "<\\/"))


def _overview(result: Evaluation) -> str:
    content = page.overview_table(result)
    content += (
        "<p>Means of the class means, in brackets the 95 % interval by bootstrap over near-duplicate clusters.</p>"
    )
    content += _lines(result.gap_sentences())
    content += _lines([f"Speed of {one.space}: {one.sentence()}." for one in result.speeds])
    if len(result.spaces) < 2:
        return content
    try:
        comparison = result.comparison()
    except NotSameQueriesError as error:
        return content + f"<p>Not compared: {escape(str(error))}.</p>"
    content += page.figure(
        "All spaces",
        "Each dot is a space's mAP, each bar its 95 % interval. Whether two spaces differ is not read from overlapping "
        "bars but from the sentences below, which compare them query by query.",
        plots.standings(comparison),
    )
    content += "".join(f"<p>{escape(sentence)}</p>" for sentence in comparison.summary())
    said = "".join(f"<li>{escape(sentence)}</li>" for sentence in comparison.sentences())
    return content + f"<details><summary>Every pair</summary><ul>{said}</ul></details>"


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def _space(space: SpaceResult, opened: Collection, labels: dict[int, int], drawn_map: str, seed: int) -> str:
    best = findings.best_queries(space, _QUERIES)
    worst = findings.worst_queries(space, _QUERIES)
    doubtful = findings.likely_label_errors(space, labels, _QUERIES)
    hubs = findings.hubs(space, labels, _HUBS)
    row_of = {int(image): row for row, image in enumerate(space.ids)}
    wanted = [one.image for one in (*best, *worst, *doubtful, *hubs)]
    wanted += [
        int(image)
        for one in (*best, *worst, *doubtful)
        for image in space.neighbours[row_of[one.image], :_HITS]
        if image >= 0
    ]
    shown = thumbnails(opened, wanted)
    parts = [
        page.class_table(space),
        f"<details><summary>All measures</summary>{page.measures_table(space)}</details>",
        page.figure(
            "Precision and recall over k",
            "How pure the first k hits are, and how much of the class they hold; a dotted ceiling is what a perfect "
            "ranking would reach. Bands are 95 % intervals. Where the two lines part, small classes fare differently.",
            plots.curves_over_k(space, labels, _SAMPLES, seed),
        ),
        page.figure(
            "Precision over recall",
            "How pure the list still is once a share of the class has been found; a line that stays high to the right "
            "has its whole class in front.",
            plots.precision_recall(space),
        ),
        page.figure(
            "Classes side by side",
            "mAP and precision are of the ranking, the third bar is how often the vote finds the class; thin lines are "
            "95 % intervals, wide where a class has few images.",
            plots.per_class_bars(space),
        ),
        page.figure(
            "Confusion",
            f"Row: what a query is; column: what its {space.vote_k} nearest elect, each by its similarity. A stronger "
            "colour is a larger share of the row; blue is right, orange is wrong.",
            plots.confusion(space),
        ),
        page.figure(
            "Whose neighbours are whose",
            f"From each class of queries on the left, ribbons go to the classes of their first {findings.SHOWN} "
            "neighbours; the percentage is what stays in the class. A class that is taller on the right than on the "
            "left attracts the others' queries.",
            plots.flow(space, findings.neighbour_flow(space, labels)),
        ),
        page.figure(
            "Map",
            "Images that are near in this space are drawn near, as far as two dimensions can (landmark scaling by the "
            "space's own distance). Point at one to see it.",
            f'<div class="map">{drawn_map}</div>',
        ),
        page.figure(
            "Best queries",
            "The query on the left, its nearest on the right: a tick under a picture of its class, a cross otherwise. "
            "Classes take turns.",
            page.query_rows(space, best, labels, shown, _HITS),
        ),
        page.figure(
            "Worst queries",
            "Read as above. Look for what the neighbours share with the query instead: an overlay, a border, a colour.",
            page.query_rows(space, worst, labels, shown, _HITS),
        ),
        page.figure(
            "Most often wrongly retrieved",
            f"Pictures most often among the first {findings.SHOWN} of queries of another class, with how often.",
            page.hub_row(space, hubs, labels, shown),
        ),
        page.figure(
            "Likely label errors",
            f"Queries whose {findings.SHOWN} nearest nearly all have one other class: the label is wrong, or the "
            "space sees something that the label does not say. Only a physician can tell.",
            page.query_rows(space, doubtful, labels, shown, _HITS),
        ),
    ]
    return "".join(parts)
