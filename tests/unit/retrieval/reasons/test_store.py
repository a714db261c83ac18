"""Outcomes of the test of reasons: what passes, how it is told, and how it is stored."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexer.repair import repair
from indexer.verification import check
from retrieval.collection import Collection, CollectionWriter
from retrieval.reasons.faithfulness import Faithfulness
from retrieval.reasons.store import load_outcome, outcome_path, store_outcome, stored_outcomes

GOOD = Faithfulness(
    fill="blur",
    passes=1,
    pairs=100,
    seed=0,
    above_random=0.95,
    above_centre=0.8,
    shuffled_above_random=0.5,
    falls={"relevant": 0.08, "random": 0.02, "centre": 0.03, "shuffled": 0.02},
)


@pytest.fixture
def opened(tmp_path: Path, write_collection: Callable[..., Path]) -> Collection:
    vectors = np.eye(4, 3, dtype=np.float32) + np.float32(0.1)
    return Collection.open(write_collection(tmp_path / "c", {"a": vectors, "b": vectors}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"above_random": 0.89}, "random cells in only 89% of pairs"),
        ({"above_centre": 0.5}, "no better than the centre"),
        ({"falls": {"relevant": 0.02, "random": 0.01, "centre": 0.03, "shuffled": 0}}, "no better than the centre"),
        ({"shuffled_above_random": 0.9}, "shuffled weights does as well"),
    ],
)
def test_a_way_passes_only_where_all_three_comparisons_hold(changes: dict[str, object], words: str) -> None:
    assert GOOD.passed
    failed = replace(GOOD, **changes)  # type: ignore[arg-type]
    assert not failed.passed
    assert words in failed.faults[0]


def test_an_outcome_is_read_as_it_was_stored(opened: Collection) -> None:
    failed = replace(GOOD, above_random=0.7)
    confirming = replace(GOOD, confirms=True)
    store_outcome(opened, "a", [failed, GOOD, confirming])
    stored = load_outcome(opened, "a")
    assert stored is not None
    assert stored.tried == (failed, GOOD, confirming)
    assert stored.passed == confirming
    assert "95% of 100 pairs" in str(stored)
    assert not stored.outdated
    assert len(stored.digest) == 64
    assert load_outcome(opened, "b") is None
    assert [outcome.space for outcome in stored_outcomes(opened)] == ["a"]


def test_what_failed_or_could_not_be_tried_says_why(opened: Collection) -> None:
    assert "only 70% of pairs" in str(store_outcome(opened, "a", [replace(GOOD, above_random=0.7)]))
    assert str(store_outcome(opened, "b", [], "it has no places")) == "no reasons: it has no places"
    refuted = store_outcome(opened, "a", [GOOD, replace(GOOD, above_random=0.8, confirms=True)])
    assert refuted.passed is None
    assert "only 80% of pairs" in str(refuted)


def test_an_outcome_is_outdated_once_the_collection_has_changed(
    opened: Collection, write_collection: Callable[..., Path]
) -> None:
    store_outcome(opened, "a", [GOOD])
    write_collection(opened.path, {"a": np.ones((1, 3), np.float32), "b": np.ones((1, 3), np.float32)}, first=9)
    stored = load_outcome(Collection.open(opened.path), "a")
    assert stored is not None
    assert stored.outdated


def test_an_outcome_of_another_recipe_does_not_serve(opened: Collection) -> None:
    store_outcome(opened, "a", [GOOD])
    with CollectionWriter(opened.path) as writer:
        writer.update_recipe("a", {"spec": "another"})
    assert load_outcome(Collection.open(opened.path), "a") is None


def test_a_changed_file_is_not_believed(opened: Collection, caplog: pytest.LogCaptureFixture) -> None:
    store_outcome(opened, "a", [replace(GOOD, above_random=0.7)])
    path = outcome_path(opened.path, "a")
    path.write_text(path.read_text().replace('"above_random": 0.7', '"above_random": 0.97'))
    with caplog.at_level(logging.WARNING):
        assert load_outcome(opened, "a") is None
    assert "its digest does not fit" in caplog.text
    (finding,) = (one for one in check(opened.path) if one.kind == "reasons")
    assert (finding.repairable, finding.path) == (True, path)
    repair(opened.path, [finding])
    assert not path.exists()
