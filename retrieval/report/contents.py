"""What a report says, before it is a page: an overview, each space with its pictures and galleries, the measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.comparison import NotSameQueriesError
from retrieval.evaluation.result import Evaluation
from retrieval.evaluation.space_result import SpaceResult
from retrieval.evaluation.speed import speed_rows, speed_sentence
from retrieval.report import findings, page, plots
from retrieval.report.definitions import DEFINITIONS, NOTATION
from retrieval.report.embedding_map import map_of
from retrieval.report.findings import Finding
from retrieval.report.table import summary_lines
from retrieval.spaces import metric_of

if TYPE_CHECKING:
    from retrieval.collection import Collection

MAP_POINTS = 1500
"""Images on a map; of more, a seeded sample is drawn, since each brings its picture into the page."""
_SAMPLES = 300
"""Bootstrap samples of the bands over k, which are drawn no finer than that."""
_QUERIES, _HITS, _HUBS = 8, 6, 14


@dataclass(frozen=True)
class Contents:
    """What a report says, before it is a page.

    head is HTML; sections are (anchor, name, HTML), the overview, one for each space, and the measures' definitions,
    in which pictures of images stand as `picture` makes them; images: the ids of all that are shown. points and
    classes: the image ids and the class's name of each group of a map's points.
    """

    title: str
    head: str
    sections: list[tuple[str, str, str]]
    points: dict[str, list[int]]
    classes: dict[str, str]
    images: list[int]


def contents(result: Evaluation, opened: Collection, on_section: Callable[[int, int], None] | None = None) -> Contents:
    """Draw a report; on_section(done, all) is called as it goes."""
    labels = dict(zip(opened.images.ids.tolist(), opened.images.labels.tolist(), strict=True))
    sample = np.sort(np.random.default_rng(result.seed).permutation(opened.images.ids)[:MAP_POINTS])
    maps = _Maps(opened, labels, sample, result.seed)
    common = summary_lines(result.spaces[0])[1:]
    sections = [("overview", "Overview", _overview(result))]
    images = set(sample.tolist())
    for number, space in enumerate(result.best_first()):
        about = [line for line in summary_lines(space) if line not in common]
        gallery = _Galleries.of(space, labels)
        images.update(gallery.images())
        content = _lines(about) + _space(space, gallery, labels, maps.draw(space, number), result.seed)
        sections.append((f"space-{number}", space.space, content))
        if on_section is not None:
            on_section(number + 1, len(result.spaces))
    sections.append(("measures", "Measures", _definitions()))
    title = f"Retrieval in {result.collection}"
    return Contents(title, _lines(common), sections, maps.points, maps.classes, sorted(images))


@dataclass
class _Maps:
    """Draws maps, and collects what their points are: image ids and the class's name of each group of points."""

    opened: Collection
    labels: dict[int, int]
    sample: NDArray[np.int64]
    seed: int
    points: dict[str, list[int]] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)

    def draw(self, space: SpaceResult, number: int) -> str:
        """The map of a space; nothing for a fusion, which has no distance between any two images."""
        if space.fusion is not None:
            return ""
        ids, vectors = self.opened.vectors(space.space)
        rows = np.flatnonzero(np.isin(ids, self.sample))
        metric = metric_of(self.opened.manifest.space(space.space))
        places = map_of(vectors[rows], metric, self.seed)
        labels = np.array([self.labels[int(image)] for image in ids[rows]])
        for c in (-1, *range(len(space.class_names))):
            self.points[f"map-{number}-{c}"] = ids[rows][labels == c].tolist()
            self.classes[f"map-{number}-{c}"] = "unlabelled" if c < 0 else space.class_names[c]
        return plots.space_map(space, places, labels, str(number))


@dataclass(frozen=True)
class _Galleries:
    """The images of a space that are worth a look."""

    space: SpaceResult
    best: list[Finding]
    worst: list[Finding]
    doubtful: list[Finding]
    hubs: list[Finding]

    @staticmethod
    def of(space: SpaceResult, labels: dict[int, int]) -> _Galleries:
        return _Galleries(
            space,
            findings.best_queries(space, _QUERIES),
            findings.worst_queries(space, _QUERIES),
            findings.likely_label_errors(space, labels, _QUERIES),
            findings.hubs(space, labels, _HUBS),
        )

    def images(self) -> list[int]:
        """All that are shown, neighbours included."""
        row_of = {int(image): row for row, image in enumerate(self.space.ids)}
        queries = [one.image for one in (*self.best, *self.worst, *self.doubtful)]
        near = [int(image) for query in queries for image in self.space.neighbours[row_of[query], :_HITS]]
        return [image for image in (*queries, *near, *(one.image for one in self.hubs)) if image >= 0]


def _overview(result: Evaluation) -> str:
    content = page.overview_table(result)
    content += "<p>Means of the class means"
    if any(space.intervals for space in result.spaces):
        content += ", in brackets the 95 % interval by bootstrap over near-duplicate clusters"
    content += "."
    if result.leave_one_out:
        content += " The last column is by leave-one-out, which lets near duplicates help, with the gap."
    content += "</p>"
    if result.speeds:
        headings, *rows = speed_rows(result.speeds)
        content += f"<h3>Speed</h3>{page.table(headings, rows)}" + _lines([speed_sentence(result.speeds)])
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
    if comparison.summary() == comparison.sentences():
        return content
    said = "".join(f"<li>{escape(sentence)}</li>" for sentence in comparison.sentences())
    return content + f"<details><summary>Every pair</summary><ul>{said}</ul></details>"


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def _definitions() -> str:
    rows = [[name, meaning] for name, meaning in DEFINITIONS]
    return f'<p>{escape(NOTATION)}</p><div class="words">{page.table(["measure", "definition"], rows)}</div>'


def _space(
    space: SpaceResult,
    gallery: _Galleries,
    labels: dict[int, int],
    drawn_map: str,
    seed: int,
) -> str:
    if not space.scored.any():
        return "<p>No query has anything relevant to find by this protocol, so there is nothing to measure.</p>"
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
            "mAP and precision are of the ranking, the third bar is how often the vote finds the class"
            + ("; thin lines are 95 % intervals, wide where a class has few images." if space.intervals else "."),
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
            "space's own distance). Point at one to see it, or go from one to the next with the arrow keys.",
            drawn_map,
            "map",
        )
        if drawn_map
        else "<p>A fusion orders images by ranks and has no distance of its own, so there is no map of it.</p>",
        page.figure(
            "Best queries",
            "The query on the left, its nearest on the right: a tick under a picture of its class, a cross otherwise. "
            "Classes take turns.",
            page.query_rows(space, gallery.best, labels, _HITS),
            "gallery",
        ),
        page.figure(
            "Worst queries",
            "Read as above. Look for what the neighbours share with the query instead: an overlay, a border, a colour.",
            page.query_rows(space, gallery.worst, labels, _HITS),
            "gallery",
        ),
        page.figure(
            "Most often wrongly retrieved",
            f"Pictures most often among the first {findings.SHOWN} of queries of another class, with how often.",
            page.hub_row(space, gallery.hubs, labels),
            "gallery",
        ),
        page.figure(
            "Likely label errors",
            f"Queries whose {findings.SHOWN} nearest nearly all have one other class: the label is wrong, or the "
            "space sees something that the label does not say. Only a physician can tell.",
            page.query_rows(space, gallery.doubtful, labels, _HITS),
            "gallery",
        ),
    ]
    return "".join(parts)
