"""Names of spaces in the plots."""

from __future__ import annotations

import pytest

from retrieval.report.plots import wrapped


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
