from __future__ import annotations

import math

import numpy as np
import pytest

from retrieval.descriptors.arctangent import arctangent


@pytest.mark.parametrize(
    ("x", "expected"),
    [(0.0, 0.0), (1.0, math.pi / 4), (math.inf, math.pi / 2), (1e300, math.pi / 2), (1e-12, 1e-12)],
)
def test_known_angles(x, expected):
    assert arctangent(x) == expected
    assert arctangent(-x) == -expected


def test_nan_stays_nan():
    assert math.isnan(arctangent(math.nan))


def test_within_one_unit_of_the_true_angle_in_every_range():
    for x in np.concatenate([np.linspace(0, 3, 2001), np.geomspace(3, 1e20, 200)]).tolist():
        assert abs(arctangent(x) - math.atan(x)) <= math.ulp(math.atan(x))
