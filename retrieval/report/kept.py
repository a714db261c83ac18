"""Evaluations that the collection keeps for the site: figures, the report's parts, files for papers and programs."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from retrieval.collection import Collection
from retrieval.errors import EvaluationError

if TYPE_CHECKING:
    from retrieval.evaluation import Evaluation
    from retrieval.report.contents import Contents

FOLDER = "evaluations"
KEPT = 5
"""Evaluations that are kept of those made on the site, and of those made by a command; older ones make room."""
FILES = {
    "evaluation.json": "application/json",
    "evaluation.schema.json": "application/json",
    "means.csv": "text/csv",
    "queries.csv": "text/csv",
    "tables.tex": "application/x-tex",
}
"""What may be downloaded, with its media type."""
_FACTS, _RESULT, _REPORT = "facts.json", "result.json", "report.json"


class NotEvaluatedError(EvaluationError):
    """The collection has not been evaluated, or not so."""


@dataclass(frozen=True)
class KeptEvaluation:
    """What was asked, when and where. images: tells images, classes and clusters apart from those of another time."""

    id: str
    created: str
    request: dict[str, Any]
    images: str = ""
    made_by: Literal["site", "command"] = "site"

    @staticmethod
    def now(request: dict[str, Any]) -> KeptEvaluation:
        """One that a command makes now, under a new id."""
        created = datetime.now(UTC).isoformat(timespec="milliseconds")
        return KeptEvaluation(secrets.token_hex(8), created, request, made_by="command")


def keep_evaluation(opened: Collection, made: KeptEvaluation, result: Evaluation, report: Contents) -> None:
    """Write an evaluation into the collection's folder, whole or not at all; the oldest ones make room.

    Whoever may use the site can start evaluations there, so those push out none that a command made.
    """
    from retrieval.report.writing import write_tables

    folder = opened.path / FOLDER
    unfinished = folder / f"{made.id}.new"
    facts = asdict(made) | {"images": state_of(opened)}
    try:
        write_tables(result, unfinished)
        for name, value in (
            (_RESULT, result.to_dict(per_query=False)),
            (_REPORT, asdict(report)),
            (_FACTS, facts),
        ):
            (unfinished / name).write_text(json.dumps(value, allow_nan=False), "utf-8")
        unfinished.rename(folder / made.id)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    for old in [one for one in kept_evaluations(opened.path) if one.made_by == made.made_by][KEPT:]:
        shutil.rmtree(folder / old.id, ignore_errors=True)


def kept_evaluations(collection: Path) -> list[KeptEvaluation]:
    """What is kept, the newest first."""
    return sorted(_facts(collection / FOLDER), key=lambda one: one.created, reverse=True)


def is_kept(opened: Collection, request: dict[str, Any]) -> bool:
    """Whether this was evaluated, and the collection has not changed since."""
    now = state_of(opened)
    return any((one.images, one.request) == (now, request) for one in kept_evaluations(opened.path))


def kept_evaluation(collection: Path, evaluation_id: str | None = None) -> KeptEvaluation:
    """One by its id, or the newest. Raises NotEvaluatedError."""
    kept = kept_evaluations(collection)
    if not kept:
        raise NotEvaluatedError(
            "this collection has not been evaluated; start it on the page Evaluation, or by `kvasir evaluate --keep`"
        )
    found = next((one for one in kept if evaluation_id in (None, one.id)), None)
    if found is None:
        raise NotEvaluatedError(f"no evaluation '{str(evaluation_id)[:64]}' is kept any more; the newest are")
    return found


def result_of(collection: Path, one: KeptEvaluation) -> dict[str, Any]:
    """The figures, without those of single queries."""
    result: dict[str, Any] = json.loads((collection / FOLDER / one.id / _RESULT).read_text("utf-8"))
    return result


def report_of(collection: Path, one: KeptEvaluation) -> Contents:
    """The report's parts."""
    from retrieval.report.contents import Contents

    return Contents(**json.loads((collection / FOLDER / one.id / _REPORT).read_text("utf-8")))


def file_of(collection: Path, one: KeptEvaluation, name: str) -> Path:
    """The place of one of FILES."""
    return collection / FOLDER / one.id / name


def state_of(opened: Collection) -> str:
    """Changes when images come, go, or get another class or cluster."""
    held = opened.images
    digest = hashlib.sha256()
    for part in (held.ids, held.labels, held.clusters):
        digest.update(part.tobytes())
    return digest.hexdigest()[:16]


def _facts(folder: Path) -> Iterator[KeptEvaluation]:
    for place in folder.glob(f"*/{_FACTS}"):
        if place.parent.suffix != ".new":
            yield KeptEvaluation(**json.loads(place.read_text("utf-8")))
