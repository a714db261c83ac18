"""The interface of a space, whatever its kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import Collection, CollectionWriter, FormatError, SpaceDefinition, SpaceNameError
from retrieval.errors import CollectionError, QueryError
from retrieval.images import Draft, Picture
from retrieval.index.protocol import Metric
from retrieval.query import BadQueryError

if TYPE_CHECKING:
    from retrieval.descriptors.variant import Variant
    from retrieval.encoders import Recipe
    from retrieval.encoders.spatial import SpatialTower
    from retrieval.learn.learner import Learner
    from retrieval.learn.methods import Progress

Purpose = Literal["latency", "throughput", "indexing"]
"""`latency`: one query may use every core. `throughput`: each of many concurrent queries uses one core. `indexing`: as
`throughput`, on CUDA where there is one."""


IMPORTED = "imported"
"""Field of a recipe: the files that vectors were imported from, a list of {"vectors": NPY, "table": CSV}."""


class VectorError(BadQueryError):
    """A vector does not fit the space that it is to be compared in."""


class UnsupportedQueryError(QueryError):
    """A space cannot embed a query of this type, such as a text."""


class UnknownKindError(CollectionError):
    """A space is of a kind that this version does not know."""


class UnknownMetricError(CollectionError):
    """A space names a distance that this version does not know."""


@dataclass(frozen=True)
class Shipped:
    """How a space agrees with shipped values of one of LIRE's descriptors.

    variant: of LIRE, by which its own values are computed. archive: what vectors were read from, None where all are
    computed. compared: pictures by which the variant was determined; None where there was no archive.
    """

    descriptor: str
    variant: Variant
    archive: str | None
    compared: int | None


class Space(ABC):
    """One way of comparing images: its definition, its metric, and what embeds a picture.

    Safe to share between threads. Opening a space loads no weights; they load with the first picture that is embedded.
    A kind of space is a subclass; what is not abstract is optional.
    """

    definition: SpaceDefinition

    proposes_duplicates: bool = False
    """Whether its neighbours are candidates for near duplicates; where no space's are, those of all spaces serve."""

    embeds_pictures: bool = True
    """Whether it makes vectors of pictures; one that does not has only those that were imported."""

    sources: tuple[Space, ...] = ()
    """The spaces that its vectors are made of, where it is derived."""

    derived: bool = False
    """Whether an image's vector is made of its vectors in other spaces, once those are stored."""

    @property
    def embeds_texts(self) -> bool:
        """Whether it has a text encoder, whose vectors are comparable with those of pictures."""
        return False

    def class_shares(self, vector: NDArray[Any], texts: NDArray[Any]) -> NDArray[np.float64]:
        """Shares (c,) of texts (c, d) for a picture's vector (d,), without training. Raises UnsupportedQueryError."""
        raise UnsupportedQueryError(f"the space '{self.name}' has no text encoder")

    @property
    def components(self) -> int:
        """How many principal components of it indexing fits, which are searched in its place; 0 for none."""
        return 0

    @property
    def sees_surroundings(self) -> bool:
        """Whether its vectors show the frame around the field of view, so that a model may learn the device."""
        return False

    @property
    def fitted_images(self) -> int | None:
        """How many images it was fitted on; None for a frozen space."""
        return None

    @property
    def encoder_recipe(self) -> Recipe | None:
        """The recipe of the encoder that makes its vectors, which can be trained further; None where there is none."""
        return None

    @property
    def shipped(self) -> Shipped | None:
        """Which of LIRE's descriptors it is, whose shipped values may be its vectors; None for other spaces."""
        return None

    @property
    def imports(self) -> list[dict[str, str]]:
        """The files that vectors were imported from, {"vectors": NPY, "table": CSV} each."""
        return list(self.definition.recipe.get(IMPORTED, []))

    @property
    def frozen(self) -> tuple[Space, ...]:
        """The frozen spaces that a new space is learned from in its place; none where it cannot be learned from."""
        return (self,)

    def learner(self, *, choose: bool) -> Learner | None:
        """What learns it again from other images; None for a frozen space.

        choose: whether what cross-validation chose for it is chosen anew.
        """
        return None

    def training_ids(self, collection: Collection) -> NDArray[np.int64]:
        """Ids, ascending, of the images whose classes it was learned from, by whatever part of it."""
        return np.empty(0, np.int64)

    def refit(self, writer: CollectionWriter, progress: Progress) -> SpaceDefinition:
        """Fit it again on the images that the collection has now. Raises SpaceNameError, NothingToLearnError."""
        raise SpaceNameError(
            f"'{self.name}' is not learned from the whole collection; use `kvasir learn` with a new name"
        )

    def derive(self, vectors: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Vectors (n, d) of images whose vectors (n, d') in each source are known."""
        raise NotImplementedError(f"the space '{self.name}' is not derived from others")

    @property
    def name(self) -> str:
        """The definition's name."""
        return self.definition.name

    @property
    @abstractmethod
    def metric(self) -> Metric:
        """Its native distance."""
        ...

    @property
    @abstractmethod
    def draft(self) -> Draft:
        """Size down to which a JPEG may be decoded for it; None for full size."""
        ...

    @property
    @abstractmethod
    def summary(self) -> str:
        """Short description of how it prepares a picture, for people."""
        ...

    @property
    def sentence(self) -> str:
        """What it compares and when it helps, as one plain sentence."""
        return "Vectors that were made elsewhere; what they compare is known to those who made them."

    @property
    def details(self) -> list[str]:
        """How it was made, in lines for a person."""
        return [self.summary]

    @property
    def origin(self) -> str | None:
        """Where its vectors come from, where that is not clear from how it was made; often the same for several."""
        files = ", ".join(pair["vectors"] for pair in self.imports)
        return f"imported from {files}" if files else None

    @abstractmethod
    def prepare(self, picture: Picture) -> NDArray[Any]:
        """The input of `embed` for one picture; threads do this part of the work in parallel."""
        ...

    @abstractmethod
    def embed(self, prepared: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Vectors (n, d) in the stored dtype of n prepared pictures. Raises an EncoderError."""
        ...

    @abstractmethod
    def validate(self, vector: NDArray[Any]) -> NDArray[Any]:
        """A vector (d,) from outside as the space stores it, such as of unit length. Raises VectorError."""
        ...

    def import_rows(self, vectors: NDArray[Any]) -> tuple[NDArray[Any], dict[int, str]]:
        """Vectors (n, d) from outside as the space stores them, a copy; and by row why one cannot be stored."""
        with np.errstate(over="ignore"):  # what overflows is refused as not finite
            rows = np.array(vectors, self.definition.dtype)
        finite = np.isfinite(rows).all(axis=1)
        faults = dict.fromkeys(np.flatnonzero(~finite).tolist(), "has values that are not finite numbers")
        possible = self.plausible(np.where(finite[:, None], rows, 0))
        return rows, dict.fromkeys(np.flatnonzero(~possible).tolist(), "has values that the space cannot have") | faults

    def prototype(self, mean: NDArray[np.float64]) -> NDArray[Any]:
        """The mean (d,) of stored vectors as the space stores vectors. Raises VectorError."""
        return self.validate(mean)

    def combine(self, vectors: NDArray[Any], weights: NDArray[np.float64]) -> NDArray[Any] | None:
        """The vector (d,) that ranks images as their weighted distances to vectors (p, d) do, if there is one."""
        return None

    @abstractmethod
    def warm_up(self) -> None:
        """Load weights and compile kernels, so that the first query does not wait for it."""

    def embed_texts(self, texts: Sequence[str]) -> NDArray[Any]:
        """Vectors (n, d) of texts, comparable with those of pictures. Raises UnsupportedQueryError."""
        raise UnsupportedQueryError(f"the space '{self.name}' has no text encoder; search by a picture")

    def spatial_tower(self, shuffled: int | None = None) -> SpatialTower:
        """The encoder behind its vectors, with the features of places; shuffled: a seed that mixes its weights.

        Raises UnsupportedQueryError.
        """
        raise UnsupportedQueryError(f"the space '{self.name}' has no spatial features")

    def prepare_spatial(self, picture: Picture) -> NDArray[np.uint8]:
        """The input (h, w, 3) of that encoder for one picture."""
        return np.asarray(self.prepare(picture), np.uint8)

    def feature_map(self, picture: Picture) -> NDArray[Any]:
        """Spatial features (h, w, c) of a picture. Raises UnsupportedQueryError."""
        tower = self.spatial_tower()
        return tower.cells(tower.encode(self.prepare_spatial(picture)))

    def plausible(self, vectors: NDArray[Any]) -> NDArray[np.bool_]:
        """Which rows of stored vectors (n, d) the space can have made, (n,)."""
        plausible: NDArray[np.bool_] = np.isfinite(vectors).all(axis=1)
        return plausible

    def fault(self) -> str | None:
        """What is wrong with files that the space keeps in the collection, such as a converted encoder; or None."""
        return None

    def restore(self, writer: CollectionWriter) -> str:
        """Make the files again that `fault` reports as damaged; returns what was done. Raises an EncoderError."""
        raise NotImplementedError(f"the space '{self.name}' keeps no files")


class Kind(Protocol):
    """What the module of a kind provides."""

    def metric(self, definition: SpaceDefinition) -> Metric:
        """The native distance of a space of this kind."""
        ...

    def open(self, collection: Path, definition: SpaceDefinition, purpose: Purpose) -> Space:
        """A space of a collection, ready to embed pictures by the recipe that made it."""
        ...

    def create(self, writer: CollectionWriter, spec: str) -> SpaceDefinition:
        """Add a space to a collection; images get their vectors by indexing."""
        ...

    def prepare_all(self, spaces: Sequence[Space], picture: Picture) -> Mapping[str, NDArray[Any]]:
        """`prepare` of several spaces of this kind with the same draft, by name; shared work is done once."""
        ...


def require_fields(definition: SpaceDefinition, fields: Mapping[str, type]) -> None:
    """Raise FormatError unless a space's recipe has these fields, each of its type."""
    for name, kind in fields.items():
        if not isinstance(value := definition.recipe.get(name), kind):
            lacks = "no field" if value is None else f"{value!r} as the field"
            raise FormatError(
                f"the recipe of the space '{definition.name}' has {lacks} '{name}'; "
                "restore the collection's manifest from a copy"
            )


def finite_vector(vector: NDArray[Any], definition: SpaceDefinition, dtype: str | None = None) -> NDArray[Any]:
    """A vector (d,) in a dtype, by default the space's. Raises VectorError unless it has d finite real numbers."""
    dtype = dtype or definition.dtype
    real = vector.dtype.kind in "fiu"
    if vector.shape != (definition.dimension,) or not real:
        raise VectorError(
            f"the space '{definition.name}' takes vectors of {definition.dimension} real numbers, "
            f"not of shape {vector.shape} and type {vector.dtype}"
        )
    if vector.dtype == dtype:
        converted = vector.copy()
    else:
        with np.errstate(over="ignore"):  # what overflows is refused as not finite
            converted = vector.astype(dtype)
    if not np.isfinite(converted).all():
        raise VectorError("the vector has values that are not finite numbers")
    return converted
