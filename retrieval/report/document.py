"""A report as data: what it shows, without how that is laid out. Templates render it; the collection stores it as JSON.

Plots are SVG pictures as text, in the colours of the page (see `retrieval.report.drawing`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from retrieval.report.palette import CLASS_COLOURS
from retrieval.terminal import one_line

SCHEMA: Literal["kvasir-report/2"] = "kvasir-report/2"
"""Name and version of the JSON form. Version 1, which had no name, was HTML."""


@dataclass(frozen=True)
class Table:
    """A table of texts; the first column names the row."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ShownImage:
    """An image of the collection with a caption. mark: a query, or whether a hit has the query's class."""

    image: int
    caption: str
    mark: Literal["query", "right", "wrong"]


@dataclass(frozen=True)
class QueryRow:
    """A query and its first neighbours."""

    query: ShownImage
    neighbours: tuple[ShownImage, ...]


@dataclass(frozen=True)
class MapGroup:
    """The points of one class on a map: the SVG group with this id has one point an image, in this order."""

    id: str
    class_name: str
    images: tuple[int, ...]


@dataclass(frozen=True)
class Map:
    """The images of a space in two dimensions; see `retrieval.space_map` for its trustworthiness."""

    svg: str
    groups: tuple[MapGroup, ...]
    trustworthiness: float | None = None


@dataclass(frozen=True)
class Overview:
    """All spaces side by side.

    intervals, leave_one_out, leave_scene_out: whether the table has them. speed: of queries, where they were timed.
    standings: a plot, and summary and sentences of the comparison, where several spaces have the same queries;
    not_compared: why not.
    learning: by way of learning its settings next to those without it. transfer: pictures of other sources as queries.
    feedback, feedback_plot: precision after rounds of marks by simulated users.
    """

    table: Table
    intervals: bool
    leave_one_out: bool
    speed: Table | None = None
    speed_sentence: str = ""
    standings: str | None = None
    summary: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()
    not_compared: str | None = None
    leave_scene_out: bool = False
    learning: tuple[tuple[str, Table], ...] = ()
    transfer: Table | None = None
    feedback: Table | None = None
    feedback_plot: str = ""


@dataclass(frozen=True)
class SpaceFigures:
    """Tables, plots and galleries of one space.

    chances, reliability: calibration errors and their plot, where chances were calibrated.
    map: None where no vectors are stored: of a fusion, of a new ranking and of a space learned within each round.
    """

    vote_k: int
    intervals: bool
    classes: Table
    measures: Table
    over_k: str
    precision_recall: str
    per_class: str
    confusion: str
    flow: str
    map: Map | None
    best: tuple[QueryRow, ...]
    worst: tuple[QueryRow, ...]
    hubs: tuple[ShownImage, ...]
    label_errors: tuple[QueryRow, ...]
    chances: Table | None = None
    reliability: str = ""


@dataclass(frozen=True)
class SpaceSection:
    """One space. about: what was measured, in sentences. figures: None where no query has anything relevant."""

    anchor: str
    name: str
    about: tuple[str, ...]
    figures: SpaceFigures | None


@dataclass(frozen=True)
class Report:
    """A whole report. about: what holds for all spaces, in sentences. images: the ids of all that are shown."""

    title: str
    about: tuple[str, ...]
    overview: Overview
    spaces: tuple[SpaceSection, ...]
    images: tuple[int, ...]
    schema: Literal["kvasir-report/2"] = SCHEMA

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)


def map_points(spaces: Iterable[SpaceSection]) -> dict[str, Any]:
    """What the script of the maps needs of them: the image ids and the class's name by group of points."""
    maps = [space.figures.map for space in spaces if space.figures and space.figures.map]
    groups = [group for drawn in maps for group in drawn.groups]
    return {
        "points": {group.id: group.images for group in groups},
        "classes": {group.id: one_line(group.class_name) for group in groups},
        "colours": len(CLASS_COLOURS),
    }
