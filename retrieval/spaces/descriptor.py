"""LIRE's global descriptors as spaces: computed from a picture, or read from a shipped archive by the indexer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import CollectionWriter, SpaceDefinition
from retrieval.descriptors import DEFAULT_VARIANT, DESCRIPTORS, Descriptor, descriptor_named, extract_all, warm_up
from retrieval.descriptors.variant import Variant, parse_variant
from retrieval.images import Draft, Picture
from retrieval.index.protocol import Metric
from retrieval.spaces.protocol import (
    Purpose,
    Shipped,
    Space,
    UnknownMetricError,
    VectorError,
    finite_vector,
    require_fields,
)

if TYPE_CHECKING:
    from retrieval.descriptors.native_distance import NativeDistance

KIND = "descriptor"

_SENTENCES = {
    "JCD": "Colours together with how soft their edges are; helps where colour and coarse structure go together.",
    "Tamura": "Texture: how coarse, how contrasted, in which direction; helps for surface patterns of any colour.",
    "ColorLayout": "Which colours lie where, on a coarse grid; helps for scenes of one layout, as dye in one place.",
    "EdgeHistogram": "In which directions edges run in each part; helps for folds and outlines, and ignores colour.",
    "AutoColorCorrelogram": "Which colours lie close to themselves; helps for the colour of tissue, staining and dye.",
    "PHOG": "The directions of outlines in ever smaller parts; helps for shapes, and ignores colour.",
}
"""What each descriptor compares and when that helps."""


@dataclass(frozen=True, eq=False)
class DescriptorSpace(Space):
    """One descriptor, by the variant of LIRE that its recipe names."""

    definition: SpaceDefinition

    @cached_property
    def descriptor(self) -> Descriptor:
        """The descriptor. Raises UnknownMetricError."""
        return _descriptor_of(self.definition)

    @cached_property
    def variant(self) -> Variant:
        """The variant of LIRE. Raises UnknownVariantError, FormatError."""
        return parse_variant(self._stated_variant)

    @property
    def _stated_variant(self) -> str:
        require_fields(self.definition, {"variant": str})
        return str(self.definition.recipe["variant"])

    @property
    def shipped(self) -> Shipped:
        """The descriptor, its variant, and the archive that vectors came from."""
        recipe = self.definition.recipe
        archive = None if recipe.get("origin", "computed") == "computed" else str(recipe["origin"])
        return Shipped(self.descriptor.name, self.variant, archive, recipe.get("compared_pictures"))

    @property
    def metric(self) -> NativeDistance:
        """LIRE's distance."""
        return self.descriptor.metric

    @property
    def draft(self) -> Draft:
        """None: a descriptor sees every pixel."""
        return None

    @property
    def summary(self) -> str:
        """The variant of LIRE."""
        return f"LIRE's descriptor, variant '{self.variant}'"

    @property
    def sentence(self) -> str:
        """What the descriptor compares and when that helps."""
        return _SENTENCES[self.descriptor.name]

    @property
    def details(self) -> list[str]:
        """The variant of LIRE, and how well it reproduces shipped values."""
        recipe = self.definition.recipe
        line = f"LIRE variant {self._stated_variant}"
        if agreement := recipe.get("agreement"):
            ours = self._stated_variant.partition(" ")[0]  # "legacy (assumed)" where none agrees
            best, *others = sorted(agreement.items(), key=lambda pair: (pair[0] != ours, -pair[1]))
            rest = ", ".join(f"{name} {share:.2%}" for name, share in others)
            line += f"; {best[0]} gives {best[1]:.2%} of the shipped values" + (f" ({rest})" if rest else "")
        return [line] + ([f"warning: {recipe['warning']}"] if "warning" in recipe else [])

    @property
    def origin(self) -> str:
        """Computed, or shipped in an archive."""
        recipe = self.definition.recipe
        if (imported := super().origin) is not None:
            return imported
        if recipe.get("origin", "computed") == "computed":
            return "computed from the pictures"
        pictures = recipe.get("compared_pictures")
        compared = "" if pictures is None else f", compared with {pictures} pictures"
        return f"shipped in {recipe['origin']}{compared}"

    def prepare(self, picture: Picture) -> NDArray[Any]:
        """The descriptor itself, (d,)."""
        return self.descriptor.extract(picture.pixels(), self.variant)

    def embed(self, prepared: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """The prepared descriptors as rows."""
        shape = (len(prepared), self.definition.dimension)
        return np.asarray(prepared, self.definition.dtype).reshape(shape)

    def validate(self, vector: NDArray[Any]) -> NDArray[Any]:
        """The vector, if the descriptor can have these values."""
        checked = finite_vector(vector, self.definition)
        if not (fitting := self.metric.valid_values(checked)).all():
            place = int(np.argmin(fitting))
            raise VectorError(
                f"the vector is none of the space '{self.name}': {self.definition.metric} has {self.metric.expected}; "
                f"value {place} is {checked[place]}"
            )
        return checked

    def prototype(self, mean: NDArray[np.float64]) -> NDArray[Any]:
        """The mean, rounded for descriptors of whole numbers."""
        return self.validate(mean if self.metric.valid_values(mean).all() else np.rint(mean))

    def plausible(self, vectors: NDArray[Any]) -> NDArray[np.bool_]:
        """Rows whose values the descriptor can have."""
        plausible: NDArray[np.bool_] = np.asarray(self.metric.valid_values(vectors).all(axis=1))
        return plausible

    def warm_up(self) -> None:
        """Compile the kernels of all descriptors, or load them from disk."""
        warm_up()


def metric(definition: SpaceDefinition) -> Metric:
    """LIRE's distance of the descriptor. Raises UnknownMetricError."""
    return _descriptor_of(definition).metric


def _descriptor_of(definition: SpaceDefinition) -> Descriptor:
    for descriptor in DESCRIPTORS.values():
        if descriptor.metric_name == definition.metric:
            return descriptor
    raise UnknownMetricError(f"no distance is called '{definition.metric}'; the collection may be of a newer version")


def open(collection: Path, definition: SpaceDefinition, purpose: Purpose) -> Space:  # noqa: A001  # a kind's function
    """A descriptor's space."""
    return DescriptorSpace(definition)


def create(
    writer: CollectionWriter, spec: str, recipe: Mapping[str, Any] | None = None, variant: Variant = DEFAULT_VARIANT
) -> SpaceDefinition:
    """Add the space of a descriptor named as LIRE does. recipe: further fields than descriptor and variant.

    Without a recipe, an existing space is returned as it is. Raises UnknownDescriptorError, SpaceNameError.
    """
    descriptor = descriptor_named(spec)
    existing = next((space for space in writer.manifest.spaces if space.name == spec and space.kind == KIND), None)
    if existing is not None and recipe is None:
        return existing
    fields = {"descriptor": spec, "variant": str(variant)} | dict(recipe or {"origin": "computed"})
    dtype: Literal["float32", "float64"] = "float64" if descriptor.dtype is np.float64 else "float32"
    return writer.add_space(spec, KIND, descriptor.length, descriptor.metric_name, fields, dtype)


def prepare_all(spaces: Sequence[Space], picture: Picture) -> Mapping[str, NDArray[Any]]:
    """Descriptors of one picture; those of one variant share the shrunk picture."""
    members = [space for space in spaces if isinstance(space, DescriptorSpace)]
    prepared: dict[str, NDArray[Any]] = {}
    pixels = picture.pixels()
    for variant in dict.fromkeys(space.variant for space in members):
        of_variant = {space.descriptor.name: space.name for space in members if space.variant == variant}
        vectors = extract_all(pixels, list(of_variant), variant)
        prepared |= {of_variant[name]: vector for name, vector in vectors.items()}
    return prepared
