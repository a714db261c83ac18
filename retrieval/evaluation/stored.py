"""Reading back what `kvasir evaluate --json` wrote, as far as a comparison needs it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.errors import QueryError
from retrieval.evaluation.comparison import Contender
from retrieval.evaluation.result import SCHEMA


class StoredEvaluationError(QueryError):
    """A file is not an evaluation with every query's figures, or lacks what is asked of it."""


def contenders_of(path: Path, measure: str, spaces: Sequence[str] = ()) -> list[tuple[Contender, Path]]:
    """The spaces of a stored evaluation, all or those named, with one measure of the queries that count.

    Queries are ordered by file, so that collections with other image ids compare. Raises StoredEvaluationError.
    """
    try:
        stored = json.loads(path.read_text("utf-8"))
        schema = stored.get("schema")
    except (OSError, ValueError, AttributeError) as error:
        raise StoredEvaluationError(
            f"{path} is not an evaluation ({error}); make one: kvasir evaluate --json"
        ) from error
    if schema != SCHEMA:
        raise StoredEvaluationError(f"{path} has schema {schema!r}; this version reads {SCHEMA!r}")
    try:
        return _contenders(path, stored["spaces"], measure, spaces)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise StoredEvaluationError(f"{path} is damaged: it lacks what an evaluation has ({error!r})") from error


def _contenders(
    path: Path, stored: list[dict[str, Any]], measure: str, spaces: Sequence[str]
) -> list[tuple[Contender, Path]]:
    there = [space["space"] for space in stored]
    if not there:
        raise StoredEvaluationError(f"{path} is damaged: it has no space")
    for wanted in spaces:
        if wanted not in there:
            raise StoredEvaluationError(f"{path} has no space {wanted!r}; it has {', '.join(there)}")
    chosen = [space for space in stored if not spaces or space["space"] in spaces]
    return [(_contender(path, space, measure), path) for space in chosen]


def _contender(path: Path, space: dict[str, Any], measure: str) -> Contender:
    queries = space.get("per_query")
    if queries is None:
        raise StoredEvaluationError(f"{path} holds no figures of single queries, so that nothing can be compared")
    if measure not in queries["measures"]:
        raise StoredEvaluationError(f"{path} has no measure {measure!r}; it has {', '.join(queries['measures'])}")
    rows = [row for row, relevant in enumerate(queries["relevant"]) if relevant]
    rows.sort(key=lambda row: queries["file"][row])
    values = np.array([queries["measures"][measure][row] for row in rows], np.float64)
    if not np.isfinite(values).all():
        at = queries["file"][rows[int(np.argmin(np.isfinite(values)))]]
        raise StoredEvaluationError(f"{path} is damaged: {space['space']} has no {measure} of the query {at}")
    return Contender(
        name=space["space"],
        files=tuple(queries["file"][row] for row in rows),
        classes=tuple(queries["class"][row] for row in rows),
        clusters=np.array([queries["cluster"][row] for row in rows], np.int64),
        relevant=np.array([queries["relevant"][row] for row in rows], np.int64),
        protocol=space["protocol"]["sentence"],
        values=values,
    )
