"""How an encoder sees a picture: everything that must be equal between an index and a query."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from math import isfinite
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from retrieval.errors import EncoderError
from retrieval.field_of_view import crop_to_field, field_of_view
from retrieval.images import Picture
from retrieval.marks import filled

Fit = Literal["squash", "pad", "crop", "field"]
MarksHandling = Literal["keep", "fill"]
"""`fill`: the box in the corner gets the mean colour of the rest, see `retrieval.marks`."""
Features = Literal["last", "multi"]
"""`last`: the pooled last layer. `multi`: statistics of every stage's output, see `retrieval.encoders.stages`."""
Precision = Literal["f32", "bf16", "int8"]
"""In which a converted encoder runs."""
Resize = Callable[[Image.Image, tuple[int, int], str, bool], NDArray[np.uint8]]
"""(RGB picture, (width, height), interpolation, whether its field of view alone) -> (height, width, 3) uint8."""
DEFAULT_MARKS: MarksHandling = "keep"
"""Filling gains on the subset, and loses on pictures of other sources, whose boxes differ."""
DEFAULT_FIT: Fit = "field"
"""Chosen by measurement, tests/benchmarks/bench_quality.py: black surroundings tell the device, and a space that sees
them finds pictures of other sources worse; cropping to the centre would cut the sides of a wide frame away."""


INTERPOLATIONS = tuple(name.lower() for name in Image.Resampling.__members__)
"""Pillow's names of its resampling filters, as recipes write them."""
_FITS = ", ".join(get_args(Fit))
_RESTORE = "; restore the collection's manifest from a copy"


class EncoderMismatchError(EncoderError):
    """An encoder is not the one that made a space."""


class RecipeError(EncoderError):
    """A stored recipe lacks a field or has a value that it cannot have."""


SEEN_DIGITS = 16
"""Hexadecimal digits of a picture's SHA-256 by which a recipe knows it again."""


@dataclass(frozen=True)
class Recipe:
    """How an encoder was made and how it prepares a picture.

    weights: SHA-256 of the image tower's tensors
    size: (width, height) of its input
    mean, std: per channel, in 0..1
    interpolation: Pillow's name of the resampling filter
    fit: how a frame of another shape than the input is fitted to it; `field`: its field of view is squashed
    full_size: whether a JPEG is decoded at full size, where descriptors need that anyway, and not as a draft
    features: `last` layer or `multi`, see `retrieval.encoders.stages`
    marks: whether the device's box in the corner is kept or filled

    The other fields say where these came from and are not compared; recipes of older collections lack them.
    preprocessing: the place of each value; activation: of an open_clip tower, empty for what its configuration says;
    weights_key: the state in the weights file; notes: what was left out, resampled or assumed; known: its name in the
    table of known checkpoints; seen: the first 16 hexadecimal digits of the SHA-256 of each picture that it was
    fine-tuned on; precision: in which its converted form runs, see `retrieval.encoders.precision`.
    """

    spec: str
    weights: str
    dimension: int
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    fit: Fit
    library: str
    full_size: bool = False
    features: str = "last"
    marks: str = "keep"
    preprocessing: str = field(default="", compare=False)
    activation: str = field(default="", compare=False)
    weights_key: str = field(default="", compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)
    known: str = field(default="", compare=False)
    seen: tuple[str, ...] = field(default=(), compare=False)
    precision: str = field(default="f32", compare=False)

    def prepare(self, picture: Picture, resize: Resize | None = None) -> NDArray[np.uint8]:
        """The tower's input: (height, width, 3) uint8. Normalisation is the tower's own first step.

        resize: `retrieval.encoders.resizing.resize` where many pictures are prepared; Pillow's own by default, which
        gives the same bytes.
        """
        image = picture.upright()
        if self.marks == "fill":
            image = filled(image)
        if self.fit in ("squash", "field") and resize is not None:
            return resize(image, self.size, self.interpolation, self.fit == "field")
        if self.fit == "field":
            image = crop_to_field(image)
        resample = Image.Resampling[self.interpolation.upper()]
        if self.fit in ("squash", "field"):
            image = image.resize(self.size, resample)
        elif self.fit == "pad":  # with black, as the surroundings of an endoscope's field of view are
            image = ImageOps.pad(image, self.size, resample)
        else:
            image = ImageOps.fit(image, self.size, resample)
        return np.asarray(image)

    def area(self, picture: Picture) -> tuple[float, float, float, float]:
        """Left, top, width and height of what `prepare` shows, as fractions of the upright picture.

        Beyond 0 and 1 where the picture is padded.
        """
        image = picture.upright()
        width, height = image.size
        if self.fit == "squash":
            return 0.0, 0.0, 1.0, 1.0
        if self.fit == "field":
            left, top, right, bottom = field_of_view(np.asarray(filled(image) if self.marks == "fill" else image))
            return left / width, top / height, (right - left) / width, (bottom - top) / height
        # The input's shape around the whole picture, or within it
        ratio = (self.size[0] / self.size[1]) / (width / height)
        share = (max(ratio, 1.0), max(1 / ratio, 1.0)) if self.fit == "pad" else (min(ratio, 1.0), min(1 / ratio, 1.0))
        return (1 - share[0]) / 2, (1 - share[1]) / 2, *share

    @property
    def draft(self) -> tuple[int, int] | None:
        """The size down to which a JPEG is decoded for this encoder, or None for full size."""
        if self.full_size:
            return None
        width, height = self.size
        # The field of view alone must have the pixels, and is seldom less than four fifths of a frame's height.
        return (width * 5 // 4, height * 5 // 4) if self.fit == "field" else self.size

    def to_dict(self) -> dict[str, Any]:
        """The recipe as the manifest stores it."""
        return asdict(self)

    @staticmethod
    def from_dict(stored: Mapping[str, Any]) -> Recipe:
        """The recipe from the manifest; further fields are ignored. Raises RecipeError."""
        try:
            width, height = stored["size"]
            recipe = Recipe(
                spec=str(stored["spec"]),
                weights=str(stored["weights"]),
                dimension=int(stored["dimension"]),
                size=(int(width), int(height)),
                mean=tuple(float(value) for value in stored["mean"]),
                std=tuple(float(value) for value in stored["std"]),
                interpolation=str(stored["interpolation"]),
                fit=stored["fit"],
                library=str(stored["library"]),
                full_size=bool(stored.get("full_size", False)),
                features=str(stored.get("features", "last")),
                marks=str(stored.get("marks", "keep")),
                preprocessing=str(stored.get("preprocessing", "")),
                activation=str(stored.get("activation", "")),
                weights_key=str(stored.get("weights_key", "")),
                notes=tuple(str(note) for note in stored.get("notes", ())),
                known=str(stored.get("known", "")),
                seen=tuple(str(digits) for digits in stored.get("seen", ())),
                precision=str(stored.get("precision", "f32")),
            )
        except KeyError as error:
            raise RecipeError(f"an encoder's recipe has no field {error}{_RESTORE}") from None
        except (TypeError, ValueError, OverflowError) as error:  # int of infinity overflows
            raise RecipeError(f"an encoder's recipe is damaged ({error}){_RESTORE}") from error
        if recipe.fit not in get_args(Fit):
            raise RecipeError(f"an encoder's recipe has the fit {recipe.fit!r}, not one of {_FITS}{_RESTORE}")
        if recipe.features not in get_args(Features):
            raise RecipeError(f"an encoder's recipe has the features {recipe.features!r}{_RESTORE}")
        if recipe.marks not in get_args(MarksHandling):
            raise RecipeError(f"an encoder's recipe has the marks {recipe.marks!r}{_RESTORE}")
        if recipe.precision not in get_args(Precision):
            raise RecipeError(f"an encoder's recipe has the precision {recipe.precision!r}{_RESTORE}")
        if recipe.interpolation not in INTERPOLATIONS:
            raise RecipeError(f"an encoder's recipe has the interpolation {recipe.interpolation!r}{_RESTORE}")
        if not len(recipe.mean) == len(recipe.std) == 3:
            raise RecipeError(f"an encoder's recipe has no mean and std of three channels{_RESTORE}")
        for name, value, fits in (
            ("dimension", recipe.dimension, recipe.dimension > 0),
            ("size", recipe.size, min(recipe.size) > 0),
            ("mean", recipe.mean, all(map(isfinite, recipe.mean))),
            ("std", recipe.std, all(isfinite(value) and value > 0 for value in recipe.std)),
        ):
            if not fits:
                raise RecipeError(f"an encoder's recipe has the {name} {value}{_RESTORE}")
        return recipe

    def require(self, other: Recipe) -> None:
        """Raise EncoderMismatchError, naming what differs, unless `other` gives comparable vectors."""
        mine, theirs = self.to_dict(), other.to_dict()
        differing = [
            f"{name} {_short(theirs[name])} instead of {_short(mine[name])}"
            for name in (entry.name for entry in fields(self) if entry.compare)
            if name not in ("spec", "library") and mine[name] != theirs[name]
        ]
        if differing:
            raise EncoderMismatchError(f"{other.spec} is not the encoder that made this space: " + "; ".join(differing))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 64 else f"{text[:12]}…"
