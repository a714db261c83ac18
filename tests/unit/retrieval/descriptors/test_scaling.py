from __future__ import annotations

import zlib

import numpy as np

from retrieval.descriptors.scaling import scale, scaled_size


def test_scaling_is_javas(oracle):
    for case in oracle["scaling"]:
        width, height = case["in"]
        y, x = np.mgrid[:height, :width]
        picture = ((x * x * 7 + y * 13 + x * y * 3) % 256).astype(np.uint8)[..., None]
        small = scale(picture, 64)
        assert [small.shape[1], small.shape[0]] == case["out"]
        assert zlib.crc32(small.tobytes()) == case["crc32"]


def test_halving_averages_two_by_two():
    picture = np.array([[0, 100, 8, 8], [20, 40, 8, 8], [1, 1, 2, 3], [1, 1, 4, 5]], dtype=np.uint8)
    assert scale(picture[..., None], 2)[..., 0].tolist() == [[40, 8], [1, 4]]


def test_channels_are_scaled_apart():
    picture = np.zeros((4, 4, 3), dtype=np.uint8)
    picture[..., 1] = 200
    assert scale(picture, 2)[0, 0].tolist() == [0, 200, 0]


def test_size_never_grows_and_never_vanishes():
    assert scaled_size(720, 576, 64) == (64, 51)
    assert scaled_size(64, 10, 64) == (64, 10)
    assert scaled_size(3000, 20, 64) == (3000, 20)  # would be less than two pixels high
