from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval.descriptors import DESCRIPTORS, extract_all
from retrieval.descriptors.agreement import agreeing_variant
from retrieval.descriptors.variant import VARIANTS, Variant

SHARED = Path(__file__).resolve().parents[4] / ".." / "shared" / "data"


@pytest.fixture(scope="module")
def large_and_small(draw):
    return [draw("scope_1225x966.png"), draw("scope_332x352.png")]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_the_variant_that_made_the_features_is_found(large_and_small, variant):
    agreement = agreeing_variant((rgb, extract_all(rgb, variant=variant)) for rgb in large_and_small)
    assert agreement.variant == variant
    assert agreement.shares[variant] == dict.fromkeys(DESCRIPTORS, 1)
    assert agreement.reproduced() == tuple(DESCRIPTORS)
    assert agreement.grey_identified
    assert agreement.scaling_identified
    assert str(agreement) == f"LIRE variant `{variant}`: 100.00% of the values of 2 pictures agree"


def test_small_pictures_cannot_tell_the_scaling(large_and_small):
    agreement = agreeing_variant((rgb, extract_all(rgb)) for rgb in large_and_small[1:])
    assert agreement.variant == Variant("legacy")
    assert not agreement.scaling_identified
    assert "(the scaling assumed: these pictures cannot tell)" in str(agreement)


def test_descriptors_of_colour_cannot_tell_the_grey_map(large_and_small):
    names = ["JCD", "ColorLayout", "EdgeHistogram"]
    agreement = agreeing_variant((rgb, extract_all(rgb, names, Variant("modern"))) for rgb in large_and_small)
    assert agreement.variant == Variant("legacy")
    assert not agreement.grey_identified
    assert agreement.scaling_identified


def test_features_of_another_picture_agree_with_no_variant(large_and_small):
    other = extract_all(large_and_small[0])
    agreement = agreeing_variant([(large_and_small[1], other)])
    assert agreement.reproduced() == ()
    assert str(agreement).startswith("no variant of LIRE reproduces the shipped values of 1 pictures in JCD (")


def test_a_third_grey_map_leaves_the_descriptors_of_colour_reproduced(large_and_small):
    features = [extract_all(rgb) for rgb in large_and_small]
    for vectors in features:
        vectors["Tamura"] = vectors["Tamura"] + 1
        vectors["PHOG"] = np.roll(vectors["PHOG"], 1)
    agreement = agreeing_variant(zip(large_and_small, features, strict=True))
    assert agreement.reproduced() == ("JCD", "ColorLayout", "EdgeHistogram", "AutoColorCorrelogram")
    assert agreement.variant.longest is None
    assert "in Tamura (0.0%), PHOG (" in str(agreement)
    assert set(agreement.reproduced(Variant("legacy", 1024))) < set(agreement.reproduced())


def test_nothing_to_compare_is_no_agreement():
    agreement = agreeing_variant([])
    assert (agreement.variant, agreement.reproduced(), agreement.grey_identified) == (Variant("legacy"), (), False)
    assert str(agreement) == (
        "no shipped features could be compared with their pictures; LIRE variant `legacy` is assumed"
    )


def shipped(file: Path) -> dict[str, np.ndarray]:
    lines = (line.split(":") for line in file.read_text().splitlines() if line)
    return {name: np.array(values.split(","), dtype=DESCRIPTORS[name].dtype) for name, values in lines}


def test_the_shared_features_are_recognised():
    folder = SHARED / "kvasir-v2-subset"
    if not folder.exists():
        pytest.skip("needs ../shared/data/kvasir-v2-subset")
    pictures = sorted(folder.glob("*/*.jpg"))
    sample = pictures[:: len(pictures) // 10]

    def pair(file: Path):
        features = SHARED / "kvasir-v2-subset-features" / file.parent.name / f"{file.stem}.features"
        with Image.open(file) as image:
            return np.asarray(image.convert("RGB")), shipped(features)

    agreement = agreeing_variant(pair(file) for file in sample)
    assert agreement.variant == Variant("legacy")
    assert agreement.grey_identified
    assert agreement.scaling_identified
    assert min(agreement.shares[Variant("legacy")].values()) > 0.999
    assert agreement.reproduced(Variant("modern")) == ("JCD", "ColorLayout", "EdgeHistogram", "AutoColorCorrelogram")
