from __future__ import annotations

import numpy as np
import pytest

from retrieval.descriptors.fuzzy_color import fuzzy_color, hue_saturation_value, membership


def bins_of(*color):
    bins = np.empty(24)
    fuzzy_color(*color, bins)
    return {place: share for place, share in enumerate(bins.tolist()) if share}


def test_membership_rises_holds_and_falls():
    assert [membership(v, 10, 20, 30, 50) for v in (9, 10, 15, 20, 30, 40, 50, 51)] == [
        0,
        0,
        0.5,
        1,
        1,
        0.5,
        0,
        0,
    ]


def test_hue_saturation_value_in_whole_numbers():
    assert hue_saturation_value(255, 0, 0) == (0, 255, 255)
    assert hue_saturation_value(0, 255, 0) == (119, 255, 255)
    assert hue_saturation_value(0, 0, 255) == (239, 255, 255)
    assert hue_saturation_value(200, 100, 150) == (329, 127, 200)
    assert hue_saturation_value(0, 0, 0) == (0, 0, 0)


@pytest.mark.parametrize(
    ("color", "bins"),
    [
        ((255, 255, 255), {0: 1.0}),
        ((128, 128, 128), {1: 1.0}),
        ((0, 0, 0), {2: 1.0}),
        ((255, 0, 0), {4: 1.0}),  # the plain shade of the first hue
        ((0, 255, 0), {13: 1.0}),  # of the fourth
        ((0, 0, 255), {19: 1.0}),  # of the sixth
    ],
)
def test_pure_colours_fall_into_one_bin(color, bins):
    assert bins_of(*color) == bins


def test_a_hue_between_two_belongs_to_both():
    # hue 38: a fifth of the way from 35 to 50, from the second hue to the third
    assert hue_saturation_value(255, 162, 0)[0] == 38
    assert bins_of(255, 162, 0) == pytest.approx({7: 0.8, 10: 0.2})
