"""Shares of descriptors: they sum to LIRE's distance, and the bins mean what the descriptors put into them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retrieval.descriptors import DESCRIPTORS, extract_all
from retrieval.reasons.shares import FACETS, shares


@pytest.fixture(scope="module")
def vectors(draw: Callable[..., Image.Image]) -> list[dict[str, Any]]:
    """The six descriptors of four drawn pictures."""
    return [
        extract_all(np.array(draw(seed, colour))) for seed, colour in enumerate([(200, 120, 90), (90, 160, 60)] * 2)
    ]


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_the_groups_of_each_facet_sum_to_the_distance(name: str, vectors: list[dict[str, Any]]) -> None:
    of_all = np.stack([of_picture[name] for of_picture in vectors])
    told = shares(name, name, of_all[0], of_all[1], of_all)
    assert told.distance == DESCRIPTORS[name].metric.distances(of_all[:1], of_all[1:2])[0, 0]
    assert told.distance > 0
    for facet in told.facets:
        assert sum(group.distance for group in facet.groups) == pytest.approx(told.distance, rel=1e-12)
        assert sum(group.share for group in facet.groups) == pytest.approx(1)
        assert all(group.distance >= -1e-9 for group in facet.groups)


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_every_bin_is_in_one_group_of_each_facet(name: str) -> None:
    for groups in FACETS[name].values():
        bins = np.sort(np.concatenate(list(groups.values())))
        assert bins.tolist() == list(range(DESCRIPTORS[name].length))


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_equal_pictures_have_no_distance_to_share(name: str, vectors: list[dict[str, Any]]) -> None:
    told = shares(name, name, vectors[0][name], vectors[0][name])
    assert told.distance == pytest.approx(0, abs=1e-9)
    assert told.sentence == "Equal in all of it."
    assert all(group.usual is None for facet in told.facets for group in facet.groups)


def plain(colour: tuple[int, int, int]) -> np.ndarray[Any, Any]:
    return np.array(Image.new("RGB", (160, 128), colour))


def stripes(*, vertical: bool) -> np.ndarray[Any, Any]:
    """Soft stripes, light and dark, 13 pixels apart."""
    place = 100 + 100 * np.sin(np.arange(160 if vertical else 128) * 2 * np.pi / 13)
    grey = np.broadcast_to(place[None, :] if vertical else place[:, None], (128, 160))
    return np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8)


def greatest(name: str, facet: str, one: Any, other: Any) -> set[str]:
    """The groups that have more than a tenth of the distance of two pictures."""
    made = [extract_all(picture, [name])[name] for picture in (one, other)]
    told = shares(name, name, made[0], made[1])
    (chosen,) = (one for one in told.facets if one.name == facet)
    return {group.name for group in chosen.groups if group.share > 0.1}


def test_colours_are_named_as_they_look() -> None:
    red, blue = plain((220, 20, 20)), plain((20, 20, 220))
    assert greatest("JCD", "Colours", red, blue) == {"red", "blue"}
    assert greatest("AutoColorCorrelogram", "Colours", red, blue) == {"red to orange", "blue"}
    dark, light = plain((60, 60, 60)), plain((190, 190, 190))
    assert greatest("ColorLayout", "Colours", dark, light) == {"brightness"}
    assert greatest("ColorLayout", "Places", dark, light) == {"mean colour"}


@pytest.mark.parametrize(
    ("name", "facet", "what"),
    [("PHOG", "Edges", "outlines"), ("EdgeHistogram", "Edges", "edges"), ("Tamura", "Textures", "edges")],
)
def test_directions_are_named_as_they_run(name: str, facet: str, what: str) -> None:
    flat = plain((128, 128, 128))
    vertical = greatest(name, facet, stripes(vertical=True), flat)
    horizontal = greatest(name, facet, stripes(vertical=False), flat)
    assert f"vertical {what}" in vertical
    assert f"horizontal {what}" in horizontal
    assert vertical != horizontal


def test_places_are_quadrants_of_the_picture() -> None:
    flat = plain((128, 128, 128))
    part = flat.copy()
    part[64:, :80] = stripes(vertical=True)[64:, :80]
    assert "lower left" in greatest("EdgeHistogram", "Places", part, flat)
    assert "upper right" not in greatest("EdgeHistogram", "Places", part, flat)
    assert "lower left" in greatest("PHOG", "Places", part, flat)
    assert "upper left" not in greatest("PHOG", "Places", part, flat)


def test_the_sentence_names_what_is_nearer_than_usual(vectors: list[dict[str, Any]]) -> None:
    of_all = np.stack([of_picture["JCD"] for of_picture in vectors])
    near = shares("JCD", "JCD", of_all[0], of_all[2], of_all)
    assert near.sentence.startswith("Nearer than pictures at random in: ")
    assert shares("JCD", "JCD", of_all[0], of_all[2]).sentence.startswith("How far pictures of this collection usually")
