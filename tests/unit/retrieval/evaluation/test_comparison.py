from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.evaluation.comparison import Contender, NotSameQueriesError, compare, holm


def contender(name: str, values: NDArray[np.float64], clusters: NDArray[np.int64] | None = None) -> Contender:
    n = len(values)
    return Contender(
        name=name,
        files=tuple(f"{i}.jpg" for i in range(n)),
        classes=tuple("ab"[i % 2] for i in range(n)),
        clusters=np.arange(n) if clusters is None else clusters,
        relevant=np.full(n, n // 2 - 1),
        protocol="every image queries all the others",
        values=values,
    )


def test_a_clear_difference_is_significant() -> None:
    base = np.random.default_rng(0).random(200)
    result = compare([contender("worse", base), contender("better", base + 0.1)], "mAP")
    assert [one.name for one in result.standings] == ["better", "worse"]
    (difference,) = result.differences
    assert (difference.better, difference.worse) == ("better", "worse")
    assert difference.by == pytest.approx(0.1)
    assert difference.low == pytest.approx(0.1)
    assert difference.significant
    assert result.sentences()[0].startswith("better is better than worse: mAP higher by 0.1000")


def test_noise_is_not_significant() -> None:
    random = np.random.default_rng(0)
    result = compare([contender("one", random.random(200)), contender("two", random.random(200))], "mAP")
    assert not result.differences[0].significant
    assert result.differences[0].low < 0 < result.differences[0].high
    assert result.sentences()[0].startswith("No difference is shown between")


def test_p_is_near_that_of_the_normal_approximation() -> None:
    random = np.random.default_rng(3)
    difference = random.standard_normal(400) + 0.1
    zero = contender("zero", np.zeros(400))
    (pair,) = compare([contender("one", difference), zero], "mAP").differences
    z = difference.sum() / np.sqrt((difference**2).sum())
    assert pair.p == pytest.approx(2 * (1 - NormalDist().cdf(abs(z))), abs=0.015)


def test_copies_do_not_make_a_difference_more_certain() -> None:
    random = np.random.default_rng(1)
    few = random.standard_normal(30) + 0.45
    many = np.repeat(few, 10)
    clusters = np.repeat(np.arange(30), 10)

    def p(values: NDArray[np.float64], clusters: NDArray[np.int64] | None) -> float:
        zeros = np.zeros(len(values))
        return compare([contender("a", values, clusters), contender("b", zeros, clusters)], "mAP").differences[0].p

    assert p(many, clusters) == pytest.approx(p(few, None), abs=0.02)
    assert p(many, None) < p(many, clusters) / 5


def test_equal_contenders_have_p_1() -> None:
    values = np.random.default_rng(0).random(50)
    (difference,) = compare([contender("one", values), contender("two", values)], "mAP").differences
    assert (difference.p, difference.by) == (1, 0)


def test_holm_by_hand() -> None:
    assert holm(np.array([0.04, 0.01, 0.03])) == pytest.approx([0.06, 0.03, 0.06])
    assert holm(np.array([0.5, 0.9])) == pytest.approx([1, 1])


def test_many_pairs_are_corrected_together() -> None:
    random = np.random.default_rng(0)
    base = random.random(100)
    runs = [contender(str(i), base + 0.02 * random.standard_normal(100)) for i in range(5)]
    result = compare(runs, "mAP")
    assert len(result.differences) == 10
    assert not any(one.significant for one in result.differences)
    assert "Holm's correction for 10 pairs" in result.sentences()[0]


def test_the_mean_that_is_compared_is_that_of_the_classes() -> None:
    values = np.array([1.0, 0, 1, 0, 1])  # a, b, a, b, a
    assert compare([contender("one", values)], "mAP").standings[0].mean == 0.5


def test_only_runs_over_the_same_queries_are_compared() -> None:
    one = contender("one", np.zeros(10))
    with pytest.raises(NotSameQueriesError, match="1 are only in the first, 1 only in the second"):
        compare([one, replace(one, name="two", files=(*one.files[:9], "other.jpg"))], "mAP")
    with pytest.raises(NotSameQueriesError, match="different classes"):
        compare([one, replace(one, name="two", classes=("b",) * 10)], "mAP")
    with pytest.raises(NotSameQueriesError, match="different images"):
        compare([one, replace(one, name="two", relevant=one.relevant + 1)], "mAP")
