"""An evaluation and its collection -> a report as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retrieval.encoders.known import known_to
from retrieval.evaluation.comparison import NotSameQueriesError
from retrieval.evaluation.result import Evaluation
from retrieval.evaluation.space_result import SpaceResult
from retrieval.evaluation.speed import speed_rows, speed_sentence
from retrieval.report import examples, plots
from retrieval.report.document import Map, MapGroup, Overview, Report, SpaceFigures, SpaceSection, Table
from retrieval.report.galleries import hub_row, query_rows
from retrieval.report.summary import summary_lines
from retrieval.report.tables import (
    LEARNING,
    TRANSFER,
    chances_table,
    class_table,
    feedback_headings,
    feedback_rows,
    learning_rows,
    measures_table,
    overview_table,
    transfer_rows,
)
from retrieval.space_map.store import current_map

if TYPE_CHECKING:
    from retrieval.collection import Collection

MAP_POINTS = 1500
"""Images on a map; of more, a seeded sample is drawn, since each brings its picture into the page."""
_SAMPLES = 300
"""Bootstrap samples of the bands over k, which are drawn no finer than that."""
_QUERIES, _HUBS = 8, 14


def build_report(
    result: Evaluation, opened: Collection, on_section: Callable[[int, int], None] | None = None
) -> Report:
    """The report of an evaluation of a collection; on_section(done, all) is called after each space."""
    labels = dict(zip(opened.images.ids.tolist(), opened.images.labels.tolist(), strict=True))
    sample = np.sort(np.random.default_rng(result.seed).permutation(opened.images.ids)[:MAP_POINTS])
    best, *others = result.best_first()
    common = set(summary_lines(best)).intersection(*map(summary_lines, others))
    # What holds for every space as it is; of the rest, that of the best, by its name.
    about = [line if line in common else f"{best.space}: {line}" for line in summary_lines(best)[1:]]
    sections = []
    for number, space in enumerate(result.best_first()):
        sections.append(
            SpaceSection(
                anchor=f"space-{number}",
                name=space.space,
                about=(*(line for line in summary_lines(space) if line not in about), *_training(space, opened)),
                figures=_figures(space, opened, labels, sample, number, result.seed) if space.scored.any() else None,
            )
        )
        if on_section is not None:
            on_section(number + 1, len(result.spaces))
    return Report(
        title=f"Retrieval in {result.collection}",
        about=tuple(about),
        overview=_overview(result),
        spaces=tuple(sections),
        images=tuple(sorted({image for section in sections for image in _images(section.figures)})),
    )


def _training(space: SpaceResult, opened: Collection) -> list[str]:
    """What known encoders of a space were trained on, which figures on Kvasir must be read with."""
    names = space.fusion.spaces if space.fusion is not None else (space.space,)
    recipes = {definition.name: definition.recipe for definition in opened.spaces}
    known = {name: known_to(recipes[name]) for name in names if name in recipes}
    return [
        f"Encoder of {name}: {entry.title}, trained on {entry.trained_on} (licence: {entry.licence})"
        + (f"; it {entry.seen_note}." if entry.seen_note else ".")
        for name, entry in known.items()
        if entry is not None
    ]


def _overview(result: Evaluation) -> Overview:
    speed: Table | None = None
    sentence = ""
    if result.speeds:
        headings, *rows = speed_rows(result.speeds)
        speed, sentence = Table(tuple(headings), tuple(map(tuple, rows))), speed_sentence(result.speeds)
    standings: str | None = None
    summary: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()
    not_compared: str | None = None
    if len(result.spaces) > 1:
        try:
            comparison = result.comparison()
        except NotSameQueriesError as error:
            not_compared = str(error)
        else:
            standings = plots.standings(comparison)
            summary, sentences = tuple(comparison.summary()), tuple(comparison.sentences())
    return Overview(
        table=overview_table(result),
        intervals=any(space.intervals for space in result.spaces),
        leave_one_out=bool(result.leave_one_out),
        leave_scene_out=bool(result.leave_scene_out),
        speed=speed,
        speed_sentence=sentence,
        standings=standings,
        summary=summary,
        sentences=sentences,
        not_compared=not_compared,
        learning=tuple(
            (way, Table(LEARNING, tuple(learning_rows(figures)))) for way, figures in result.figures.items() if figures
        ),
        transfer=Table(TRANSFER, tuple(transfer_rows(result.transfer))) if result.transfer else None,
        feedback=Table(feedback_headings(result.feedback), feedback_rows(result.feedback)) if result.feedback else None,
        feedback_plot=plots.feedback(result.feedback) if result.feedback else "",
    )


def _figures(
    space: SpaceResult,
    opened: Collection,
    labels: Mapping[int, int],
    sample: NDArray[np.int64],
    number: int,
    seed: int,
) -> SpaceFigures:
    stored = {definition.name for definition in opened.spaces}
    return SpaceFigures(
        vote_k=space.vote_k,
        intervals=space.intervals is not None,
        classes=class_table(space),
        measures=measures_table(space),
        over_k=plots.curves_over_k(space, labels, _SAMPLES, seed),
        precision_recall=plots.precision_recall(space),
        per_class=plots.per_class_bars(space),
        confusion=plots.confusion(space),
        flow=plots.flow(space, examples.neighbour_flow(space, labels)),
        map=_map(space, opened, labels, sample, number, seed) if space.space in stored else None,
        best=query_rows(space, examples.best_queries(space, _QUERIES), labels),
        worst=query_rows(space, examples.worst_queries(space, _QUERIES), labels),
        hubs=hub_row(space, examples.hubs(space, labels, _HUBS), labels),
        label_errors=query_rows(space, examples.likely_label_errors(space, labels, _QUERIES), labels),
        chances=None if space.chances is None else chances_table(space.chances),
        reliability="" if space.chances is None else plots.reliability(space.chances, space.space),
    )


def _map(
    space: SpaceResult,
    opened: Collection,
    labels: Mapping[int, int],
    sample: NDArray[np.int64],
    number: int,
    seed: int,
) -> Map:
    made = current_map(opened, space.space, seed)
    ids = made.ids
    rows = np.flatnonzero(np.isin(ids, sample))
    places = made.places[rows]
    classes = np.array([labels[int(image)] for image in ids[rows]])
    groups = tuple(
        MapGroup(
            id=f"map-{number}-{c}",
            class_name="unlabelled" if c < 0 else space.shown_names[c],
            images=tuple(ids[rows][classes == c].tolist()),
        )
        for c in (-1, *range(len(space.class_names)))
    )
    return Map(plots.space_map(space, places, classes, str(number)), groups, made.facts.trustworthiness)


def _images(figures: SpaceFigures | None) -> set[int]:
    """The ids of all images that are shown."""
    if figures is None:
        return set()
    rows = (*figures.best, *figures.worst, *figures.label_errors)
    shown = [*figures.hubs, *(row.query for row in rows), *(image for row in rows for image in row.neighbours)]
    groups = figures.map.groups if figures.map else ()
    return {image.image for image in shown} | {image for group in groups for image in group.images}
