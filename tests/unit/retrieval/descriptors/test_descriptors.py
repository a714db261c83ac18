from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.descriptors import (
    DESCRIPTORS,
    NotRGBError,
    UnknownDescriptorError,
    descriptor_named,
    extract_all,
)
from retrieval.descriptors.grey import grey_columns
from retrieval.descriptors.variant import VARIANTS, UnknownVariantError, Variant, parse_variant

ROOT = Path(__file__).resolve().parents[4]
HIGHEST = {"JCD": 14, "ColorLayout": 63, "EdgeHistogram": 7, "AutoColorCorrelogram": 15, "PHOG": 15}


@st.composite
def pictures(draw):
    height, width = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    if draw(st.integers(0, 9)) == 0:  # a strip, which LIRE may not scale
        height, width = draw(st.sampled_from([(height, 1000), (1000, width)]))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    colors = draw(st.sampled_from([2, 5, 256]))
    coarse = draw(st.sampled_from([1, 7]))
    palette = random.integers(0, 256, (colors, 3), dtype=np.uint8)
    picture = palette[random.integers(0, colors, (height, width))]
    return np.ascontiguousarray(picture.repeat(coarse, 0).repeat(coarse, 1)[:height, :width])


def test_the_six_in_the_order_of_the_features_files():
    assert [(d.name, d.length) for d in DESCRIPTORS.values()] == [
        ("JCD", 168),
        ("Tamura", 18),
        ("ColorLayout", 33),
        ("EdgeHistogram", 80),
        ("AutoColorCorrelogram", 256),
        ("PHOG", 630),
    ]
    assert [d.metric.name for d in DESCRIPTORS.values()] == [d.metric_name for d in DESCRIPTORS.values()]
    assert [d.metric.name for d in DESCRIPTORS.values()] == [
        "lire-jcd",
        "lire-tamura",
        "lire-color-layout",
        "lire-edge-histogram",
        "lire-auto-color-correlogram",
        "lire-phog",
    ]
    assert all(d.metric.length == d.length for d in DESCRIPTORS.values())


def test_importing_the_registry_loads_no_compiler():
    code = "import sys, retrieval.descriptors; sys.exit('numba' in sys.modules or 'faiss' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@settings(max_examples=60, deadline=None)
@given(picture=pictures(), variant=st.sampled_from(VARIANTS))
def test_any_picture_gives_values_in_range(picture, variant):
    vectors = extract_all(picture, variant=variant)
    assert list(vectors) == list(DESCRIPTORS)
    for name, vector in vectors.items():
        assert vector.shape == (DESCRIPTORS[name].length,)
        assert vector.dtype == DESCRIPTORS[name].dtype
        assert np.isfinite(vector).all()
        assert vector.min() >= 0
        assert vector.max() <= HIGHEST.get(name, np.inf)
        steps = vector[2:] if name == "Tamura" else vector * 2 if name == "JCD" else vector
        np.testing.assert_array_equal(steps, np.round(steps))
        DESCRIPTORS[name].metric.compact(vector[None])  # its own metric takes it
    h, w, _ = picture.shape
    if max(h, w) <= 64:
        assert vectors["Tamura"][2:].sum() == max(w - 2, 0) * max(h - 2, 0)
        assert vectors["Tamura"][0] <= 4


@settings(max_examples=20, deadline=None)
@given(picture=pictures(), name=st.sampled_from(list(DESCRIPTORS)), variant=st.sampled_from(VARIANTS))
def test_alone_together_and_read_only_are_the_same(picture, name, variant):
    together = extract_all(picture, variant=variant)[name]
    before = picture.copy()
    picture.flags.writeable = False
    np.testing.assert_array_equal(DESCRIPTORS[name].extract(picture, variant), together)
    np.testing.assert_array_equal(DESCRIPTORS[name].extract(picture[:, ::-1][:, ::-1], variant), together)
    np.testing.assert_array_equal(picture, before)


@settings(max_examples=20, deadline=None)
@given(picture=pictures())
def test_only_tamura_and_phog_see_the_grey_map_and_small_pictures_are_not_shrunk(picture):
    modern, legacy = (
        extract_all(picture, variant=Variant("modern")),
        extract_all(picture, variant=Variant("legacy")),
    )
    shrunk = extract_all(picture, variant=Variant("legacy", 1024))
    for name, descriptor in DESCRIPTORS.items():
        np.testing.assert_array_equal(shrunk[name], legacy[name])
        if not descriptor.sees_grey:
            np.testing.assert_array_equal(modern[name], legacy[name])


def coarseness_as_written(grey):
    """Tamura's coarseness, [x, y], by the words of the definition."""
    w, h = grey.shape

    def mean(k, x, y):
        xs = (np.arange(4**k) + x - 2 ** (k - 1)).clip(0, w - 1)
        ys = (np.arange(4**k) + y - 2 ** (k - 1)).clip(0, h - 1)
        return grey[np.ix_(xs, ys)].sum() / 4**k

    def change(k, x, y):
        reach = 2 ** (k - 1)
        along_x = abs(mean(k, x + reach, y) - mean(k, x - reach, y))
        return max(along_x, abs(mean(k, x, y + reach) - mean(k, x, y - reach)))

    points = ((x, y) for x in range(1, w - 1) for y in range(1, h - 1))
    return 1.0 / (w * h) * sum(4 if change(2, x, y) > change(1, x, y) else 2 for x, y in points)


@pytest.mark.parametrize("shape", [(4, 700), (700, 4), (40, 30)])
def test_coarseness_of_frames_that_are_not_scaled_is_as_defined(shape):
    """A frame of 700x4 would be less than two pixels high, so it is looked at whole, in several tiles."""
    grey = np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)
    picture = np.repeat(grey[..., None], 3, axis=2)
    columns = grey_columns(picture, "modern").astype(np.int64)
    assert DESCRIPTORS["Tamura"].extract(picture, Variant("modern"))[0] == coarseness_as_written(columns)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 300_000), (300_000, 1), (4, 100_000), (300, 20_000), (800, 600)])
def test_arrays_made_on_the_way_take_less_than_12_bytes_a_pixel(shape):
    picture = np.random.default_rng(3).integers(0, 256, (*shape, 3), dtype=np.uint8)
    extract_all(picture[:9, :9])
    tracemalloc.start()
    extract_all(picture)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * shape[0] * shape[1]


def test_a_single_colour_by_hand():
    vectors = extract_all(np.full((64, 64, 3), 128, dtype=np.uint8))
    assert np.flatnonzero(vectors["JCD"]).tolist() == [1]  # no edge, grey
    assert vectors["Tamura"].tolist() == [2 * 62 * 62 / 64**2, 0, 62 * 62] + [0] * 15
    assert np.delete(vectors["ColorLayout"], [0, 21, 27]).tolist() == [16] * 30
    assert vectors["EdgeHistogram"].sum() == 0
    colour = np.flatnonzero(vectors["AutoColorCorrelogram"])
    assert colour.tolist() == [4, 5, 6, 7]  # hue 0, saturation 0, value 1
    assert vectors["PHOG"].sum() == 0


def test_correlogram_of_two_pixels_by_hand():
    # Two white pixels side by side: each meets itself once on the ring of 8 at distance 1: 16 * 2 / 16 = 2.
    vector = DESCRIPTORS["AutoColorCorrelogram"].extract(np.full((1, 2, 3), 255, dtype=np.uint8))
    assert {int(i): vector[i].item() for i in np.flatnonzero(vector)} == {4: 2.0}


def test_phog_of_an_upright_edge_has_one_direction():
    picture = np.zeros((40, 40, 3), dtype=np.uint8)
    picture[:, 20] = 128
    picture[:, 21:] = 255  # strongest in one column, so that thinning keeps it
    vector = DESCRIPTORS["PHOG"].extract(picture).reshape(21, 30)
    assert np.flatnonzero(vector[0]).tolist() == [15]  # angle 0 of -pi/2..pi/2
    assert vector[0, 15] == 15


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_only_rgb_is_taken(picture):
    with pytest.raises(NotRGBError):
        extract_all(picture)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(UnknownDescriptorError, match="no descriptor `SIFT`; there are JCD, Tamura"):
        descriptor_named("SIFT")


def test_variants_have_a_text_that_reads_back():
    assert [str(variant) for variant in VARIANTS] == ["legacy", "modern", "legacy,1024", "modern,1024"]
    assert [parse_variant(str(variant)) for variant in VARIANTS] == list(VARIANTS)
    with pytest.raises(UnknownVariantError, match="`antique`"):
        parse_variant("antique")


def test_an_assumed_variant_is_read_back_and_says_once_that_its_values_compare_with_nothing(caplog):
    variant = parse_variant("modern,1024 (assumed)")
    assert (variant, variant.assumed, str(variant)) == (Variant("modern", 1024), True, "modern,1024 (assumed)")
    assert not parse_variant("modern,1024").assumed
    picture = np.zeros((5, 5, 3), dtype=np.uint8)
    for _ in range(2):
        DESCRIPTORS["JCD"].extract(picture, variant)
    DESCRIPTORS["JCD"].extract(picture, Variant())
    (said,) = caplog.messages
    assert said.startswith("JCD: no variant of LIRE gives the values that were shipped")
    assert "made by `modern,1024`, are not comparable" in said


@pytest.mark.slow
def test_nothing_is_left_to_compile_after_warming_up():
    code = """
import sys
import numpy as np
from retrieval.descriptors import DESCRIPTORS, extract_all, warm_up
from retrieval.descriptors.variant import VARIANTS
from retrieval.filters import Selection
from retrieval.index.descriptor_scan import DescriptorScan
from retrieval.index.rows import ArrayRows

def compiled():
    modules = [module for name, module in sys.modules.items() if name.startswith("retrieval.descriptors.")]
    kernels = {f"{k.__module__}.{k.__name__}": k for m in modules for k in vars(m).values() if hasattr(k, "signatures")}
    return {name: kernel.signatures for name, kernel in kernels.items()}

warm_up()
before = compiled()
assert len(before) > 20
picture = np.random.default_rng(0).integers(0, 256, (900, 1100, 3), dtype=np.uint8)
for variant in VARIANTS:
    for name, vector in extract_all(picture, variant=variant).items():
        vectors = np.stack([vector] * 200)
        ids = np.arange(200)
        index = DescriptorScan(DESCRIPTORS[name].metric, ArrayRows(vectors), ids)
        index.search(vectors[:2], 3, Selection(ids, ids[ids % 3 > 0]))
print({name: found for name, found in compiled().items() if found != before[name]})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{}"
