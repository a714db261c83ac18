"""Evaluations as JSON files: what `kvasir evaluate --json` writes, loaded again for a comparison."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.errors import EvaluationError
from retrieval.evaluation.comparison import Contender
from retrieval.evaluation.result import SCHEMA


class StoredEvaluationError(EvaluationError):
    """A stored evaluation cannot be loaded, or lacks the space, measure or queries that are needed."""


def load_json(path: Path) -> Any:
    """The values of a JSON file. Raises StoredEvaluationError where it is missing or damaged."""
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise StoredEvaluationError(f"{path} cannot be read ({error.strerror}); evaluate again") from error
    except (ValueError, RecursionError) as error:
        raise StoredEvaluationError(f"{path} is damaged and is not JSON ({error}); evaluate again") from error


def load_contenders(path: Path, measure: str, spaces: Sequence[str] = ()) -> list[Contender]:
    """The spaces of a stored evaluation, all or those named, with one measure of the scored queries.

    Queries are ordered by file, so that collections with other image ids compare. Raises StoredEvaluationError.
    """
    stored = load_json(path)
    if not isinstance(stored, dict) or "schema" not in stored:
        raise StoredEvaluationError(f"{path} is not an evaluation; make one: kvasir evaluate --json")
    if stored["schema"] != SCHEMA:
        raise StoredEvaluationError(f"{path} has schema {stored['schema']!r}; this version reads {SCHEMA!r}")
    try:
        return _contenders(path, stored["spaces"], measure, spaces)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise StoredEvaluationError(
            f"{path} is damaged: a field of the evaluation is missing or wrong ({error!r}); evaluate again"
        ) from error


def _contenders(path: Path, stored: list[dict[str, Any]], measure: str, spaces: Sequence[str]) -> list[Contender]:
    names = [space["space"] for space in stored]
    if not names:
        raise StoredEvaluationError(f"{path} is damaged: it has no space; evaluate again")
    for name in spaces:
        if name not in names:
            raise StoredEvaluationError(f"{path} has no space {name!r}; it has {', '.join(names)}")
    return [_contender(path, space, measure) for space in stored if not spaces or space["space"] in spaces]


def _contender(path: Path, space: dict[str, Any], measure: str) -> Contender:
    queries = space.get("per_query")
    if queries is None:
        raise StoredEvaluationError(f"{path} has no figures of single queries, so it cannot be compared")
    if measure not in queries["measures"]:
        raise StoredEvaluationError(f"{path} has no measure {measure!r}; it has {', '.join(queries['measures'])}")
    units = queries.get("scene", queries["cluster"])
    rows = [row for row, relevant in enumerate(queries["relevant"]) if relevant]
    rows.sort(key=lambda row: queries["file"][row])
    values = np.array([queries["measures"][measure][row] for row in rows], np.float64)
    if not np.isfinite(values).all():
        file = queries["file"][rows[int(np.argmin(np.isfinite(values)))]]
        raise StoredEvaluationError(f"{path} is damaged: {space['space']} has no {measure} of the query {file}")
    return Contender(
        name=space["space"],
        files=tuple(queries["file"][row] for row in rows),
        classes=tuple(queries["class"][row] for row in rows),
        clusters=np.array([units[row] for row in rows], np.int64),
        relevant=np.array([queries["relevant"][row] for row in rows], np.int64),
        protocol=space["protocol"]["sentence"],
        values=values,
    )
