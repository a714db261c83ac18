from __future__ import annotations

import numpy as np
import pytest

from retrieval.evaluation import MeasureOptions, SpaceResult, SpaceRetriever, evaluate_retriever
from retrieval.index.cosine import Cosine
from retrieval.report.examples import best_queries, hubs, likely_label_errors, neighbour_flow, worst_queries


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    """Two tight bundles of 20; image 5 lies in the first but is labelled as of the second."""
    classes = np.repeat([0, 1], 20)
    classes[5] = 1
    return classes


@pytest.fixture(scope="module")
def result(labels: np.ndarray) -> SpaceResult:
    random = np.random.default_rng(0)
    vectors = np.repeat(np.eye(2, 6), 20, axis=0) + 0.1 * random.standard_normal((40, 6))
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return evaluate_retriever(
        SpaceRetriever(unit, Cosine()), labels, ["a", "b"], ids=np.arange(100, 140), options=MeasureOptions(samples=0)
    )


@pytest.fixture(scope="module")
def by_id(labels: np.ndarray) -> dict[int, int]:
    return {100 + row: int(label) for row, label in enumerate(labels)}


def test_a_wrong_label_is_listed_with_its_likely_class(result: SpaceResult, by_id: dict[int, int]) -> None:
    (example,) = likely_label_errors(result, by_id, 10)
    assert (example.image, example.suspected) == (105, 0)
    assert example.strength == 1


def test_the_image_that_comes_up_wrongly_is_the_hub(result: SpaceResult, by_id: dict[int, int]) -> None:
    examples = hubs(result, by_id, 3)
    assert examples[0].image == 105
    times = (result.neighbours[(result.labels == 0), :10] == 105).sum()
    assert examples[0].strength == times > 0


def test_best_and_worst_take_turns_by_class(result: SpaceResult) -> None:
    worst = worst_queries(result, 4)
    classes = [int(result.labels[result.ids == one.image][0]) for one in worst]
    assert classes == [0, 1, 0, 1]
    assert worst[1].image == 105
    best = best_queries(result, 2)
    assert best[0].strength == result.measures["mAP"][result.labels == 0].max()


def test_flow_is_the_share_of_neighbours_of_each_class(result: SpaceResult, by_id: dict[int, int]) -> None:
    flow = neighbour_flow(result, by_id)
    assert flow.sum(axis=1) == pytest.approx([1, 1])
    mine = [by_id[int(image)] for image in result.neighbours[result.labels == 1, :10].ravel()]
    assert flow[1, 1] == pytest.approx(np.mean(mine))
