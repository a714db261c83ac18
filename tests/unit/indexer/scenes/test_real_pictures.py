"""Pairs of the shared subset, told by eye and by the date and time that the device wrote on them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from indexer.scenes.geometry import INLIERS, agreement
from indexer.scenes.local_features import LocalFeatures, local_features

SHARED = Path(__file__).resolve().parents[4] / "../shared/data/kvasir-v2-subset"
pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")

VIDEO = "ulcerative-colitis/fc79c489-b358-4368-b965-330615af73d4_00000"
OTHER_VIDEO = "ulcerative-colitis/698f130b-41ff-414d-908c-8d8c0f82d4a8_0000"
SAME = (
    (f"{VIDEO}403", f"{VIDEO}411"),
    (f"{VIDEO}120", f"{VIDEO}157"),
    (f"{VIDEO}281", f"{VIDEO}326"),
    (f"{VIDEO}120", "ulcerative-colitis/995f90a6-1d87-4d29-b6d7-4f9e09558497"),
    (f"{OTHER_VIDEO}1933", f"{OTHER_VIDEO}1979"),
    ("normal-cecum/0cb87b92-a78f-4bba-9543-9540048a73f1", "normal-cecum/394f1922-d2fc-4d27-9dab-d973143b25b5"),
    ("esophagitis/25a88ded-9f6c-46df-af8e-22ff202467f6", "esophagitis/f9040c9a-a93a-4261-84ea-14d0b876eb32"),
    # near duplicates
    ("polyps/0c556b9f-a3aa-4153-b3a0-8e7daea90f70", "polyps/cju15wdt3zla10801odjiw7sy"),
    ("polyps/05374a2d-87f6-45e6-8bf1-5fa445f7aee1", "polyps/cju5jx7jzf7c90871c2i9aiov"),
)
DIFFERENT = (
    ("normal-cecum/1a5e459b-f8e2-43be-8a29-63e932497cfc", "normal-cecum/4a435c62-98a6-492e-88ed-fc3744729fc1"),
    ("polyps/a0658788-e7f9-4352-9cf7-116ac9ae472b", "polyps/a5fb73eb-d77a-4737-b0b5-3b39814e14de"),
    # one video, whose text is all that two of its frames share
    (
        "ulcerative-colitis/584f1fa0-9bb9-49d3-b412-c42819d0a200_00000013",
        "ulcerative-colitis/584f1fa0-9bb9-49d3-b412-c42819d0a200_00001596",
    ),
)


@cache
def features(name: str) -> LocalFeatures:
    return local_features((SHARED / f"{name}.jpg").read_bytes())


@pytest.mark.parametrize(("first", "second"), SAME)
def test_frames_of_one_place_agree(first: str, second: str) -> None:
    assert agreement(features(first), features(second)) >= INLIERS


@pytest.mark.parametrize(("first", "second"), DIFFERENT)
def test_frames_of_two_places_do_not(first: str, second: str) -> None:
    assert agreement(features(first), features(second)) == 0
