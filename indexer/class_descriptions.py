"""What the classes of Kvasir and HyperKvasir show, in words: `class_descriptions.toml`, by a collection's names."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from indexer.datasets.labels import synonym_among
from retrieval.class_words import ClassDescription


def descriptions(classes: Sequence[str]) -> dict[str, ClassDescription]:
    """All descriptions, each under the name that the collection has for its class: `cecum` is `normal-cecum`.

    Where the collection has a general class alone, that of its parts (`esophagitis-a`) belongs to it.
    """
    named: dict[str, ClassDescription] = {}
    for name, description in sorted(_table().items(), key=lambda item: len(item[0])):  # a part's name is longer
        own = name if name in classes else synonym_among(name, classes) or name
        known = named.get(own)
        named[own] = description if known is None else _together(known, description)
    return named


def _together(general: ClassDescription, part: ClassDescription) -> ClassDescription:
    return ClassDescription(general.caption, general.names + part.names, f"{general.text} {part.text}")


@cache
def _table() -> dict[str, ClassDescription]:
    stored = tomllib.loads(files("indexer").joinpath("class_descriptions.toml").read_text("utf-8"))
    return {
        name: ClassDescription(fields["caption"], tuple(fields["names"]), f"{fields['kind']}. {fields['text']}")
        for name, fields in stored.items()
    }
