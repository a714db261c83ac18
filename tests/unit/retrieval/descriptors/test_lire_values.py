"""Every value equals what LIRE itself computes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from retrieval.descriptors import DESCRIPTORS, extract_all
from retrieval.descriptors.cedd import cedd
from retrieval.descriptors.fcth import fcth
from retrieval.descriptors.variant import Variant
from retrieval.images import read

EIGHT_BIT_RGB = 5
"""Java's number for such a BufferedImage."""


def assert_equal(ours, expected, name):
    ours, expected = np.asarray(ours), np.asarray(expected)
    if name == "Tamura":  # contrast goes through `pow`, which is not exact in Java either
        np.testing.assert_allclose(ours[1], expected[1], rtol=1e-12)
        ours, expected = np.delete(ours, 1), np.delete(expected, 1)
    np.testing.assert_array_equal(ours, expected, err_msg=name)


def values_of(oracle, name):
    return next(image for image in oracle["images"] if image["file"] == name)


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "variant", "count"),
    [
        ("endoscopy.json", Variant("modern"), 24),
        ("legacy_grey_endoscopy.json", Variant("legacy"), 24),
        ("endoscopy_scaled1024.json", Variant("modern", 1024), 5),
        ("photos.json", Variant("modern"), 9),  # one with an Adobe RGB profile
        ("legacy_grey_photos.json", Variant("legacy"), 9),
    ],
)
def test_real_pictures_as_we_decode_them(shared_oracle, file, variant, count):
    compared = 0
    for image in json.loads((shared_oracle / file).read_text())["images"]:
        if image["bufferedImageType"] != EIGHT_BIT_RGB:
            continue
        names = [name for name in DESCRIPTORS if name in image["features"]]
        for name, vector in extract_all(read(shared_oracle / image["file"]).pixels(), names, variant).items():
            assert_equal(vector, image["features"][name], name)
        compared += 1
    assert compared == count


@pytest.mark.parametrize(
    ("kind", "equal"),
    [
        ("L", {"JCD", "ColorLayout", "EdgeHistogram"}),
        ("L_jpeg", {"JCD", "ColorLayout", "EdgeHistogram"}),
        ("I16", {"JCD", "ColorLayout", "EdgeHistogram"}),
        ("1", {"JCD", "ColorLayout", "EdgeHistogram", "PHOG"}),
        ("P", {"JCD", "ColorLayout", "EdgeHistogram", "PHOG"}),
        ("RGBA", {"JCD", "ColorLayout", "EdgeHistogram"}),
        ("RGBA_opaque", {"JCD", "ColorLayout", "EdgeHistogram", "PHOG"}),
    ],
)
def test_of_other_kinds_of_picture_those_are_equal_that_lire_sees_as_rgb(shared_oracle, kind, equal):
    """For the others LIRE reads a palette's numbers or raw grey as if they were colours, or throws; ours are RGB's."""
    images = json.loads((shared_oracle / "synthetic.json").read_text())["images"]
    image = next(image for image in images if Path(image["file"]).stem == f"mode_{kind}_320x256")
    ours = extract_all(read(shared_oracle / image["file"]).pixels(), variant=Variant("modern"))
    theirs = image["features"]
    assert {name for name in theirs if name in ours and np.array_equal(ours[name], theirs[name])} == equal
