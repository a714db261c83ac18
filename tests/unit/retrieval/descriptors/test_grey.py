from __future__ import annotations

import hashlib

import numpy as np
import pytest

from retrieval.descriptors.grey import grey_columns


def test_columns_are_the_transposed_picture():
    picture = np.zeros((2, 3, 3), dtype=np.uint8)
    picture[1, 2] = 255
    assert grey_columns(picture, "modern").tolist() == [[0, 0], [0, 0], [0, 255]]


@pytest.mark.parametrize("grey", ["modern", "legacy"])
def test_grey_is_linear_light(grey):
    ramp = np.repeat(np.array([0, 128, 255], dtype=np.uint8), 3).reshape(1, 3, 3)
    assert grey_columns(ramp, grey).ravel().tolist() == [0, 55, 255]


@pytest.mark.parametrize(
    ("grey", "digest"),
    [("modern", "cbbfc9e8677896989097a6d2d5131368"), ("legacy", "f60436926693f97508c2b511c56553ff")],
)
def test_all_colours_are_javas(grey, digest):
    """The maps over all 2^24 colours, red slowest, are Java's: their MD5 says so."""
    md5 = hashlib.md5()
    picture = np.empty((65536, 8, 3), dtype=np.uint8)
    picture[..., 1] = (np.arange(65536) >> 8)[:, None]
    picture[..., 2] = (np.arange(65536) & 255)[:, None]
    for red in range(0, 256, 8):
        picture[..., 0] = np.arange(red, red + 8)
        md5.update(grey_columns(picture, grey).tobytes())
    assert md5.hexdigest() == digest
