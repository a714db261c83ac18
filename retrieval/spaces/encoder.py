"""Encoders as spaces: embeddings of unit length, compared by cosine."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from ctypes import CDLL
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import Collection, CollectionWriter, Manifest, SpaceDefinition, tower_folder
from retrieval.encoders import (
    ConversionError,
    Encoder,
    EncoderMismatchError,
    EncoderOptions,
    Fit,
    OpenVinoEncoder,
    Recipe,
    TorchEncoder,
    WeightsNotFoundError,
    build_tower,
    convert,
    parse_spec,
    rebuild_tower,
)
from retrieval.encoders.known import known_to
from retrieval.encoders.preprocessing import DEFAULT_COMPONENTS
from retrieval.encoders.provenance import provenance
from retrieval.encoders.recipe import SEEN_DIGITS, RecipeError, Resize
from retrieval.encoders.runtime import MODEL, converted_digest, require_undamaged
from retrieval.encoders.spatial import NoSpatialFeaturesError, SpatialTower
from retrieval.encoders.spec import EncoderSpec, NoTextTowerError
from retrieval.encoders.text import TextEncoder, text_fields
from retrieval.errors import EncoderError
from retrieval.images import Draft, Picture, from_array
from retrieval.index.cosine import Cosine
from retrieval.index.protocol import Metric
from retrieval.spaces.protocol import IMPORTED, Purpose, Space, UnsupportedQueryError
from retrieval.spaces.unit_vectors import UnitVectorSpace

log = logging.getLogger(__name__)

KIND = "encoder"
_AS_NAMED = EncoderOptions()
FITS = {
    "squash": "squashed to",
    "pad": "padded to",
    "crop": "cropped to",
    "field": "cut to the field of view and squashed to",
}
"""How a frame meets the encoder's input, before the input's width and height."""
_FILLED = ", boxes of the device filled"


class EncoderFitError(EncoderError):
    """A space was made with another way of fitting frames to the encoder's input."""


COMPONENTS = "components"
"""Field of a recipe of stage statistics: how many principal components are searched, unless DEFAULT_COMPONENTS."""
_TEXT = "text"
"""Field of a recipe: the text tower that came with the image tower, see `retrieval.encoders.text`."""
UNCONVERTED = "unconverted"
"""Field of a recipe: why its encoder has no converted form."""


class WeightsChangedError(EncoderError):
    """A weights file holds other weights than those that made a space."""


class EncoderSpace(UnitVectorSpace):
    """One encoder with its recipe. Its weights load with the first picture, under a lock of its own."""

    proposes_duplicates = True

    def __init__(
        self, collection: Path, definition: SpaceDefinition, purpose: Purpose, encoder: Encoder | None = None
    ) -> None:
        self.definition = definition
        self._collection = collection
        self._purpose: Purpose = purpose
        self._encoder = encoder
        self._spatial: SpatialTower | None = None
        self._loading = Lock()

    @cached_property
    def recipe(self) -> Recipe:
        """How the encoder was made and prepares a picture."""
        return Recipe.from_dict(self.definition.recipe)

    @property
    def encoder_recipe(self) -> Recipe | None:
        """The recipe; None for vectors whose encoder is not known."""
        try:
            return self.recipe
        except RecipeError:
            return None

    @property
    def components(self) -> int:
        """Of statistics of the encoder's stages, as many as were asked for when it was made."""
        return _components(self.definition)

    @property
    def sees_surroundings(self) -> bool:
        """Whether frames are not cut to the field of view."""
        return bool(self.definition.recipe.get("fit", "field") != "field")

    def training_ids(self, collection: Collection) -> NDArray[np.int64]:
        """The images that the encoder was fine-tuned on, by their bytes."""
        seen = {bytes.fromhex(digits) for digits in self.definition.recipe.get("seen", ())}
        if not seen:
            return np.empty(0, np.int64)
        starts = collection.images.contents[:, : SEEN_DIGITS // 2]
        return collection.images.ids[[start.tobytes() in seen for start in starts]]

    @property
    def encoder(self) -> Encoder:
        """The encoder, loaded once. Raises DamagedTowerError, EncoderMismatchError and what `build_tower` raises."""
        with self._loading:
            if self._encoder is None:
                self._encoder = load_encoder(self._collection, self.definition, self._purpose)
            return self._encoder

    @property
    def draft(self) -> Draft:
        """The encoder's input size, unless its recipe asks for full size."""
        return self.recipe.draft

    @property
    def summary(self) -> str:
        """The encoder's name, dimension, how frames meet its input, and how it came to be."""
        width, height = self.recipe.size
        fit = FITS[self.recipe.fit]
        boxes = _FILLED if self.recipe.marks == "fill" else ""
        made = f"{self.recipe.spec}, {self.recipe.dimension} numbers, frames {fit} {width}x{height}{boxes}"
        return "; ".join([made, *provenance(self.recipe)])

    @property
    def sentence(self) -> str:
        """What the encoder was trained on, and when it helps."""
        known = known_to(self.definition.recipe)
        seen = "other pictures (mostly everyday photographs)" if known is None else known.trained_on
        return (
            f"What a neural network trained on {seen} sees in the whole picture; the place to start for any question."
        )

    @property
    def details(self) -> list[str]:
        """Name, weights, preprocessing and where it runs."""
        recipe = self.definition.recipe
        width, height = recipe["size"]
        decoded = "decoded at full size" if recipe.get("full_size") else "decoded at a smaller size where that suffices"
        mean, std = (" ".join(f"{value:.4g}" for value in recipe[key]) for key in ("mean", "std"))
        return [
            f"encoder {recipe['spec']}, by {recipe['library']}",
            f"weights SHA-256 {recipe['weights']}",
            f"frames {FITS[recipe['fit']]} {width}x{height} ({recipe['interpolation']}), JPEG {decoded}; "
            f"mean {mean}, std {std}{_FILLED if recipe.get('marks') == 'fill' else ''}",
            *provenance(self.recipe),
            f"converted SHA-256 {recipe['converted']}" if "converted" in recipe else "runs on PyTorch",
            *_precision(recipe),
        ]

    def prepare(self, picture: Picture) -> NDArray[np.uint8]:
        """The encoder's input, (height, width, 3) uint8."""
        return self.recipe.prepare(picture, self._resize)

    def embed(self, prepared: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Embeddings (n, d) float32 of unit length."""
        if not len(prepared):
            return np.empty((0, self.definition.dimension), np.float32)
        return self.encoder.encode(np.stack(prepared))

    @property
    def embeds_texts(self) -> bool:
        """Whether a text tower came with the image tower; the statistics of a model's stages have none."""
        return _TEXT in self.definition.recipe

    @cached_property
    def _texts(self) -> TextEncoder:
        folder = tower_folder(self._collection, self.name)
        return TextEncoder(folder, self.recipe, dict(self.definition.recipe[_TEXT]))

    def embed_texts(self, texts: Sequence[str]) -> NDArray[Any]:
        """Embeddings (n, d) float32 of unit length, each the mean over prompts; loads the text tower at first."""
        return self._texts.embed(texts) if self.embeds_texts else super().embed_texts(texts)

    def class_shares(self, vector: NDArray[Any], texts: NDArray[Any]) -> NDArray[np.float64]:
        """Softmax (c,) of the scaled cosines of a picture's vector with those of texts."""
        logits = self._texts.scale * (texts.astype(np.float64) @ vector.astype(np.float64))
        shares = np.exp(logits - logits.max())
        result: NDArray[np.float64] = shares / shares.sum()
        return result

    def spatial_tower(self, shuffled: int | None = None) -> SpatialTower:
        """Its converted encoder with the features of places, loaded once. Raises UnsupportedQueryError."""
        with self._loading:
            if shuffled is None and self._spatial is not None:
                return self._spatial
            folder = tower_folder(self._collection, self.name)
            if "converted" not in self.definition.recipe or not (folder / MODEL).is_file():
                raise UnsupportedQueryError(f"the encoder of '{self.name}' has no converted form, which shows places")
            require_undamaged(folder, self.definition.recipe["converted"], self._collection)
            try:
                tower = SpatialTower(folder, self.recipe, shuffled)
            except NoSpatialFeaturesError as error:
                raise UnsupportedQueryError(f"the space '{self.name}' has no spatial features: {error}") from error
            if shuffled is None:
                self._spatial = tower
            return tower

    def warm_up(self) -> None:
        """Load the encoder and what prepares pictures, and embed one; for searches the text encoder as well."""
        width, height = self.recipe.size
        self.embed([self.prepare(from_array(np.zeros((2 * height, 2 * width, 3), np.uint8)))])
        if self.embeds_texts and self._purpose != "indexing":
            try:
                self.embed_texts(["polyp"])
            except EncoderError as error:  # a search by text raises it again; pictures need no text encoder
                log.error("the text encoder of the space '%s' could not be loaded: %s", self.name, error)

    def fault(self) -> str | None:
        """Whether the converted encoder is missing or is not what was written, by its SHA-256."""
        if "converted" not in self.definition.recipe:
            return self._never_converted()
        try:
            digest = converted_digest(tower_folder(self._collection, self.name))
        except OSError:
            return "its converted encoder is missing"
        if digest != self.definition.recipe["converted"]:
            return "its converted encoder is damaged"
        return self._texts.fault() if self.embeds_texts else None

    def _never_converted(self) -> str | None:
        """Whether the conversion was given up for want of room, as earlier versions did; None for other reasons."""
        recipe = self.definition.recipe
        if UNCONVERTED in recipe or IMPORTED in recipe or self.encoder_recipe is None:
            return None
        return "its encoder was never converted, so it runs on PyTorch, more slowly"

    def restore(self, writer: CollectionWriter) -> str:
        """Convert the encoder again from the weights that its recipe names.

        Raises EncoderMismatchError where those are not the weights that made the space, and what `build_tower` raises.
        """
        if self.recipe.precision == "int8":
            raise EncoderMismatchError(
                f"the space '{self.name}' has an int8 encoder, which the pictures that it was calibrated on made; "
                "restore the collection's folder encoders/ from a backup"
            )
        tower = rebuild_tower(self.recipe)
        scratch = _scratch(writer)
        try:
            digest = convert(tower, scratch)
        except ConversionError as error:
            if "converted" in self.definition.recipe:
                raise
            writer.update_recipe(self.name, self.definition.recipe | {UNCONVERTED: str(error)})
            return f"its encoder runs on PyTorch: {error}"
        changed = {"converted": digest}
        if self.embeds_texts:
            changed |= _text_of(parse_spec(self.recipe.spec), self.recipe, scratch)
        writer.adopt_tower(self.name, scratch)
        writer.update_recipe(self.name, self.definition.recipe | changed)
        return "its encoder was converted anew from the same weights"

    @cached_property
    def _resize(self) -> Resize | None:
        """Compiled resizing, which one query alone is not worth loading; Pillow's gives the same bytes."""
        if self._purpose == "latency":
            return None
        from retrieval.encoders.resizing import resize

        return resize


def load_encoder(collection: Path, definition: SpaceDefinition, purpose: Purpose = "throughput") -> Encoder:
    """The encoder of a space: the converted one that lies in the collection's folder, or else built from its weights.

    Raises DamagedTowerError where the converted one is not as it was written, EncoderMismatchError where weights found
    under the same name are not those that made the space.
    """
    if purpose == "indexing" and (encoder := _on_cuda(definition)) is not None:
        return encoder
    recipe = Recipe.from_dict(definition.recipe)
    folder = tower_folder(collection, definition.name)
    if "converted" in definition.recipe and (folder / MODEL).is_file():
        require_undamaged(folder, definition.recipe["converted"], collection)
        return OpenVinoEncoder(folder, recipe, "latency" if purpose == "latency" else "throughput")
    return TorchEncoder(rebuild_tower(recipe))


def _on_cuda(definition: SpaceDefinition) -> Encoder | None:
    """The encoder on CUDA, as the run that made the space had it; None without CUDA or without the same weights."""
    try:  # the driver alone takes no time to find, PyTorch takes seconds to import
        CDLL("libcuda.so.1")
    except OSError:
        return None
    import torch

    if not torch.cuda.is_available():
        return None
    recipe = Recipe.from_dict(definition.recipe)
    if recipe.precision != "f32":  # queries are encoded by the converted form
        return None
    try:
        tower = rebuild_tower(recipe)
    except EncoderError as error:
        log.warning("space %s: its encoder runs on the CPU, not on CUDA: %s", definition.name, error)
        return None
    return TorchEncoder(tower)


def metric(definition: SpaceDefinition) -> Metric:
    """Cosine distance."""
    return Cosine()


def open(collection: Path, definition: SpaceDefinition, purpose: Purpose) -> Space:  # noqa: A001  # a kind's function
    """An encoder's space."""
    return EncoderSpace(collection, definition, purpose)


def create(
    writer: CollectionWriter,
    spec: str,
    fit: Fit | None = None,
    full_size: bool = False,
    options: EncoderOptions = _AS_NAMED,
) -> SpaceDefinition:
    """Build an encoder, store its converted form in the collection, and then add its space.

    full_size: whether pictures are decoded at full size, since descriptors need that decoding too. The space that this
    encoder made before is returned as it is. Raises EncoderFitError, WeightsChangedError and what `build_tower` raises.
    """
    existing = definition_of(writer.manifest, spec, options.features)
    if existing is not None:
        require_fit(existing, fit)
        require_options(existing, options)
        _require_same_weights(writer, existing, spec)
        return writer.manifest.space(existing.name)
    parsed = parse_spec(spec)
    stamp = parsed.weights_stamp()  # before the weights are read, so that a later change is noticed
    tower = build_tower(spec, fit, full_size, options)
    if options.components is not None and tower.recipe.features != "multi":
        raise EncoderFitError(f"{spec} is taken by its last layer, which has no principal components")
    taken = {space.name for space in writer.manifest.spaces}
    base = parsed.space if tower.recipe.features == "last" else f"{parsed.space}-{tower.recipe.features}"
    name = next(n for n in (base, *(f"{base}-{i}" for i in range(2, 1000))) if n not in taken)
    scratch = _scratch(writer)
    fields = asdict(tower.recipe) | {"weights_files": stamp}
    if options.components is not None:
        fields[COMPONENTS] = options.components
    try:
        fields["converted"] = convert(tower, scratch)
    except ConversionError as error:
        log.warning("%s; it runs on PyTorch instead, more slowly", error)
        fields[UNCONVERTED] = str(error)
    fields |= _text_of(parsed, tower.recipe, scratch)
    if scratch.is_dir():
        writer.adopt_tower(name, scratch)
    return writer.add_space(name, KIND, tower.recipe.dimension, Cosine.name, fields)


def _text_of(spec: EncoderSpec, recipe: Recipe, folder: Path) -> dict[str, Any]:
    """The recipe's field of the text tower that belongs to an encoder, converted into a folder; none without one."""
    if spec.family != "open_clip" or recipe.features != "last":
        return {}
    try:
        return {_TEXT: text_fields(spec, EncoderOptions(weights_key=recipe.weights_key), folder)}
    except NoTextTowerError as error:
        log.warning("words are matched to classes in this space: %s", error)
        return {}


def prepare_all(spaces: Sequence[Space], picture: Picture) -> Mapping[str, NDArray[Any]]:
    """Each encoder's input."""
    return {space.name: space.prepare(picture) for space in spaces}


def definition_of(manifest: Manifest, spec: str, features: str = "last") -> SpaceDefinition | None:
    """The space that an encoder of this name made, if there is one; its weights need not be there any more.

    features: `auto` for any, `multi` before `last`.
    """
    if features == "auto":
        return definition_of(manifest, spec, "multi") or definition_of(manifest, spec, "last")
    by_spec = {
        space.recipe["spec"]: space
        for space in manifest.spaces
        if space.kind == KIND and space.recipe.get("features", "last") == features
    }
    return by_spec.get(spec) or by_spec.get(parse_spec(spec, existing=False).text)


def require_fit(definition: SpaceDefinition, fit: Fit | None) -> None:
    """Raise EncoderFitError where a space was made with another fit than this one, if one is given."""
    if fit is not None and definition.recipe["fit"] != fit:
        raise EncoderFitError(
            f"the space '{definition.name}' was made with --fit {definition.recipe['fit']}; "
            f"index into another collection to use --fit {fit}"
        )


def require_all(manifest: Manifest, fit: Fit | None, options: EncoderOptions) -> None:
    """Raise EncoderFitError where an encoder's space of a collection was made with another fit or input than these."""
    for definition in manifest.spaces:
        if definition.kind == KIND:
            require_fit(definition, fit)
            require_options(definition, options if _components(definition) else replace(options, components=None))


def require_options(definition: SpaceDefinition, options: EncoderOptions) -> None:
    """Raise EncoderFitError where a space was made with another input than the options say, if they say any."""
    stored = Recipe.from_dict(definition.recipe).to_dict() | {COMPONENTS: _components(definition)}
    named = {"weights_key": options.weights_key, "marks": options.marks, COMPONENTS: options.components}
    requested = {**options.given} | {name: value for name, value in named.items() if value}
    for name, value in requested.items():
        if stored[name] != value:
            raise EncoderFitError(
                f"the space '{definition.name}' was made with {name} {stored[name]}, not {value}; "
                "index into another collection to use another"
            )


def _precision(recipe: Mapping[str, Any]) -> list[str]:
    """The precision, unless it is f32 without a choice, and the figures that it was chosen by."""
    name, trials = recipe.get("precision", "f32"), "; ".join(recipe.get("precision_trials", ()))
    if trials:
        return [f"precision {name}, chosen on a sample of the pictures ({trials})"]
    return [f"precision {name}"] if name != "f32" else []


def _components(definition: SpaceDefinition) -> int:
    recipe = definition.recipe
    return int(recipe.get(COMPONENTS, DEFAULT_COMPONENTS)) if recipe.get("features") == "multi" else 0


def _require_same_weights(writer: CollectionWriter, definition: SpaceDefinition, spec: str) -> None:
    """Raise WeightsChangedError where the weights file that made a space was overwritten with other weights.

    A missing file is no fault: the converted encoder lies in the collection.
    """
    try:
        parsed = parse_spec(spec)
    except WeightsNotFoundError:
        return
    stamp = parsed.weights_stamp()
    if stamp == definition.recipe.get("weights_files"):
        return
    recipe = Recipe.from_dict(definition.recipe)
    try:
        rebuild_tower(recipe)
    except EncoderMismatchError as error:
        raise WeightsChangedError(
            f"{parsed.weights} was changed since it made the space '{definition.name}', and vectors of two encoders "
            f"cannot be compared; give the new one a path of its own, which makes a second space ({error})"
        ) from error
    writer.update_recipe(definition.name, definition.recipe | {"weights_files": stamp})


def _scratch(writer: CollectionWriter) -> Path:
    scratch = writer.path / "encoders" / ".new"
    shutil.rmtree(scratch, ignore_errors=True)
    return scratch
