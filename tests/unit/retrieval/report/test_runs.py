"""Two stored evaluations compared: the spaces whose queries agree, and why others cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from retrieval.evaluation.comparison import NotSameQueriesError
from retrieval.evaluation.result import SCHEMA
from retrieval.report.runs import compare_runs, why_apart
from retrieval.report.store import FOLDER, StoredEvaluation


def stored(collection: Path, name: str, **spaces: tuple[str, list[float]]) -> StoredEvaluation:
    """An evaluation of spaces, each with its queries (a letter is a file) and their AP."""
    folder = collection / FOLDER / name
    folder.mkdir(parents=True)
    fields: list[dict[str, Any]] = [
        {
            "space": space,
            "protocol": {"sentence": "all others"},
            "per_query": {
                "file": list(files),
                "class": ["a"] * len(files),
                "cluster": list(range(len(files))),
                "relevant": [1] * len(files),
                "measures": {"mAP": values},
            },
        }
        for space, (files, values) in spaces.items()
    ]
    (folder / "evaluation.json").write_text(json.dumps({"schema": SCHEMA, "spaces": fields}))
    return StoredEvaluation(name, "2026-01-01T00:00:00+00:00", {})


def test_spaces_of_the_same_queries_are_compared_and_others_are_told(tmp_path: Path) -> None:
    first = stored(tmp_path, "first", whole=("xy", [0.25, 0.75]), part=("xy", [0.5, 0.5]), old=("x", [1.0]))
    second = stored(tmp_path, "second", whole=("yx", [1.0, 0.5]), part=("x", [1.0]))

    compared = compare_runs(tmp_path, first, second)

    (one,) = compared.differences
    assert (one.name, one.first, one.second, one.difference) == ("whole", 0.5, 0.75, 0.25)
    assert list(compared.apart) == ["part"]
    assert "1 are only in the first, 0 only in the second" in compared.apart["part"]
    assert (compared.only_first, compared.only_second) == (("old",), ())


def test_evaluations_of_which_no_space_can_be_compared_are_refused(tmp_path: Path) -> None:
    first, second = stored(tmp_path, "first", s=("xy", [1.0, 1.0])), stored(tmp_path, "second", s=("x", [1.0]))
    with pytest.raises(NotSameQueriesError, match="1 are only in the first"):
        compare_runs(tmp_path, first, second)


@pytest.mark.parametrize(
    ("wanted", "images", "queries", "why"),
    [
        ({}, "i", {"s": "q", "other": "r"}, None),
        ({}, "j", {}, None),  # an older version's, of which little is known
        ({"protocol": "k-fold"}, "i", {}, "another protocol"),
        ({}, "i", {"other": "q"}, "no space or fusion in common"),
        ({"query_ids": [1]}, "i", {"s": "r"}, "other queries"),
        ({"protocol": "k-fold"}, "i", {"s": "r"}, "another protocol"),
        ({}, "j", {"s": "r"}, "other images, classes or clusters"),
        ({}, "i", {"s": "r"}, "other queries, such as those that taught no learned space"),
    ],
)
def test_why_two_evaluations_cannot_be_compared(
    wanted: dict[str, Any], images: str, queries: dict[str, str], why: str | None
) -> None:
    first = StoredEvaluation("a", "2026", {}, "i", queries={"s": "q"})
    assert why_apart(first, StoredEvaluation("b", "2026", wanted, images, queries=queries)) == why
