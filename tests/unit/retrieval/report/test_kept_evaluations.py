"""Evaluations in the collection's folder: the newest are kept, whole, and know whether the collection has changed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from retrieval.collection import Collection, CollectionWriter
from retrieval.evaluation.collection import evaluate_collection
from retrieval.evaluation.options import EvaluationOptions, MeasureOptions
from retrieval.report.contents import Contents
from retrieval.report.kept import (
    FILES,
    FOLDER,
    KEPT,
    KeptEvaluation,
    NotEvaluatedError,
    file_of,
    keep_evaluation,
    kept_evaluation,
    kept_evaluations,
    report_of,
    result_of,
    state_of,
)

REPORT = Contents(
    "Retrieval", "<p>head</p>", [("overview", "Overview", "<p>text</p>")], {"map-0-0": [1]}, {"map-0-0": "a"}, [1]
)


@pytest.fixture
def collection(indexed: Any, tmp_path: Path) -> Path:
    path = tmp_path / "drawn.collection"
    shutil.copytree(indexed.path, path)
    return path


def test_the_newest_evaluations_are_kept_and_read_back(collection: Path) -> None:
    with pytest.raises(NotEvaluatedError):
        kept_evaluation(collection)
    opened = Collection.open(collection)
    result = evaluate_collection(opened, "drawn", EvaluationOptions(measures=MeasureOptions(samples=0)))
    for number in range(KEPT + 2):
        made = KeptEvaluation(f"e{number}", f"2026-01-0{number + 1}T00:00:00+00:00", {"samples": number})
        keep_evaluation(opened, made, result, REPORT)
    assert [one.id for one in kept_evaluations(collection)] == [f"e{number}" for number in range(KEPT + 1, 1, -1)]
    latest = kept_evaluation(collection)
    assert latest.request == {"samples": KEPT + 1}
    assert latest.images == state_of(opened)
    assert len(list((collection / FOLDER).iterdir())) == KEPT
    assert result_of(collection, latest) == result.to_dict(per_query=False)
    read = report_of(collection, latest)
    assert (read.head, list(map(tuple, read.sections)), read.points) == (REPORT.head, REPORT.sections, REPORT.points)
    assert all(file_of(collection, latest, name).stat().st_size for name in FILES)


def test_evaluations_of_the_site_push_out_none_that_a_command_made(collection: Path) -> None:
    opened = Collection.open(collection)
    result = evaluate_collection(opened, "drawn", EvaluationOptions(measures=MeasureOptions(samples=0)))
    by_command = KeptEvaluation.now({"spaces": ["s"]})
    keep_evaluation(opened, by_command, result, REPORT)
    for number in range(KEPT + 1):
        made = KeptEvaluation(f"e{number}", f"2999-01-0{number + 1}T00:00:00+00:00", {})
        keep_evaluation(opened, made, result, REPORT)
    assert len(kept_evaluations(collection)) == KEPT + 1
    assert kept_evaluation(collection, by_command.id).request == {"spaces": ["s"]}
    with pytest.raises(NotEvaluatedError, match="no evaluation 'e0'"):
        kept_evaluation(collection, "e0")


def test_another_image_or_none_makes_another_state(collection: Path) -> None:
    opened = Collection.open(collection)
    before = state_of(opened)
    assert state_of(opened) == before
    with CollectionWriter(collection) as writer:
        writer.remove([3])
    opened = Collection.open(collection)
    assert state_of(opened) != before


def test_what_cannot_be_written_leaves_nothing_half_done(collection: Path) -> None:
    opened = Collection.open(collection)
    result = evaluate_collection(opened, "drawn", EvaluationOptions(measures=MeasureOptions(samples=0)))
    (collection / FOLDER / "e1").mkdir(parents=True)
    (collection / FOLDER / "e1" / "something").touch()  # in the way of the rename
    with pytest.raises(OSError, match="e1"):
        keep_evaluation(opened, KeptEvaluation("e1", "2026-01-01T00:00:00+00:00", {}), result, REPORT)
    assert [place.name for place in (collection / FOLDER).iterdir()] == ["e1"]
    assert kept_evaluations(collection) == []
