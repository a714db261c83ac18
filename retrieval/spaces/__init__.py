"""Ways of comparing images: a registry of kinds, one file a kind. Nothing outside asks what kind a space is.

A new kind is a module with the functions of `Kind` and a line in KINDS.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from numpy.typing import NDArray

from retrieval.collection import CollectionWriter, Manifest, SpaceDefinition
from retrieval.images import Draft, Picture
from retrieval.index.cosine import Cosine
from retrieval.index.protocol import Metric
from retrieval.spaces.protocol import (
    Kind,
    Purpose,
    Shipped,
    Space,
    UnknownKindError,
    UnknownMetricError,
    UnsupportedQueryError,
    VectorError,
)

__all__ = [
    "KINDS",
    "Kind",
    "Purpose",
    "Shipped",
    "Space",
    "UnknownKindError",
    "UnknownMetricError",
    "UnsupportedQueryError",
    "VectorError",
    "create_space",
    "embedding_spaces",
    "kind_named",
    "metric_of",
    "open_space",
    "prepare_all",
]

KINDS: dict[str, str] = {
    "encoder": "retrieval.spaces.encoder",
    "descriptor": "retrieval.spaces.descriptor",
    "learned": "retrieval.spaces.learned",
    "imported": "retrieval.spaces.imported",
}
"""The module of each kind; it is imported with the first space of the kind."""


def kind_named(name: str) -> Kind:
    """The module of a kind. Raises UnknownKindError."""
    if name not in KINDS:
        raise UnknownKindError(f"no kind of space is called '{name}'; this version has {', '.join(KINDS)}")
    return cast(Kind, import_module(KINDS[name]))


def metric_of(definition: SpaceDefinition) -> Metric:
    """The native distance of a space. Raises UnknownKindError."""
    if definition.metric == Cosine.name and definition.kind in KINDS:
        return Cosine()  # without the kind's module, which encoders load much for
    return kind_named(definition.kind).metric(definition)


def embedding_spaces(manifest: Manifest) -> list[str]:
    """The names of the spaces that are compared by cosine, in which the nearest images can be ranked anew."""
    return [space.name for space in manifest.spaces if space.metric == Cosine.name]


def open_space(collection: Path, definition: SpaceDefinition, purpose: Purpose = "throughput") -> Space:
    """A space of the collection in a folder; loads no weights. Raises UnknownKindError."""
    return kind_named(definition.kind).open(collection, definition, purpose)


def create_space(writer: CollectionWriter, text: str) -> SpaceDefinition:
    """Add a space written as KIND:SPEC, such as `descriptor:JCD`. Raises UnknownKindError and what the kind raises."""
    kind, _, spec = text.partition(":")
    return kind_named(kind).create(writer, spec)


def prepare_all(spaces: Iterable[Space], pictures: Mapping[Draft, Picture]) -> dict[str, NDArray[Any]]:
    """What each space's `embed` takes of one picture, by name. pictures: the picture at each space's draft."""
    together: defaultdict[tuple[str, Draft], list[Space]] = defaultdict(list)
    for space in spaces:
        together[space.definition.kind, space.draft].append(space)
    prepared: dict[str, NDArray[Any]] = {}
    for (kind, draft), members in together.items():
        prepared |= kind_named(kind).prepare_all(members, pictures[draft])
    return prepared
