from __future__ import annotations

import numpy as np
import pytest

from retrieval.evaluation.bootstrap import interval, resampled_confusion, resampled_means


def test_spread_is_that_of_a_mean_of_independent_queries() -> None:
    random = np.random.default_rng(0)
    values = random.standard_normal((400, 1))
    micro = resampled_means(values, np.zeros(400, np.int64), np.arange(400), 1, 2000, 0).micro
    assert micro.mean() == pytest.approx(values.mean(), abs=0.01)
    assert micro.std() == pytest.approx(values.std() / np.sqrt(400), rel=0.1)


def test_copies_in_a_cluster_count_as_one_observation() -> None:
    random = np.random.default_rng(0)
    values = np.repeat(random.standard_normal((100, 1)), 4, axis=0)
    labels = np.zeros(400, np.int64)
    by_cluster = resampled_means(values, labels, np.arange(400) // 4, 1, 2000, 0).micro.std()
    by_image = resampled_means(values, labels, np.arange(400), 1, 2000, 0).micro.std()
    assert by_cluster == pytest.approx(2 * by_image, rel=0.1)


def test_each_sample_by_hand() -> None:
    """The means of drawn clusters, computed one sample at a time from the same draws."""
    values = np.array([[1.0], [2.0], [4.0], [8.0], [16.0]])
    labels, clusters = np.array([0, 0, 1, 1, 0]), np.array([0, 1, 1, 2, 2])
    resampled = resampled_means(values, labels, clusters, 2, 20, 7)
    draws = np.random.default_rng(7).integers(0, 3, (20, 3))
    for sample, draw in enumerate(draws):
        rows = np.concatenate([np.flatnonzero(clusters == cluster) for cluster in draw])
        assert resampled.micro[sample, 0] == pytest.approx(values[rows].mean())
        means = [values[rows][labels[rows] == c].mean() for c in (0, 1) if (labels[rows] == c).any()]
        assert resampled.macro[sample, 0] == pytest.approx(np.mean(means))


def test_confusion_of_each_sample_by_hand() -> None:
    labels, predicted, clusters = np.array([0, 1, 1, 0]), np.array([0, 0, 1, -1]), np.array([0, 0, 1, 2])
    tables = resampled_confusion(labels, predicted, clusters, 2, 10, 3)
    for table, draw in zip(tables, np.random.default_rng(3).integers(0, 3, (10, 3)), strict=True):
        times = np.bincount(draw, minlength=3)
        assert table.tolist() == [[times[0], 0, times[2]], [times[0], times[1], 0]]


def test_interval_is_of_the_middle_95_percent_and_leaves_out_what_is_missing() -> None:
    values = np.stack([np.arange(1001.0), np.full(1001, np.nan), np.r_[np.arange(501.0), np.full(500, np.nan)]], axis=1)
    assert interval(values)[0].tolist() == pytest.approx([25, 975])
    assert np.isnan(interval(values)[1]).all()
    assert interval(values)[2].tolist() == pytest.approx([12.5, 487.5])


def test_one_seed_gives_one_result() -> None:
    values, labels, clusters = np.random.default_rng(0).random((50, 2)), np.arange(50) % 3, np.arange(50) // 2
    first, again, other = (resampled_means(values, labels, clusters, 3, 60, seed).macro for seed in (5, 5, 6))
    assert first.tolist() == again.tolist() != other.tolist()
