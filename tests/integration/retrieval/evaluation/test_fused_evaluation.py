"""Fusions as they are evaluated, compared with the hits of a search."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from retrieval.collection import Collection
from retrieval.evaluation.collection import evaluate_collection
from retrieval.evaluation.options import EvaluationOptions, Fusion, MeasureOptions
from retrieval.search import Searcher

COUNT = 1150
"""More images than a search fuses of each space."""
LACKING = range(40, 60)
"""Images without a vector in the space `two`."""


@pytest.fixture(scope="module")
def collection(write_collection: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random vectors in two embeddings and a descriptor; every tenth image is a copy of the one before."""
    random = np.random.default_rng(0)
    numbers = np.arange(COUNT)
    vectors = {"EdgeHistogram": random.integers(0, 8, (COUNT, 80)).astype(np.float64)}
    for name, length in (("one", 8), ("two", 6)):
        rows = random.standard_normal((COUNT, length)) + 1.5 * (np.arange(length) == numbers[:, None] % 3)
        vectors[name] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    vectors["two"][list(LACKING)] = np.nan
    return write_collection(
        tmp_path_factory.mktemp("fused") / "c",
        {name: vectors[name] for name in ("one", "two", "EdgeHistogram")},
        ["abc"[number % 3] for number in range(COUNT)],
        contents=[number - (number % 10 == 9) for number in range(COUNT)],
    )


@pytest.mark.parametrize(
    "text",
    [
        "one+two",
        "two=3+one",
        "EdgeHistogram+two=0.5+one",
        "zscore:one+two",
        "zscore:two=3+EdgeHistogram",
        "minmax:EdgeHistogram+two=0.5+one",
    ],
)
def test_ranked_lists_are_those_of_a_search(collection: Path, text: str) -> None:
    fusion = Fusion.parse(text)
    opened = Collection.open(collection)
    options = EvaluationOptions(spaces=("one",), fusions=(fusion,), measures=MeasureOptions(samples=0))
    _, result = evaluate_collection(opened, "c", options).spaces
    searcher = Searcher(opened)
    rows = [row for row, image in enumerate(result.ids.tolist()) if image % 23 == 0]
    assert len(rows) > 40
    for row in rows:
        hits = searcher.search(
            int(result.ids[row]),
            100,
            spaces=fusion.spaces,
            weights=fusion.weights,
            fusion=fusion.method,
            exclude_cluster=True,
        )
        assert [hit.id for hit in hits] == result.neighbours[row].tolist()
        scores = [hit.score for hit in hits]
        if fusion.method == "rrf":
            assert scores == (-result.distances[row]).tolist()
        else:  # a search takes cosines in single precision
            assert scores == pytest.approx(-result.distances[row], abs=1e-5)
        assert hits.searched == result.listed[row]
        assert hits.quality is not None
        assert hits.quality.relevant == result.relevant[row]


def test_an_image_without_a_vector_in_a_space_is_searched_but_is_no_query(collection: Path) -> None:
    opened = Collection.open(collection)
    options = EvaluationOptions(
        spaces=("one", "two"), fusions=(Fusion.parse("one+two"),), measures=MeasureOptions(samples=0)
    )
    one, two, both = evaluate_collection(opened, "c", options).spaces
    assert [len(space.ids) for space in (one, two, both)] == [COUNT, COUNT - len(LACKING), COUNT - len(LACKING)]
    assert np.isin(both.neighbours, list(LACKING)).any()
    assert not np.isin(both.ids, list(LACKING)).any()


def test_spaces_that_lack_images_compare_over_those_that_all_have(collection: Path) -> None:
    opened = Collection.open(collection)
    options = EvaluationOptions(
        spaces=("one", "two"), fusions=(Fusion.parse("one+two"),), measures=MeasureOptions(samples=50), common=True
    )
    result = evaluate_collection(opened, "c", options)
    for space in (*result.spaces, *result.leave_one_out):
        assert len(space.ids) == COUNT - len(LACKING)
        assert not np.isin(space.neighbours, list(LACKING)).any()
        assert f"{len(LACKING)} images that a space lacks take no part" in space.protocol_sentence
    assert len(result.comparison().differences) == 3


def test_a_fusion_is_a_contender_like_a_space(collection: Path) -> None:
    opened = Collection.open(collection)
    options = EvaluationOptions(
        spaces=("one", "EdgeHistogram"),
        fusions=(Fusion.parse("one=2+EdgeHistogram"),),
        measures=MeasureOptions(samples=50),
    )
    result = evaluate_collection(opened, "c", options)
    written = result.to_dict()
    assert [space["space"] for space in written["spaces"]] == ["one", "EdgeHistogram", "one=2+EdgeHistogram"]
    assert written["spaces"][2]["fusion"] == {"one": 2, "EdgeHistogram": 1}
    assert written["spaces"][2]["dimension"] is None
    assert [space["space"] for space in written["leave_one_out"]] == [space["space"] for space in written["spaces"]]
    assert {one["name"] for one in written["comparison"]["standings"]} == {
        space["space"] for space in written["spaces"]
    }
    assert len(written["comparison"]["differences"]) == 3


@pytest.mark.parametrize("protocol", ["hold-out", "k-fold"])
def test_a_fusion_has_the_queries_and_lists_of_the_protocol(collection: Path, protocol: str) -> None:
    opened = Collection.open(collection)
    options = EvaluationOptions(
        ("one",), protocol, fusions=(Fusion.parse("one+EdgeHistogram"),), measures=MeasureOptions(samples=0)
    )
    one, both = evaluate_collection(opened, "c", options).spaces
    assert both.ids.tolist() == one.ids.tolist()
    assert both.relevant.tolist() == one.relevant.tolist()
    assert both.listed.tolist() == one.listed.tolist()


def test_threads_change_no_byte(collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = EvaluationOptions(fusions=(Fusion.parse("one+two=2+EdgeHistogram"),), measures=MeasureOptions(samples=50))
    written = []
    for threads in (1, 3):
        monkeypatch.setattr("retrieval.evaluation.run.available_cores", lambda threads=threads: threads)
        opened = Collection.open(collection)
        written.append(json.dumps(evaluate_collection(opened, "c", options).to_dict()))
    assert written[0] == written[1]
