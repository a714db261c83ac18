"""Which space a search uses where none is chosen: what the latest stored evaluation measured as the best."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from retrieval.collection import Collection, CollectionWriter
from retrieval.command_line import kvasir
from retrieval.evaluation.collection import evaluate_collection
from retrieval.evaluation.options import EvaluationOptions, Fusion, MeasureOptions
from retrieval.report.best import best_of
from retrieval.report.build import build_report
from retrieval.report.store import FOLDER, StoredEvaluation, store_evaluation

pytestmark = pytest.mark.slow

CLASSES = ["a", "a", "b", "b"]
APART = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], np.float32)
MIXED = np.array([[1, 0], [0, 1], [1, 0.1], [0.1, 1]], np.float32)


@pytest.fixture
def two(write_collection: Callable[..., Path], tmp_path: Path) -> Path:
    """The first space mixes both classes, and the second keeps them apart."""
    unit = {name: rows / np.linalg.norm(rows, axis=1, keepdims=True) for name, rows in (("m", MIXED), ("s", APART))}
    return write_collection(tmp_path / "two.collection", unit, CLASSES)


def evaluate(path: Path, number: int = 1, request: dict[str, Any] | None = None, **options: Any) -> None:
    opened = Collection.open(path)
    wanted = EvaluationOptions(measures=MeasureOptions(samples=20), **options)
    result = evaluate_collection(opened, "two", wanted)
    stored = StoredEvaluation(f"e{number}", f"2026-01-0{number}T00:00:00+00:00", request or {})
    store_evaluation(opened, stored, result, build_report(result, opened))


def test_without_an_evaluation_nothing_is_best(two: Path) -> None:
    assert best_of(Collection.open(two)) is None


def test_the_space_of_the_largest_mean_is_best_with_its_interval(two: Path) -> None:
    evaluate(two)

    best = best_of(Collection.open(two))

    assert best is not None
    assert (best.name, best.spaces, best.weights, best.mean) == ("s", ("s",), None, 1.0)
    assert best.interval == (1.0, 1.0)
    assert not best.outdated
    assert str(best) == "retrieves best of the 2 that were evaluated: mAP 1.000 (1.000 to 1.000)"


def test_a_fusion_is_searched_with_its_weights_and_method(two: Path) -> None:
    evaluate(two, spaces=("m",), fusions=(Fusion(("m", "s"), (1.0, 3.0), "zscore"),))

    best = best_of(Collection.open(two))

    assert best is not None
    assert (best.spaces, best.weights, best.fusion) == (("m", "s"), (1.0, 3.0), "zscore")


def test_a_later_evaluation_is_seen_and_one_of_a_single_space_or_of_selected_queries_says_nothing(two: Path) -> None:
    opened = Collection.open(two)
    assert best_of(opened) is None
    evaluate(two)
    evaluate(two, 2, spaces=("m",))
    evaluate(two, 3, {"query_ids": [0, 2]}, query_ids=frozenset({0, 2}))
    best = best_of(opened)
    assert best is not None
    assert best.evaluation.id == "e1"


def test_a_later_evaluation_without_what_was_best_says_nothing_until_that_is_measured_again(two: Path) -> None:
    evaluate(two, fusions=(Fusion(("m", "s"), (1.0, 1.0)),))  # s is best
    evaluate(two, 2, spaces=("m",), fusions=(Fusion(("m", "s"), (1.0, 1.0)),))
    opened = Collection.open(two)
    best = best_of(opened)
    assert best is not None
    assert (best.name, best.evaluation.id) == ("s", "e1")
    evaluate(two, 3)
    best = best_of(opened)
    assert best is not None
    assert (best.name, best.evaluation.id) == ("s", "e3")


def test_after_a_write_it_is_told_as_outdated_and_a_removed_space_is_never_best(two: Path) -> None:
    evaluate(two)
    with CollectionWriter(two) as writer:
        writer.remove([0])
    best = best_of(Collection.open(two))
    assert best is not None
    assert best.outdated
    assert str(best).endswith("; the collection has changed since")
    path = two / FOLDER / "e1" / "result.json"
    path.write_text(path.read_text().replace('"space": "s"', '"space": "gone"'))
    assert best_of(Collection.open(two)) is None  # the other alone is no comparison


def test_a_learned_space_that_its_queries_taught_does_not_count(two: Path) -> None:
    evaluate(two, fusions=(Fusion(("m", "s"), (1.0, 1.0)),))
    path = two / FOLDER / "e1" / "result.json"
    result = json.loads(path.read_text())
    for space in result["spaces"]:
        if "s" in space["space"].split("+"):
            space["queries"]["learned_from"] = 4
    path.write_text(json.dumps(result))
    assert best_of(Collection.open(two)) is None


def test_a_damaged_evaluation_is_passed_over(two: Path) -> None:
    evaluate(two)
    (two / FOLDER / "e1" / "result.json").write_text('{"schema": 1, "spaces": [{}]}')
    assert best_of(Collection.open(two)) is None


def test_kvasir_search_uses_it_with_a_word_where_no_space_is_named(two_spaces: Path, tmp_path: Path) -> None:
    path = shutil.copytree(two_spaces, tmp_path / "two", ignore=shutil.ignore_patterns(FOLDER))
    first, second = [space.name for space in Collection.open(path).spaces]
    evaluate(path, fusions=(Fusion((first, second), (1.0, 1.0)),))
    best = best_of(Collection.open(path))
    assert best is not None

    chosen = CliRunner().invoke(kvasir, ["search", "3", str(path), "-k", "2", "--json"])
    named = CliRunner().invoke(kvasir, ["search", "3", str(path), "-k", "2", "--json", "--space", first])

    assert json.loads(chosen.stdout)["spaces"] == list(best.spaces)
    assert f"searched in {best.name}, which retrieves best of the 3" in chosen.stderr
    assert json.loads(named.stdout)["spaces"] == [first]
    assert named.stderr == ""
    (tmp_path / "queries").mkdir()
    (tmp_path / "queries" / "3.jpg").write_bytes(Collection.open(path).read(3))
    batch = ["search", "--batch", str(tmp_path / "queries"), "--out", str(tmp_path / "run.csv"), str(path)]
    assert f"searched in {best.name}, which retrieves best of the 3" in CliRunner().invoke(kvasir, batch).stderr
