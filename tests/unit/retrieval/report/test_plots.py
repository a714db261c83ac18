"""Names of spaces and classes in the plots, and what is too wide for a phone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from retrieval.report.drawing import new_figure, svg
from retrieval.report.plots import LABEL_WIDTH, class_labels, wrapped


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("tf_efficientnet_lite0-multi-pca", ["tf_efficientnet_lite0-multi-pca"]),
        ("JCD=2+Tamura", ["JCD=2+Tamura"]),
        (
            "zscore:AutoColorCorrelogram+JCD+tf_efficientnet_lite0-multi-pca",
            ["zscore:AutoColorCorrelogram+JCD+", "tf_efficientnet_lite0-multi-pca"],
        ),
        ("a" * 50 + "+b", ["a" * 50 + "+", "b"]),
    ],
)
def test_a_long_fusion_is_wrapped_after_a_plus(name: str, lines: list[str]) -> None:
    assert wrapped(name).split("\n") == lines


def test_of_a_long_class_the_middle_is_left_out() -> None:
    long = "inflammatory bowel disease, ulcerative colitis, grade 0-1"
    named: Any = SimpleNamespace(shown_names=("polyps", "ulcerative-colitis-grade-0-1", long))
    short, whole, cut = class_labels(named)
    assert (short, whole) == ("polyps", "ulcerative-colitis-grade-0-1")
    assert len(cut) == LABEL_WIDTH
    assert cut == "inflammatory bowel di… grade 0-1"


@pytest.mark.parametrize(("width", "large"), [(5.2, False), (12, True)])
def test_a_wide_drawing_keeps_its_size_on_a_phone(width: float, large: bool) -> None:
    figure, _ = new_figure(width, 2)
    assert svg(figure, "test").startswith('<svg class="large" ') is large
