"""What each space compares, in one plain sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import retrieval
from retrieval.collection import CollectionWriter
from retrieval.descriptors import DESCRIPTORS


@pytest.fixture
def sentence_of(tmp_path: Path) -> Any:
    """(kind, recipe) -> the sentence of such a space."""

    def made(kind: str, recipe: dict[str, Any], metric: str = "cosine", dimension: int = 4) -> str:
        with CollectionWriter(tmp_path / "c", create=True) as writer:
            writer.add_space("s", kind, dimension, metric, recipe)
        return retrieval.open(tmp_path / "c").space("s").sentence

    return made


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_every_descriptor_says_what_it_compares_and_when_it_helps(sentence_of: Any, name: str) -> None:
    recipe = {"descriptor": name, "variant": "legacy", "origin": "computed"}
    sentence = sentence_of("descriptor", recipe, DESCRIPTORS[name].metric_name, DESCRIPTORS[name].length)
    assert "; helps for " in sentence or "; helps where " in sentence
    assert sentence.endswith(".")


def test_an_encoder_says_what_it_was_trained_on(sentence_of: Any) -> None:
    assert "trained on GastroNet-5M" in sentence_of("encoder", {"known": "gastronet-5m-vits16", "spec": "x"})


def test_an_unknown_encoder_says_so(sentence_of: Any) -> None:
    assert "mostly everyday photographs" in sentence_of("encoder", {"spec": "timm:tf_efficientnet_lite0"})


def test_imported_vectors_say_that_their_makers_know(sentence_of: Any) -> None:
    assert sentence_of("imported", {"imported": []}).startswith("Vectors that were made elsewhere")
