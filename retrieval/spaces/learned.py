"""Learned spaces: vectors of other spaces of the collection, through a learned model.

A picture is embedded by the sources, each by its own recipe, and the model makes one vector of unit length of them. The
model lies in the collection as `learned/NAME.npz`, under the SHA-256 in the recipe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import Collection, CollectionWriter, SpaceDefinition
from retrieval.collection.manifest import read_manifest
from retrieval.errors import CollectionError
from retrieval.images import Draft, Picture
from retrieval.index.cosine import Cosine
from retrieval.index.protocol import Metric
from retrieval.learn.methods import AUTO, Progress
from retrieval.learn.model import DamagedModelError, LearnOptions, Model
from retrieval.learn.model_files import model_path
from retrieval.spaces.protocol import Purpose, Space, UnsupportedQueryError, require_fields
from retrieval.spaces.unit_vectors import UnitVectorSpace

if TYPE_CHECKING:
    from retrieval.encoders.spatial import SpatialTower
    from retrieval.learn.method_learner import MethodLearner

FIELDS = {
    "sources": list,
    "method": str,
    "model": str,
    "shares": dict,
    "dimension": int,
    "images": int,
    "classes": list,
    "seed": int,
    "views": str,
    "validation": dict,
}
"""What a recipe has, with the type of each."""


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
    def sentence(self) -> str:
        """What it was learned from, and when it helps."""
        if self.definition.recipe["method"] == "pca":  # which learns from no class
            return self.sources[0].sentence
        return (
            "Learned from the classes of this collection: images of one class lie together; best where the class is "
            "the question, and blind to what no class names."
        )

    @property
    def details(self) -> list[str]:
        """Method, sources, training images, figures of the cross-validation, and the model's digest."""
        recipe = self.definition.recipe
        parts: dict[str, float] = {}
        for part, share in sorted(recipe["shares"].items(), key=lambda item: item[0] == "base"):
            unmarked = recipe.get("mark_directions", recipe.get("unmarked"))  # earlier recipes name the option alone
            unlearned = "unlearned without marks" if unmarked else "unlearned"
            name = unlearned if part == "base" else part.partition("#")[0]
            parts[name] = parts.get(name, 0) + share  # of several seeds
        shares = ", ".join(f"{share:.0%} {name}" for name, share in parts.items())
        split = f", training part of {recipe['split']}" if recipe.get("split") else ""
        lines = [
            f"learned by {recipe['method']} ({shares}) on {', '.join(recipe['sources'])}, seed {recipe['seed']}",
            f"from {recipe['images']:,} images of {len(recipe['classes'])} classes{split}, views: {recipe['views']}",
        ]
        lines += [f"by {method}: {validation_sentence(figures)}" for method, figures in recipe["validation"].items()]
        return [*lines, f"model SHA-256 {recipe['model']}"]

    @property
    def _unlabelled(self) -> bool:
        """Whether it is learned from images alone, not from their classes: principal components."""
        return bool(self.definition.recipe["method"] == "pca")

    @property
    def fitted_images(self) -> int:
        """How many images the model was fitted on."""
        return int(self.definition.recipe["images"])

    @property
    def frozen(self) -> tuple[Space, ...]:
        """What components are made of; none of a space that was learned from classes."""
        return self.sources if self._unlabelled else ()

    def learner(self, *, choose: bool) -> MethodLearner:
        """The method on the sources, with their views."""
        from retrieval.learn.method_learner import MethodLearner  # which searches need not load

        options = self._options(choose)
        return MethodLearner(tuple(source.name for source in self.sources), self.definition.recipe["views"], options)

    def _options(self, choose: bool) -> LearnOptions:
        recipe = self.definition.recipe
        method, unlearned = recipe["method"], recipe["shares"].get("base", 0.0)
        if choose:
            method, unlearned = AUTO if recipe.get("chosen") else method, recipe.get("unlearned")
        seeds, unmarked = recipe.get("seeds", 1), recipe.get("unmarked", False)
        return LearnOptions(method, recipe["dimension"], unlearned, recipe["seed"], seeds, unmarked)

    def training_ids(self, collection: Collection) -> NDArray[np.int64]:
        """The images that taught the model, unless it is made of components alone, and those of its sources."""
        ids = [source.training_ids(collection) for source in self.sources]
        if not self._unlabelled:
            ids.append(self.model.arrays["images"].astype(np.int64))
        return np.unique(np.concatenate(ids))

    def refit(self, writer: CollectionWriter, progress: Progress) -> SpaceDefinition:
        """See `retrieval.learn.training.learn_again`."""
        from retrieval.learn.training import learn_again

        return learn_again(writer, self.definition, self._options(choose=True), progress)

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
        return self.derive(
            [source.embed([inputs[at] for inputs in prepared]) for at, source in enumerate(self.sources)]
        )

    def derive(self, vectors: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Vectors (n, d) of images whose vectors (n, d') in each source are known."""
        return self.model.transform(vectors)

    def spatial_tower(self, shuffled: int | None = None) -> SpatialTower:
        """That of its source, of which there must be one. Raises UnsupportedQueryError."""
        if len(self.sources) > 1:
            raise UnsupportedQueryError(
                f"the space '{self.name}' is made of several spaces, so no one picture shows it"
            )
        return self.sources[0].spatial_tower(shuffled)

    def prepare_spatial(self, picture: Picture) -> NDArray[np.uint8]:
        """The input of its source's encoder."""
        return self.sources[0].prepare_spatial(picture)

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
    """A learned space with its sources. Raises FormatError."""
    from retrieval.spaces import open_space

    require_fields(definition, FIELDS)
    manifest = read_manifest(collection)
    sources = [open_space(collection, manifest.space(name), purpose) for name in definition.recipe["sources"]]
    return LearnedSpace(collection, definition, purpose, sources)


def create(writer: CollectionWriter, spec: str) -> SpaceDefinition:
    """Refused: a space is learned from images that the collection has, see `retrieval.learn.training`."""
    raise CollectionError(f"learn a space by `kvasir learn {writer.path} {spec or 'NAME'}`")


def prepare_all(spaces: Sequence[Space], picture: Picture) -> Mapping[str, NDArray[Any]]:
    """Each space's prepared sources."""
    return {space.name: space.prepare(picture) for space in spaces}
