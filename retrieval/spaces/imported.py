"""Embeddings that others made, by an encoder that is not known here: searched by id and by vector, never by picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from numpy.typing import NDArray

from retrieval.collection import CollectionWriter, SpaceDefinition
from retrieval.errors import CollectionError
from retrieval.images import Draft, Picture
from retrieval.index.cosine import Cosine
from retrieval.index.protocol import Metric
from retrieval.spaces.protocol import Purpose, Space, UnsupportedQueryError
from retrieval.spaces.unit_vectors import UnitVectorSpace

KIND = "imported"


@dataclass(frozen=True, eq=False)
class ImportedSpace(UnitVectorSpace):
    """Vectors of unit length, compared by cosine; it embeds nothing."""

    definition: SpaceDefinition

    embeds_pictures = False

    @property
    def draft(self) -> Draft:
        """None: it sees no picture."""
        return None

    @property
    def summary(self) -> str:
        """That it has no encoder."""
        return f"{self.definition.dimension} numbers, imported; no encoder, so no picture can be a query"

    def prepare(self, picture: Picture) -> NoReturn:
        """Raises UnsupportedQueryError."""
        self.embed([])

    def embed(self, prepared: Sequence[NDArray[Any]]) -> NoReturn:
        """Raises UnsupportedQueryError."""
        raise UnsupportedQueryError(
            f"the space '{self.name}' has no encoder, so no picture can be compared in it; search by an image of the "
            "collection or by a vector, or import its vectors with `--encoder SPEC`"
        )

    def warm_up(self) -> None:
        """Nothing to load."""


def metric(definition: SpaceDefinition) -> Metric:
    """Cosine distance."""
    return Cosine()


def open(collection: Path, definition: SpaceDefinition, purpose: Purpose) -> Space:  # noqa: A001  # a kind's function
    """A space of imported vectors."""
    return ImportedSpace(definition)


def create(writer: CollectionWriter, spec: str, dimension: int | None = None) -> SpaceDefinition:
    """Add a space named `spec` of a dimension, which only the vectors themselves can tell. Raises SpaceNameError."""
    if dimension is None:
        raise CollectionError(
            f"import vectors by `kvasir index --vectors FILE.npy --table FILE.csv --space {spec or 'NAME'} "
            f"{writer.path}`"
        )
    return writer.add_space(spec, KIND, dimension, Cosine.name, {})


def prepare_all(spaces: Sequence[Space], picture: Picture) -> Mapping[str, NDArray[Any]]:
    """Raises UnsupportedQueryError."""
    return {space.name: space.prepare(picture) for space in spaces}
