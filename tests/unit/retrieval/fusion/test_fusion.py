from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from retrieval.fusion import METHODS, RankedList, Statistics, UnknownFusionError, fuse, fuse_dense
from retrieval.fusion.statistics import FOLDER, SAMPLE, of_scores, sampled, stored_statistics


def ranked(*ids: int) -> RankedList:
    return RankedList(np.array([ids], np.int64).reshape(1, -1))


def scored(ids: list[int], scores: list[float], statistics: Statistics) -> RankedList:
    return RankedList(np.array([ids], np.int64), np.array([scores]), [statistics])


def fused(lists: list[RankedList], weights: list[float], method: str = "rrf") -> tuple[list[int], list[float]]:
    ids, scores = fuse(lists, weights, method)
    assert ids.dtype == np.int64
    return ids[0].tolist(), scores[0].tolist()


# Reciprocal ranks


def test_reciprocal_ranks_by_hand() -> None:
    ids, scores = fused([ranked(7, 3), ranked(3, 9)], [1, 1])
    # 3: rank 2 and 1, 7: rank 1 alone, 9: rank 2 alone; C = 60
    assert ids == [3, 7, 9]
    assert scores == pytest.approx([0.5 * 61 / 62 + 0.5, 0.5, 0.5 * 61 / 62])


def test_first_in_every_list_scores_one() -> None:
    ids, scores = fused([ranked(5, 1), ranked(5, 2), ranked(5)], [3, 0.5, 2])
    assert ids[0] == 5
    assert scores[0] == pytest.approx(1)


def test_weights_count_by_their_shares() -> None:
    lists = [ranked(1, 2), ranked(2, 1)]
    assert fused(lists, [2, 1])[0] == [1, 2]
    assert fused(lists, [1, 2])[0] == [2, 1]
    assert fused(lists, [1, 2])[1] == pytest.approx(fused(lists, [2, 4])[1])


def test_ties_are_ordered_by_id() -> None:
    assert fused([ranked(9, 4), ranked(4, 9)], [1, 1])[0] == [4, 9]


def test_empty_lists_add_nothing() -> None:
    assert fused([ranked(), ranked(3)], [1, 1]) == ([3], [0.5])
    assert fused([ranked(), ranked()], [1, 1]) == ([], [])


# Scores


def test_standardised_scores_by_hand() -> None:
    lists = [
        scored([1, 2], [0.9, 0.5], Statistics(mean=0.5, deviation=0.2, minimum=0.1)),
        scored([2, 3], [3.0, 1.0], Statistics(mean=2.0, deviation=0.5, minimum=0.0)),
    ]
    # 1: 2.0 and nothing; 2: 0 and 2; 3: nothing and -2, each halved
    assert fused(lists, [1, 1], "zscore") == ([1, 2, 3], [1.0, 1.0, -1.0])


def test_each_query_is_scored_by_its_own_background() -> None:
    backgrounds = [Statistics(0.5, 0.2, 0.1), Statistics(0.25, 0.05, 0.1, 0.3)]  # of images; of texts
    backgrounds.append(backgrounds[0].blended(backgrounds[1], 0.5))
    assert backgrounds[2] == Statistics(0.375, 0.125, 0.1, 0.65)
    ranked_lists = [RankedList(np.array([[1]] * 3), np.array([[0.7], [0.3], [0.5]]), backgrounds)]
    assert fuse(ranked_lists, [1], "zscore")[1][:, 0] == pytest.approx([1, 1, 1])
    assert fuse(ranked_lists, [1], "minmax")[1][:, 0] == pytest.approx([0.6 / 0.9, 1, 0.4 / 0.55])


def test_scores_between_bounds_by_hand() -> None:
    lists = [
        scored([1, 2], [1.0, 0.6], Statistics(mean=0.7, deviation=0.2, minimum=0.5)),
        scored([2, 1], [0.9, 0.2], Statistics(mean=0.5, deviation=0.2, minimum=0.2)),
    ]
    ids, scores = fused(lists, [3, 1], "minmax")
    assert ids == [1, 2]
    assert scores == pytest.approx([0.75 * 1 + 0.25 * 0, 0.75 * 0.2 + 0.25 * 0.875])


@pytest.mark.parametrize(("method", "expected"), [("zscore", 1.0), ("minmax", 0.25)])
def test_an_image_without_a_vector_is_as_similar_as_a_random_one_or_the_least_similar(
    method: str, expected: float
) -> None:
    background = Statistics(mean=0.0, deviation=0.5, minimum=-1.0)
    lists = [scored([1], [1.0], background), scored([1], [np.nan], background)]
    if method == "minmax":
        lists[0] = scored([1], [0.0], background)
    assert fused(lists, [1, 1], method) == ([1], [expected])


def test_a_background_without_spread_divides_by_nothing() -> None:
    flat = Statistics(mean=1.0, deviation=0.0, minimum=1.0)
    for method in ("zscore", "minmax"):
        assert fused([scored([1], [1.0], flat)], [1], method) == ([1], [0.0])


# All of them


@pytest.mark.parametrize("method", METHODS)
def test_several_queries_are_fused_as_each_of_them_alone(method: str) -> None:
    random = np.random.default_rng(3)
    ids = np.array([random.permutation(30)[:12] for _ in range(8)]).reshape(2, 4, 12).astype(np.int64)
    ids[1, 2, 5:] = -1
    scores = -np.sort(-random.normal(size=(2, 4, 12)), axis=-1)
    background = [Statistics(0.1, 0.3, -2.0), Statistics(-0.2, 0.7, -1.5)]
    lists = [RankedList(ids[n], scores[n], [background[n]]) for n in range(2)]
    together, values = fuse(lists, [2, 1], method)
    for query in range(4):
        alone = [RankedList(ids[n, query : query + 1], scores[n, query : query + 1], [background[n]]) for n in range(2)]
        expected, expected_values = fuse(alone, [2, 1], method)
        count = int((expected[0] >= 0).sum())
        assert together[query, :count].tolist() == expected[0, :count].tolist()
        assert values[query, :count].tolist() == expected_values[0, :count].tolist()
        assert (together[query, count:] == -1).all()
        assert (values[query, count:] == -np.inf).all()


def test_dense_scores_say_which_columns_any_list_has() -> None:
    scores, listed = fuse_dense([ranked(3, 0), ranked(0, -1)], [1, 1], "rrf", 5)
    assert listed.tolist() == [[True, False, False, True, False]]
    assert scores[0, [1, 2, 4]].tolist() == [0, 0, 0]


def test_an_unknown_method_names_those_that_there_are() -> None:
    with pytest.raises(UnknownFusionError, match="'borda'; there are rrf, zscore, minmax"):
        fuse([ranked(1)], [1], "borda")
    with pytest.raises(UnknownFusionError, match=r"\['rrf'\]"):
        fuse([ranked(1)], [1], ["rrf"])  # type: ignore[arg-type]


# Statistics


def test_statistics_are_measured_once_and_again_when_the_images_change(tmp_path: Path) -> None:
    calls: list[int] = []

    def measure(ids: np.ndarray) -> np.ndarray:
        calls.append(len(ids))
        return np.array([[9.0, 0.2, 0.4], [9.0, 9.0, 0.6], [9.0, 9.0, 9.0]])[: len(ids), : len(ids)]

    ids = np.array([1, 4, 6])
    first = stored_statistics(tmp_path, "space", ids, ids, measure)
    assert first == Statistics(pytest.approx(0.4), pytest.approx(0.1632993), 0.2)
    assert stored_statistics(tmp_path, "space", ids, ids, measure) == first
    assert calls == [3]
    stored_statistics(tmp_path, "space", ids[:2], ids[:2], measure)
    assert calls == [3, 2]
    stored_statistics(tmp_path, "space", ids[:2], ids[1:], measure)
    assert calls == [3, 2, 2]


def test_statistics_that_another_writes_are_measured_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ids = np.arange(3)
    with FileLock(tmp_path / FOLDER / "space.json.lock"):
        measured = stored_statistics(tmp_path, "space", ids, ids, lambda chosen: np.eye(len(chosen)))
    assert measured == Statistics(0.0, 0.0, 0.0)
    assert not caplog.text
    assert not (tmp_path / FOLDER / "space.json").exists()


def test_damaged_statistics_are_computed_again_with_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def measure(ids: np.ndarray) -> np.ndarray:
        return np.full((len(ids), len(ids)), 0.5)

    ids = np.arange(2)
    expected = stored_statistics(tmp_path, "space", ids, ids, measure)
    file = tmp_path / "statistics" / "space.json"
    for damage in ("{", json.dumps([1]), json.dumps({"vectors": json.loads(file.read_text())["vectors"], "mean": "x"})):
        caplog.clear()
        file.write_text(damage)
        assert stored_statistics(tmp_path, "space", ids, ids, measure) == expected
        assert "damaged" in caplog.text


def test_the_sample_is_of_the_images_alone() -> None:
    ids = np.arange(0, 3000, 3)
    chosen = sampled(ids)
    assert len(chosen) == SAMPLE
    assert np.array_equal(chosen, sampled(ids))
    assert np.isin(chosen, ids).all()
    assert of_scores(np.empty(0)) == Statistics(0.0, 0.0, 0.0)


def test_the_largest_similarity_of_texts_is_measured(tmp_path: Path) -> None:
    ids, checksums, similarities = np.arange(3), np.arange(3), np.array([[0.1, 0.2, 0.3]])
    for _ in range(2):
        measured = stored_statistics(tmp_path, "space", ids, checksums, lambda _: similarities, ["a text"])
        assert measured == Statistics(pytest.approx(0.2), pytest.approx(0.0816497), 0.1, 0.3)
