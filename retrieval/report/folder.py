"""A report as a folder: the page, and files for programs and papers."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.disk import new_file
from retrieval.errors import EvaluationError
from retrieval.evaluation.result import SCHEMA, SCHEMA_FILE, Evaluation
from retrieval.report import formats
from retrieval.report.document import Report
from retrieval.report.render import Files, render_page

if TYPE_CHECKING:
    from retrieval.collection import Collection
    from retrieval.evaluation.protocols import Protocol


class NotAReportError(EvaluationError):
    """A folder for a report has a page that is not a report."""


def prepare_folder(folder: Path) -> None:
    """Make the folder of a report where it is missing, so that a fault shows before an hour of measuring.

    Raises NotAReportError where it has another page, OSError where it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, "this folder cannot be written", str(folder))
    if (folder / "index.html").exists() and _earlier_evaluation(folder) is None:
        raise NotAReportError(f"{folder} has an index.html that is not of a report; name another folder for the report")


def write_report(result: Evaluation, report: Report, opened: Collection, protocol: Protocol, folder: Path) -> Path:
    """Write index.html and, as files, the same for programs and papers; returns the path of the page.

    They are evaluation.json with its schema, means.csv, queries.csv, tables.tex, qrels.txt and a run of each space.
    protocol: the one evaluated, for all images of the collection. Raises NotAReportError, DiskFullError, OSError.
    """
    prepare_folder(folder)
    for name in _earlier_runs(folder):
        (folder / name).unlink(missing_ok=True)
    write_tables(result, folder)
    _write(folder / "qrels.txt", formats.trec_qrels(protocol, opened.images.ids, opened.images.labels))
    for space in result.spaces:
        _write(folder / formats.run_name(space.space), formats.trec_run(space))
    runs = [formats.run_name(space.space) for space in result.spaces]
    hits = max(space.neighbours.shape[1] for space in result.spaces)
    page = folder / "index.html"
    _write(page, [render_page(report, opened, Files(runs, hits))])
    return page


def write_tables(result: Evaluation, folder: Path) -> None:
    """Write evaluation.json with its schema, means.csv, queries.csv and tables.tex."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "evaluation.json", [json.dumps(result.to_dict(), indent=1, allow_nan=False)])
    _write(folder / SCHEMA_FILE.name, [SCHEMA_FILE.read_text("utf-8")])
    _write(folder / "means.csv", [formats.means_csv(result)])
    _write(folder / "queries.csv", [formats.queries_csv(result)])
    _write(folder / "tables.tex", [formats.latex(result)])


def _write(path: Path, lines: Iterable[str]) -> None:
    with new_file(path, sync=False) as stream:
        stream.writelines(line.encode() for line in lines)


def _earlier_evaluation(folder: Path) -> dict[str, Any] | None:
    """The evaluation of the report in a folder, or None."""
    try:
        stored = json.loads((folder / "evaluation.json").read_text("utf-8"))
        return stored if stored["schema"] == SCHEMA else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _earlier_runs(folder: Path) -> list[str]:
    """The runs of an earlier report in the folder, which do not fit the new qrels."""
    stored = _earlier_evaluation(folder)
    try:
        return [formats.run_name(space["space"]) for space in stored["spaces"]] if stored else []
    except (KeyError, TypeError, AttributeError):
        return []
