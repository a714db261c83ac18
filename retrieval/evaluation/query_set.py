"""Images of a collection that query in an evaluation, as a table names them: what is selected on the page Map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import EvaluationError, TableError
from retrieval.evaluation.protocols import Protocol
from retrieval.evaluation.run import NothingToEvaluateError
from retrieval.tables import headings, rows_of


class QuerySetError(EvaluationError):
    """A table of queries cannot be read, or does not fit the collection."""


def load_query_set(path: Path, ids: Sequence[int]) -> frozenset[int]:
    """The image ids in a table's column `id`, all of which must be among the collection's. Raises QuerySetError."""
    known, chosen = set(ids), set()
    try:
        rows = rows_of(path)
        column = (headings(next(rows, (1, [""]))[1]) or {}).get("id")
        if column is None:
            raise QuerySetError(f"{path}: the first line must name the columns `id` and `file`, as the page Map does")
        for line, row in rows:
            text = row[column] if column < len(row) else ""
            if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) in known):
                raise QuerySetError(f"{path}, line {line}: the collection has no image {text[:40]!r}")
            chosen.add(int(text))
    except TableError as error:
        raise QuerySetError(str(error)) from error
    if not chosen:
        raise QuerySetError(f"{path}: the table names no image")
    return frozenset(chosen)


def with_query_set(
    protocol: Protocol, chosen: frozenset[int], ids: NDArray[np.integer], labels: NDArray[np.integer]
) -> Protocol:
    """The same protocol with the chosen images as its only queries; `sentence` says so.

    ids (n,); labels (n,) int, -1 for an image without a class, which never queries. Raises NothingToEvaluateError.
    """
    queries = np.concatenate([round_.queries for round_ in protocol.rounds])
    total = np.count_nonzero(labels[queries] >= 0)
    protocol = protocol.with_queries(np.isin(ids, list(chosen)) & (labels >= 0))
    rounds = tuple(round_ for round_ in protocol.rounds if len(round_.queries))
    if not rounds:
        raise NothingToEvaluateError(f"none of the {len(chosen):,} selected images is a query that has a class")
    count = sum(len(round_.queries) for round_ in rounds)
    said = f"; {count:,} of {total:,} queries, which were selected"
    return replace(protocol, rounds=rounds, sentence=protocol.sentence + said)
