"""Scenes in evaluations: figures by both protocols, folds that part no scene, intervals over scenes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema_rs
import numpy as np
import pytest

from retrieval.collection import Collection, CollectionWriter
from retrieval.evaluation import EvaluationOptions, MeasureOptions, evaluate_collection
from retrieval.evaluation.collection import protocol_of
from retrieval.evaluation.result import SCHEMA_FILE
from retrieval.evaluation.store import load_contenders
from retrieval.learn.training_set import training_set
from retrieval.report.summary import summary_lines
from retrieval.report.tables import overview_table
from retrieval.spaces import open_space

MEASURES = MeasureOptions(ks=(1, 3), samples=50)


@pytest.fixture
def path(write_collection: Callable[..., Path], tmp_path: Path) -> Path:
    """24 images of two classes: twelve videos of two frames each, whose vectors are nearly equal; others are random."""
    random = np.random.default_rng(1)
    vectors = np.repeat(random.normal(size=(12, 6)), 2, axis=0) + 0.01 * random.normal(size=(24, 6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    made: Path = write_collection(tmp_path / "c", {"s": vectors.astype(np.float32)}, ["a", "a", "b", "b"] * 6)
    return made


def with_scenes(path: Path) -> Collection:
    with CollectionWriter(path) as writer:
        writer.set_scenes({image: image // 2 * 2 for image in range(24)}, 24)
    return Collection.open(path)


def test_figures_are_given_by_both_protocols_where_scenes_are_known(path: Path) -> None:
    plain = evaluate_collection(Collection.open(path), "c", EvaluationOptions(measures=MEASURES))
    assert plain.leave_scene_out == ()
    assert "scene" not in plain.spaces[0].to_dict()["per_query"]
    both = evaluate_collection(with_scenes(path), "c", EvaluationOptions(measures=MEASURES))
    assert both.spaces[0].means("precision@1").macro == plain.spaces[0].means("precision@1").macro == 1
    (alone,) = evaluate_collection(
        Collection.open(path), "c", EvaluationOptions(protocol="leave-scene-out", measures=MEASURES)
    ).spaces
    mean = alone.means("precision@1").macro
    assert mean < 0.8
    assert both.leave_scene_out_gaps("precision@1") == {"s": (mean, mean - 1)}
    assert [sentence.split(",")[0] for sentence in both.gap_sentences()] == ["Leave-scene-out"] * 2
    assert f"precision@1 {mean:.4f} ({mean - 1:+.4f}) in s." in both.gap_sentences()[1]
    table = overview_table(both)
    assert table.headings[-2:] == ("precision@1, leave-scene-out", "mAP, leave-scene-out")
    assert table.rows[0][-2] == f"{mean:.3f} ({mean - 1:+.4f})"
    assert any("leave-scene-out" in line for line in summary_lines(alone))
    jsonschema_rs.validator_for(json.loads(SCHEMA_FILE.read_text())).validate(json.loads(json.dumps(both.to_dict())))


def test_intervals_are_drawn_over_scenes_and_comparisons_too(path: Path, tmp_path: Path) -> None:
    plain = evaluate_collection(Collection.open(path), "c", EvaluationOptions(measures=MEASURES))
    both = evaluate_collection(with_scenes(path), "c", EvaluationOptions(measures=MEASURES))
    first, then = plain.spaces[0].intervals, both.spaces[0].intervals
    assert first is not None
    assert then is not None
    assert np.ptp(then.micro["mAP"]) > np.ptp(first.micro["mAP"])
    assert len(set(both.spaces[0].contender("mAP").clusters.tolist())) == 12
    (tmp_path / "e.json").write_text(json.dumps(both.to_dict()))
    assert len(set(load_contenders(tmp_path / "e.json", "mAP")[0].clusters.tolist())) == 12


@pytest.mark.parametrize("name", ["k-fold", "hold-out"])
def test_no_fold_parts_a_scene(path: Path, name: str) -> None:
    opened = with_scenes(path)
    for round_ in protocol_of(opened, EvaluationOptions(protocol=name, folds=3)).rounds:
        scenes = opened.images.scenes
        assert not set(scenes[round_.queries].tolist()) & set(scenes[round_.gallery].tolist())


def test_what_is_learned_is_validated_by_scenes(path: Path) -> None:
    opened = with_scenes(path)
    space = open_space(opened.path, opened.spaces[0], "latency")
    training = training_set(opened, [space])
    assert training.clusters.tolist() == opened.images.scenes.tolist()
