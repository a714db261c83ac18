"""Learned spaces: vectors of other spaces of the collection, through a learned model.

A picture is embedded by the sources, each by its own recipe, and the model makes one vector of unit length of them. The
model lies in the collection as `learned/NAME.npz`, under the SHA-256 in the recipe.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection as Names
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import Collection, CollectionWriter, Manifest, SpaceDefinition
from retrieval.collection.manifest import read_manifest
from retrieval.encoders.recipe import SEEN_DIGITS
from retrieval.errors import CollectionError
from retrieval.images import Draft, Picture
from retrieval.index.cosine import Cosine
from retrieval.index.protocol import Metric
from retrieval.learn.model import DamagedModelError, Model
from retrieval.spaces.protocol import Purpose, Space, UnsupportedQueryError
from retrieval.spaces.unit_vectors import UnitVectorSpace

KIND = "learned"
_EARLIER = re.compile(r"(\.[0-9a-f]{12})?\.npz")


class LearnedSpace(UnitVectorSpace):
    """A model on the vectors of its sources."""

    derived = True

    def __init__(self, collection: Path, definition: SpaceDefinition, purpose: Purpose, sources: Sequence[Space]):
        self.definition = definition
        self.sources = tuple(sources)
        self._collection = collection
        self.embeds_pictures = all(source.embeds_pictures for source in sources)

    @cached_property
    def model(self) -> Model:
        """The model. Raises DamagedModelError."""
        return Model.load(self._path, self.definition.recipe["model"])

    @property
    def _path(self) -> Path:
        return model_path(self._collection, self.name, self.definition.recipe["model"])

    @property
    def draft(self) -> Draft:
        """That of its sources, which have one and the same."""
        return self.sources[0].draft

    @property
    def summary(self) -> str:
        """Method, sources and number of images that it learned from."""
        recipe = self.definition.recipe
        sources = ", ".join(recipe["sources"])
        return f"learned by {recipe['method']} on {sources} from {recipe['images']:,} images"

    @property
    def details(self) -> list[str]:
        """Method, sources, training images, figures of the cross-validation, and the model's digest."""
        recipe = self.definition.recipe
        parts: dict[str, float] = {}
        for part, share in sorted(recipe["shares"].items(), key=lambda item: item[0] == "base"):
            name = "unlearned" if part == "base" else part.partition("#")[0]
            parts[name] = parts.get(name, 0) + share  # of several seeds
        shares = ", ".join(f"{share:.0%} {name}" for name, share in parts.items())
        split = f", training part of {recipe['split']}" if recipe["split"] else ""
        lines = [
            f"learned by {recipe['method']} ({shares}) on {', '.join(recipe['sources'])}, seed {recipe['seed']}",
            f"from {recipe['images']:,} images of {len(recipe['classes'])} classes{split}, views: {recipe['views']}",
        ]
        lines += [f"{method}: {validation_sentence(figures)}" for method, figures in recipe["validation"].items()]
        return [*lines, f"model SHA-256 {recipe['model']}"]

    def prepare(self, picture: Picture) -> NDArray[Any]:
        """What each source's `embed` takes, (sources,) of objects."""
        prepared = np.empty(len(self.sources), object)
        for at, source in enumerate(self.sources):
            prepared[at] = source.prepare(picture)
        return prepared

    def embed(self, prepared: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Vectors (n, d) float32 of unit length."""
        if not len(prepared):
            return np.empty((0, self.definition.dimension), np.float32)
        return self.derive([source.embed([one[at] for one in prepared]) for at, source in enumerate(self.sources)])

    def derive(self, vectors: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Vectors (n, d) of images whose vectors (n, d') in each source are known."""
        return self.model.transform(vectors)

    def warm_up(self) -> None:
        """Load the model and the sources' encoders."""
        for source in self.sources:
            source.warm_up()
        _ = self.model

    def fault(self) -> str | None:
        """Whether the model's file is missing or is not what was written, by its SHA-256."""
        try:
            Model.load(self._path, self.definition.recipe["model"])
        except DamagedModelError as error:
            return str(error)
        return None

    def restore(self, writer: CollectionWriter) -> str:
        """A lost model cannot be made again the same. Raises DamagedModelError."""
        raise DamagedModelError(
            f"the model of '{self.name}' is lost; restore {self._path} from a copy, "
            f"or `kvasir refit {self._collection} {self.name}` learns it anew"
        )


def model_path(collection: Path, space: str, digest: str) -> Path:
    """Where the model of a learned space lies, named by its SHA-256 so that a new fit overwrites no earlier one."""
    named = collection / "learned" / f"{space}.{digest[:12]}.npz"
    earlier = collection / "learned" / f"{space}.npz"
    return earlier if earlier.exists() and not named.exists() and _digest(earlier) == digest else named


def delete_models_but(collection: Path, space: str, digests: Names[str]) -> None:
    """Delete the models of a space but for those of these digests."""
    current = [model_path(collection, space, digest) for digest in digests]
    folder = current[0].parent
    for file in [*folder.glob(f"{space}.*.npz"), folder / f"{space}.npz"]:
        if file not in current and _EARLIER.fullmatch(file.name.removeprefix(space)):
            file.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def is_learned(definition: SpaceDefinition) -> bool:
    """Whether a space is learned, from classes or as principal components, and not frozen."""
    return definition.kind == KIND


def is_unlabelled(definition: SpaceDefinition) -> bool:
    """Whether a space is learned from images alone, not from their classes: principal components."""
    return definition.kind == KIND and definition.recipe["method"] == "pca"


def training_ids(collection: Collection, name: str) -> NDArray[np.int64]:
    """The ids of the images that a space was learned from, ascending, its encoder's fine-tuning included.

    None for a frozen space. Raises SpaceNameError, DamagedModelError.
    """
    definition = collection.manifest.space(name)
    if definition.kind != KIND:
        seen = {bytes.fromhex(digits) for digits in definition.recipe.get("seen", ())}
        starts = collection.images.contents[:, : SEEN_DIGITS // 2] if seen else ()
        return collection.images.ids[[start.tobytes() in seen for start in starts]] if seen else np.empty(0, np.int64)
    ids = [training_ids(collection, source) for source in definition.recipe["sources"]]
    if not is_unlabelled(definition):
        ids.append(_own_training_ids(collection, definition))
    return np.unique(np.concatenate(ids))


def _own_training_ids(collection: Collection, definition: SpaceDefinition) -> NDArray[np.int64]:
    model = Model.load(
        model_path(collection.path, definition.name, definition.recipe["model"]), definition.recipe["model"]
    )
    return model.arrays["images"].astype(np.int64)


def validation_sentence(figures: Mapping[str, float]) -> str:
    """The figures of a method as a recipe stores them, in words."""
    sentence = f"P@1 {figures['precision@1']:.3f}, mAP {figures['mAP']:.3f} by cross-validation over clusters"
    if (first := figures.get("left-out precision@1")) is None:
        return sentence
    return (
        f"{sentence}; left-out classes P@1 {first:.3f}, mAP {figures['left-out mAP']:.3f}, without learning "
        f"P@1 {figures['left-out precision@1 without learning']:.3f}, mAP "
        f"{figures['left-out mAP without learning']:.3f} ({figures['unlearned']:.0%} unlearned)"
    )


def metric(definition: SpaceDefinition) -> Metric:
    """Cosine distance."""
    return Cosine()


def open(collection: Path, definition: SpaceDefinition, purpose: Purpose) -> Space:  # noqa: A001  # a kind's function
    """A learned space with its sources."""
    from retrieval.spaces import open_space

    manifest = read_manifest(collection)
    sources = [open_space(collection, manifest.space(name), purpose) for name in definition.recipe["sources"]]
    return LearnedSpace(collection, definition, purpose, sources)


def create(writer: CollectionWriter, spec: str) -> SpaceDefinition:
    """Refused: a space is learned from images that the collection has, see `retrieval.learn.training`."""
    raise CollectionError(f"learn a space by `kvasir learn {writer.path} {spec or 'NAME'}`")


def prepare_all(spaces: Sequence[Space], picture: Picture) -> Mapping[str, NDArray[Any]]:
    """Each space's prepared sources."""
    return {space.name: space.prepare(picture) for space in spaces}


def require_one_draft(sources: Sequence[Space]) -> None:
    """Raise UnsupportedQueryError unless all sources see a picture at the same draft."""
    if len({source.draft for source in sources}) > 1:
        raise UnsupportedQueryError(
            f"{', '.join(source.name for source in sources)} see pictures at different sizes, so no one picture serves "
            "them all; index the encoder together with the descriptors in a new collection"
        )


def definitions(manifest: Manifest) -> dict[str, SpaceDefinition]:
    """The learned spaces of a collection, by name."""
    return {space.name: space for space in manifest.spaces if space.kind == KIND}
