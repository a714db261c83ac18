"""Write a report's folder: the page, and the same as files."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.errors import EvaluationError
from retrieval.evaluation.result import SCHEMA, SCHEMA_FILE, Evaluation
from retrieval.report import files, page
from retrieval.report.contents import Contents
from retrieval.report.thumbnails import GONE, picture, picture_sheet, pictures_shown_by, thumbnails

if TYPE_CHECKING:
    from retrieval.collection import Collection
    from retrieval.evaluation.protocols import Protocol


class NotAReportError(EvaluationError):
    """A folder that a report is to be written into holds somebody's page."""


def write_report(result: Evaluation, made: Contents, opened: Collection, protocol: Protocol, folder: Path) -> Path:
    """Write index.html and, as files, the same for programs and papers; returns the page.

    They are evaluation.json with its schema, means.csv, queries.csv, tables.tex, qrels.txt and a run of each space.

    made: what it says. protocol: the one evaluated, for all images of the collection.
    """
    begin_report(folder)
    for name in _runs_before(folder):
        (folder / name).unlink(missing_ok=True)
    write_tables(result, folder)
    with (folder / "qrels.txt").open("w", encoding="utf-8") as lines:
        lines.writelines(files.trec_qrels(protocol, opened.images.ids, opened.images.labels))
    for space in result.spaces:
        with (folder / files.run_name(space.space)).open("w", encoding="utf-8") as lines:
            lines.writelines(files.trec_run(space))
    made = replace(made, sections=[*made.sections, ("files", "Files", _beside(result))])
    place = folder / "index.html"
    place.write_text(as_page(made, opened), "utf-8")
    return place


def write_tables(result: Evaluation, folder: Path) -> None:
    """Write evaluation.json with its schema, means.csv, queries.csv and tables.tex."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluation.json").write_text(json.dumps(result.to_dict(), indent=1, allow_nan=False), "utf-8")
    (folder / SCHEMA_FILE.name).write_bytes(SCHEMA_FILE.read_bytes())
    (folder / "means.csv").write_text(files.means_csv(result), "utf-8")
    (folder / "queries.csv").write_text(files.queries_csv(result), "utf-8")
    (folder / "tables.tex").write_text(files.latex(result), "utf-8")


def begin_report(folder: Path) -> None:
    """Make the folder where it is missing, so that a fault shows before an hour of measuring.

    Raises NotAReportError where it holds another page, OSError where it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, "this folder cannot be written", str(folder))
    if (folder / "index.html").exists() and _stored_before(folder) is None:
        raise NotAReportError(f"{folder} holds an index.html that is no report's; name another folder for the report")


def _stored_before(folder: Path) -> dict[str, Any] | None:
    """The evaluation of the report that a folder holds, or None where it holds none."""
    try:
        stored = json.loads((folder / "evaluation.json").read_text("utf-8"))
        return stored if stored["schema"] == SCHEMA else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _runs_before(folder: Path) -> list[str]:
    """The runs that an earlier report wrote: beside new qrels they would mislead."""
    stored = _stored_before(folder)
    return [files.run_name(space["space"]) for space in stored["spaces"]] if stored else []


def as_page(made: Contents, opened: Collection) -> str:
    """One self-contained HTML file; an image whose file is gone is said to have no picture."""
    shown = thumbnails(opened, made.images)

    def show(image: int) -> str:
        return picture(image) if image in shown else GONE

    sections = [(anchor, name, pictures_shown_by(show, html)) for anchor, name, html in made.sections]
    points = json.dumps({"points": made.points, "classes": made.classes}).replace("</", "<\\/")
    return page.page(made.title, made.head, sections, points, picture_sheet(shown))


def _beside(result: Evaluation) -> str:
    runs = ", ".join(files.run_name(space.space) for space in result.spaces)
    most = max(space.neighbours.shape[1] for space in result.spaces)
    said = (
        "Beside this page: evaluation.json with every query's figures, and evaluation.schema.json, which describes it; "
        "means.csv; queries.csv; tables.tex, for LaTeX with booktabs; qrels.txt and, for trec_eval, the first "
        f"{most} hits of each query: {runs}. trec_eval's map is therefore smaller than the mAP here, which is of "
        "whole lists."
    )
    return f"<p>{escape(said)}</p>"
