"""How an encoder sees a picture: everything that must be equal between an index and a query."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from retrieval.errors import EncoderError
from retrieval.images import Picture

Fit = Literal["squash", "pad", "crop"]
Resize = Callable[[Image.Image, tuple[int, int], str], NDArray[np.uint8]]
"""(RGB picture, (width, height), interpolation) -> (height, width, 3) uint8."""
DEFAULT_FIT: Fit = "squash"
"""Chosen by measurement, tests/benchmarks/bench_fit.py; cropping would cut the sides of a wide frame away."""


class EncoderMismatchError(EncoderError):
    """An encoder is not the one that made a space."""


@dataclass(frozen=True)
class Recipe:
    """How an encoder was made and how it prepares a picture.

    `weights` is the SHA-256 of the image tower's tensors; `size` is (width, height) of its input; `mean` and `std`
    are per channel in 0..1; `interpolation` is Pillow's name of the resampling filter; `fit` says how a frame
    that is not square meets a square input; `full_size` whether a JPEG is decoded at full size, where
    descriptors need that anyway, and not as a draft.
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

    def prepare(self, picture: Picture, resize: Resize | None = None) -> NDArray[np.uint8]:
        """The tower's input: (height, width, 3) uint8. Normalisation is the tower's own first step.

        resize: `retrieval.encoders.resizing.resize` where many pictures are prepared; Pillow's own by default, which
        gives the same bytes.
        """
        image = picture.upright()
        if self.fit == "squash" and resize is not None:
            return resize(image, self.size, self.interpolation)
        resample = Image.Resampling[self.interpolation.upper()]
        if self.fit == "squash":
            image = image.resize(self.size, resample)
        elif self.fit == "pad":  # with black, as the surroundings of an endoscope's field of view are
            image = ImageOps.pad(image, self.size, resample)
        else:
            image = ImageOps.fit(image, self.size, resample)
        return np.asarray(image)

    @property
    def draft(self) -> tuple[int, int] | None:
        """The size down to which a JPEG is decoded for this encoder, or None for full size."""
        return None if self.full_size else self.size

    def to_json(self) -> dict[str, Any]:
        """The recipe as the manifest stores it."""
        return asdict(self)

    @staticmethod
    def from_json(fields: dict[str, Any]) -> Recipe:
        """The recipe from the manifest."""
        fit = fields["fit"]
        assert fit in get_args(Fit)
        width, height = fields["size"]
        return Recipe(
            spec=str(fields["spec"]),
            weights=str(fields["weights"]),
            dimension=int(fields["dimension"]),
            size=(int(width), int(height)),
            mean=tuple(float(v) for v in fields["mean"]),
            std=tuple(float(v) for v in fields["std"]),
            interpolation=str(fields["interpolation"]),
            fit=fit,
            library=str(fields["library"]),
            full_size=bool(fields.get("full_size", False)),
        )

    def require(self, other: Recipe) -> None:
        """Raise EncoderMismatchError, naming what differs, unless `other` gives comparable vectors."""
        mine, theirs = self.to_json(), other.to_json()
        differing = [
            f"{name} {_short(theirs[name])} instead of {_short(mine[name])}"
            for name in mine
            if name not in ("spec", "library") and mine[name] != theirs[name]
        ]
        if differing:
            raise EncoderMismatchError(f"{other.spec} is not the encoder that made this space: " + "; ".join(differing))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 64 else f"{text[:12]}…"
