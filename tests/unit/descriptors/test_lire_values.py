"""Every value equals what LIRE itself computes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from retrieval.descriptors import DESCRIPTORS, extract_all
from retrieval.descriptors.cedd import cedd
from retrieval.descriptors.fcth import fcth
from retrieval.descriptors.variant import Variant


def assert_equal(ours, expected, name):
    ours, expected = np.asarray(ours), np.asarray(expected)
    if name == "Tamura":  # contrast goes through `pow`, which is not exact in Java either
        np.testing.assert_allclose(ours[1], expected[1], rtol=1e-12)
        ours, expected = np.delete(ours, 1), np.delete(expected, 1)
    np.testing.assert_array_equal(ours, expected, err_msg=name)


def values_of(oracle, name):
    return next(image for image in oracle["images"] if image["file"] == name)


def test_drawn_picture_with_the_modern_grey_map(oracle, draw, picture_name):
    expected = values_of(oracle, picture_name)["modern"]
    ours = extract_all(draw(picture_name), variant=Variant("modern"))
    for name, vector in ours.items():
        assert_equal(vector, expected[name], name)


def test_drawn_picture_with_the_legacy_grey_map(oracle, draw, picture_name):
    expected = values_of(oracle, picture_name)["legacy"]
    ours = extract_all(draw(picture_name), ["Tamura", "PHOG"], Variant("legacy"))
    for name, vector in ours.items():
        assert_equal(vector, expected[name], name)


def test_the_halves_of_jcd(oracle, draw, picture_name):
    expected = values_of(oracle, picture_name)["modern"]
    np.testing.assert_array_equal(cedd(draw(picture_name)).ravel(), expected["CEDD"])
    np.testing.assert_array_equal(fcth(draw(picture_name)).ravel(), expected["FCTH"])


@pytest.mark.parametrize(
    ("file", "variant", "count"),
    [
        ("endoscopy.json", Variant("modern"), 24),
        ("legacy_grey_endoscopy.json", Variant("legacy"), 24),
        ("endoscopy_scaled1024.json", Variant("modern", 1024), 5),
        ("photos.json", Variant("modern"), 8),
        ("legacy_grey_photos.json", Variant("legacy"), 8),
    ],
)
def test_real_pictures(shared_oracle, file, variant, count):
    compared = 0
    for image in json.loads((shared_oracle / file).read_text())["images"]:
        # rocket.jpg has an Adobe RGB profile, which Java's decoder applies: the decoder's part, not ours.
        if image["bufferedImageType"] != 5 or image["file"].endswith("rocket.jpg"):
            continue
        with Image.open(shared_oracle / image["file"]) as picture:
            rgb = np.asarray(picture.convert("RGB"))
        names = [name for name in DESCRIPTORS if name in image["features"]]
        for name, vector in extract_all(rgb, names, variant).items():
            assert_equal(vector, image["features"][name], name)
        compared += 1
    assert compared == count
