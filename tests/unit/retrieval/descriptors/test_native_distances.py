"""Every distance equals LIRE's, and is a distance."""

from __future__ import annotations

import json
import math
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from retrieval.descriptors import DESCRIPTORS
from retrieval.descriptors.edge_histogram import QUANTISATION
from retrieval.descriptors.native_distance import ForeignVectorError
from retrieval.index.descriptor_scan import DescriptorScan
from retrieval.index.rows import ArrayRows

NAMES = list(DESCRIPTORS)


def distance(name, a, b):
    descriptor = DESCRIPTORS[name]
    pair = [np.array([vector], dtype=descriptor.dtype) for vector in (a, b)]
    return descriptor.metric.distances(*pair)[0, 0]


def through_lires_bytes(jcd):
    """JCD as it comes back from LIRE's bytes, where a run of 129 zeros or more before a value is lost."""
    back, zeros = [], 0
    for value in jcd:
        if value == 0:
            zeros += 1
        else:
            back += [0.0] * (zeros if zeros <= 128 else 0) + [value]
            zeros = 0
    return (back + [0.0] * 168)[:168]


def known_pairs(oracle, shared=None):
    if shared is None:
        values = {image["file"]: image["modern"] for image in oracle["images"]}
        legacy = {image["file"]: image["legacy"] for image in oracle["images"]}
        for pair in oracle["pairs"]:
            yield values[pair["a"]], values[pair["b"]], pair["indexed"]
            yield legacy[pair["a"]], legacy[pair["b"]], pair["legacy"]
        return
    for file in ("endoscopy", "photos", "legacy_grey_endoscopy", "legacy_grey_photos"):
        stored = json.loads((shared / f"{file}.json").read_text())
        values = {image["file"]: image["features"] for image in stored["images"]}
        for pair in stored["pairs"]:
            yield values[pair["a"]], values[pair["b"]], pair["distance_indexed"]


@pytest.mark.parametrize("name", NAMES)
def test_drawn_pairs_have_the_distance_of_a_lire_index(oracle, name):
    compared = 0
    for a, b, expected in known_pairs(oracle):
        if name in a and name in b:
            stored = through_lires_bytes(b[name]) if name == "JCD" else b[name]
            assert distance(name, a[name], stored) == expected[name]
            compared += 1
    assert compared >= 38


@pytest.mark.parametrize("name", NAMES)
def test_real_pairs_have_the_distance_of_a_lire_index(oracle, shared_oracle, name):
    compared = 0
    for a, b, expected in known_pairs(oracle, shared_oracle):
        if name in a and name in b:
            assert distance(name, a[name], b[name]) == expected[name]
            compared += 1
    assert compared >= 106


def test_a_picture_is_at_no_distance_from_itself_where_lires_bytes_lose_it(oracle):
    checker = next(image for image in oracle["images"] if image["file"].startswith("checker"))["modern"]["JCD"]
    assert distance("JCD", checker, through_lires_bytes(checker)) == pytest.approx(88.8889, abs=1e-4)
    assert distance("JCD", checker, checker) == 0


def test_city_block_of_phog_by_hand():
    a, b = np.zeros(630), np.zeros(630)
    a[[0, 629]] = 15, 2
    b[[0, 1]] = 12, 4
    assert distance("PHOG", a, b) == 3 + 4 + 2


def test_tamura_leaves_out_coarseness_and_contrast():
    a, b = np.zeros(18), np.zeros(18)
    a[:4] = 9, 9, 3, 1
    assert distance("Tamura", a, b) == 9 + 1


def test_color_layout_weighs_the_first_coefficients():
    a, b = np.zeros(33), np.zeros(33)
    a[[0, 3, 21, 27]] = 1, 1, 2, 3
    assert distance("ColorLayout", a, b) == np.sqrt(2 * 1 + 1) + np.sqrt(2 * 4) + np.sqrt(4 * 9)


def test_edge_histogram_counts_the_first_part_five_times():
    a, b = np.zeros(80), np.zeros(80)
    a[[0, 5]] = 1, 1
    assert distance("EdgeHistogram", a, b) == pytest.approx(2 * (0.057915 - 0.010867) + 5 + 1)


def test_correlogram_of_two_disjoint_vectors():
    a, b = np.zeros(256), np.zeros(256)
    a[0], b[1] = 8, 6
    assert distance("AutoColorCorrelogram", a, b) == pytest.approx((8 + 6) / 2 * np.log(2), rel=1e-6)


def test_jcd_of_empty_vectors():
    some = np.zeros(168)
    some[3] = 7
    assert distance("JCD", np.zeros(168), np.zeros(168)) == 0
    assert distance("JCD", some, np.zeros(168)) == 100
    assert distance("JCD", np.zeros(168), some) == 100


def test_jcd_of_two_half_alike_vectors():
    a, b = np.zeros(168), np.zeros(168)
    a[[0, 1]], b[[1, 2]] = 2, 3
    # pq = 1/4, pp = qq = 1/2: Tanimoto 1/3
    assert distance("JCD", a, b) == pytest.approx(100 - 100 / 3)


def added(values):
    return reduce(add, values, 0.0)  # in order; from Python 3.12 on `sum` corrects its rounding


def as_written(name, a, b):
    """A distance by the words of its definition, one addition after the other."""
    f32 = np.float32
    if name == "JCD":
        if not added(a) or not added(b):
            return 0.0 if added(a) == added(b) else 100.0
        p, q = [v / added(a) for v in a], [v / added(b) for v in b]
        pq, pp, qq = (added(x * y for x, y in zip(*pair, strict=True)) for pair in ((p, q), (p, p), (q, q)))
        return 100.0 - 100.0 * (pq / (pp + qq - pq))
    if name == "Tamura":
        return added((x - y) ** 2 for x, y in zip(a[2:], b[2:], strict=True))
    if name == "ColorLayout":
        weights = [2, 2, 2] + [1] * 18, [2, 1, 1, 1, 1, 1], [4, 2, 2, 1, 1, 1]
        total, start = 0.0, 0
        for group in weights:
            part = slice(start, start := start + len(group))
            total += math.sqrt(added(w * (x - y) ** 2 for w, x, y in zip(group, a[part], b[part], strict=True)))
        return total
    if name == "EdgeHistogram":
        pairs = [(i, int(x), int(y)) for i, (x, y) in enumerate(zip(a, b, strict=True))]
        total = added(abs(QUANTISATION[i % 5][x] - QUANTISATION[i % 5][y]) for i, x, y in pairs)
        for i, x, y in pairs:
            total += (5.0 if i < 5 else 1.0) * abs(x - y)
        return total
    if name == "AutoColorCorrelogram":
        total = f32(0)
        for x, y in zip(a, b, strict=True):
            of_x = x / 2 * math.log(f32(2 * x) / f32(x + y)) if x else 0.0
            of_y = y / 2 * math.log(f32(2 * y) / f32(x + y)) if y else 0.0
            total = f32(float(total) + (of_x + of_y))
        return float(total)
    return added(abs(x - y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_ranking_is_that_of_the_definition_ties_and_empty_vectors_included(name):
    gallery = random_vectors(name, 60, 3)
    gallery[[4, 40]] = 0
    gallery[[7, 21, 59]] = gallery[33]
    queries = gallery[[4, 33, 50]]
    defined = [[as_written(name, q, g) for g in gallery.tolist()] for q in queries.tolist()]
    index = DescriptorScan(DESCRIPTORS[name].metric, ArrayRows(gallery), np.arange(len(gallery)))
    distances, rows = index.search(queries, 60)
    for at, row in enumerate(defined):
        order = sorted(range(60), key=lambda place: (row[place], place))
        assert rows[at].tolist() == order
        assert distances[at].tolist() == [row[place] for place in order]


def random_vectors(name, count, seed):
    random = np.random.default_rng(seed)
    descriptor = DESCRIPTORS[name]
    levels = descriptor.metric.levels
    vectors = random.integers(0, levels or 29, (count, descriptor.length)) * (random.random(descriptor.length) < 0.6)
    return (vectors / 2 if name == "JCD" else vectors).astype(descriptor.dtype)


@pytest.mark.parametrize("name", NAMES)
def test_a_pair_has_the_same_distance_whatever_else_is_asked(name):
    metric = DESCRIPTORS[name].metric
    vectors = random_vectors(name, 300, 1)
    together = metric.distances(vectors[:5], vectors)
    alone = [[metric.distances(q[None], g[None])[0, 0] for g in vectors[[0, 127, 128, 299]]] for q in vectors[:5]]
    np.testing.assert_array_equal(together[:, [0, 127, 128, 299]], alone)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_symmetric_not_negative_and_zero_only_for_the_same(name, seed):
    vectors = random_vectors(name, 6, seed)
    distances = DESCRIPTORS[name].metric.distances(vectors, vectors)
    np.testing.assert_allclose(distances, distances.T, rtol=1e-12)
    np.testing.assert_allclose(np.diagonal(distances), 0, atol=1e-11)
    assert distances.min() > -1e-11


@given(distances=arrays(np.float64, 8, elements=st.floats(0, 1e9)))
def test_scores_fall_from_one_to_zero(distances):
    for descriptor in DESCRIPTORS.values():
        scores = descriptor.metric.scores(np.sort(distances))
        assert (np.diff(scores) <= 0).all()
        assert (scores > 0).all()
        assert (scores <= 1).all()
        assert descriptor.metric.scores(np.array([0.0, np.inf])).tolist() == [1, 0]


@pytest.mark.parametrize("name", NAMES)
def test_foreign_vectors_are_named(name):
    metric = DESCRIPTORS[name].metric
    vectors = random_vectors(name, 3, 0)
    vectors[2, 7] = np.nan
    with pytest.raises(ForeignVectorError, match="value 7 of row 2 is nan"):
        metric.compact(vectors)
    vectors[2, 7] = -1
    with pytest.raises(ForeignVectorError, match=r"value 7 of row 2 is -1\.0"):
        metric.compact(vectors)
    with pytest.raises(ForeignVectorError, match="not"):
        metric.compact(vectors[:, 1:])


def test_levels_out_of_range_are_foreign():
    for name, levels in {
        "ColorLayout": 64,
        "EdgeHistogram": 8,
        "AutoColorCorrelogram": 16,
        "PHOG": 16,
    }.items():
        vectors = random_vectors(name, 1, 0)
        vectors[0, 3] = levels
        with pytest.raises(ForeignVectorError, match=f"whole numbers of 0 to {levels - 1}"):
            DESCRIPTORS[name].metric.compact(vectors)
        vectors[0, 3] = 0.5
        with pytest.raises(ForeignVectorError):
            DESCRIPTORS[name].metric.compact(vectors)


@pytest.mark.parametrize("name", NAMES)
def test_no_vectors_give_no_distances(name):
    metric = DESCRIPTORS[name].metric
    vectors = random_vectors(name, 2, 0)
    assert metric.distances(vectors, vectors[:0]).shape == (2, 0)
    assert metric.distances(vectors[:0], vectors).shape == (0, 2)
