from __future__ import annotations

import pytest

from retrieval.evaluation.options import Fusion, FusionTextError


@pytest.mark.parametrize(
    ("text", "spaces", "weights", "name"),
    [
        ("A+B", ("A", "B"), (1, 1), "A+B"),
        ("A=2+B", ("A", "B"), (2, 1), "A=2+B"),
        ("zscore:A+B=3", ("A", "B"), (1, 3), "zscore:A+B=3"),
        ("rrf : A+B", ("A", "B"), (1, 1), "A+B"),
        (" A = 0.50 + B=1 + v1.2-x ", ("A", "B", "v1.2-x"), (0.5, 1, 1), "A=0.5+B+v1.2-x"),
    ],
)
def test_a_fusion_is_read_and_named(text: str, spaces: tuple[str], weights: tuple[float], name: str) -> None:
    fusion = Fusion.parse(text)
    assert (fusion.spaces, fusion.weights, fusion.name) == (spaces, weights, name)
    assert fusion.method == ("zscore" if text.startswith("zscore") else "rrf")
    assert Fusion.parse(name) == fusion


@pytest.mark.parametrize(
    "text", ["", "A", "A+", "A+A", "A=2+A", "A=+B", "A=0+B", "A=-1+B", "A=nan+B", "A=inf+B", "A=x+B"]
)
def test_what_is_no_fusion_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(FusionTextError, match=r"A\+B"):
        Fusion.parse(text)


@pytest.mark.parametrize("text", ["sum:A+B", ":A+B", "zscore:minmax:A+B"])
def test_an_unknown_method_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(FusionTextError, match="there are rrf, zscore, minmax"):
        Fusion.parse(text)
