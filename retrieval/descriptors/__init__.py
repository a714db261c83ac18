"""LIRE's six global descriptors: the numbers that Kvasir ships, from a picture.

    >>> from retrieval.descriptors import DESCRIPTORS, extract_all
    >>> DESCRIPTORS["PHOG"].extract(rgb)
    >>> extract_all(rgb, ["JCD", "PHOG"])

Values equal those of LIRE 1.0 (`dermotte/LIRE` at 5fcd0a3) to the bit for any 8-bit RGB picture that is
decoded as Java decodes it. Other kinds of picture are for the caller to turn into RGB first; LIRE's own
results for palette, grey and alpha images differ from ours there. Importing this package is cheap; numba
is loaded with the first descriptor used.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retrieval.descriptors.variant import Variant
from retrieval.errors import DescriptorError, PictureError

if TYPE_CHECKING:
    from retrieval.descriptors.native_distance import NativeDistance

log = logging.getLogger(__name__)

DEFAULT_VARIANT = Variant()


class NotRGBError(PictureError):
    """A descriptor can be computed of an 8-bit RGB picture only."""


class UnknownDescriptorError(DescriptorError):
    """No descriptor has this name."""


@dataclass(frozen=True)
class Descriptor:
    """One of the six.

    name: LIRE's, as in a `.features` file
    length: values in a vector
    module: of this package, where it is computed
    sees_grey: whether the variant's grey map matters
    dtype: in which vectors are stored; float64 where float32 would lose digits
    """

    name: str
    length: int
    module: str
    sees_grey: bool = False
    dtype: type[np.float32] | type[np.float64] = np.float32

    def extract(self, rgb: NDArray[np.uint8], variant: Variant = DEFAULT_VARIANT) -> NDArray[np.floating]:
        """The descriptor of one picture: (h, w, 3) uint8 -> (length,) of dtype. Raises NotRGBError.

        Warns once where the variant is only assumed.
        """
        if variant.assumed:
            _warn_assumed(self.name, variant)
        return self._extract(_prepared(rgb, variant), variant)

    @property
    def metric_name(self) -> str:
        """The name of its distance, known without loading it."""
        return f"lire-{self.module.replace('_', '-')}"

    @cached_property
    def metric(self) -> NativeDistance:
        """LIRE's own distance of this descriptor, a `retrieval.index.protocol.Metric`."""
        distance: NativeDistance = self._loaded.DISTANCE
        return distance

    @cached_property
    def _loaded(self) -> ModuleType:
        return import_module(f"retrieval.descriptors.{self.module}")

    def _extract(self, rgb: NDArray[np.uint8], variant: Variant) -> NDArray[np.floating]:
        vector: NDArray[np.floating] = (
            self._loaded.extract(rgb, variant.grey) if self.sees_grey else self._loaded.extract(rgb)
        )
        return vector


DESCRIPTORS = {
    descriptor.name: descriptor
    for descriptor in (
        Descriptor("JCD", 168, "jcd"),
        Descriptor("Tamura", 18, "tamura", sees_grey=True, dtype=np.float64),
        Descriptor("ColorLayout", 33, "color_layout"),
        Descriptor("EdgeHistogram", 80, "edge_histogram"),
        Descriptor("AutoColorCorrelogram", 256, "auto_color_correlogram"),
        Descriptor("PHOG", 630, "phog", sees_grey=True),
    )
}
"""The six by name, in the order of Kvasir's `.features` files."""


def descriptor_named(name: str) -> Descriptor:
    """The descriptor of that name. Raises UnknownDescriptorError."""
    try:
        return DESCRIPTORS[name]
    except KeyError:
        raise UnknownDescriptorError(f"There is no descriptor `{name}`; there are {', '.join(DESCRIPTORS)}.") from None


def extract_all(
    rgb: NDArray[np.uint8], names: Iterable[str] = tuple(DESCRIPTORS), variant: Variant = DEFAULT_VARIANT
) -> dict[str, NDArray[np.floating]]:
    """Several descriptors of one picture, shrunk once where the variant shrinks: name -> (length,).

    Runs on one core and without the GIL for nearly all of its time, so that threads over pictures scale.
    Raises NotRGBError and UnknownDescriptorError.
    """
    descriptors = [descriptor_named(name) for name in names]
    picture = _prepared(rgb, variant)
    return {descriptor.name: descriptor._extract(picture, variant) for descriptor in descriptors}


def warm_up() -> None:
    """Compile every kernel, or load it from the cache on disk.

    Compiling takes about half a minute and is logged; loading takes half a second.
    """
    picture = np.zeros((2, 1026, 3), dtype=np.uint8)
    for variant in (Variant("legacy"), Variant("modern", 1024)):
        for name, vector in extract_all(picture, variant=variant).items():
            DESCRIPTORS[name].metric.distances(vector[None], vector[None])


@cache
def _warn_assumed(name: str, variant: Variant) -> None:
    log.warning(
        "%s: no variant of LIRE gives the values that were shipped; those of a new picture, made by `%s`, "
        "are not comparable with them, and the order of its neighbours is not to be trusted",
        name,
        replace(variant, assumed=False),
    )


def _prepared(rgb: NDArray[np.uint8], variant: Variant) -> NDArray[np.uint8]:
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
        raise NotRGBError(f"Descriptors need RGB, (h, w, 3) uint8, not {rgb.shape} {rgb.dtype}.")
    # Kernels are compiled for one kind of array; a read-only one, as Pillow gives, is copied.
    picture = np.require(rgb, requirements=["C", "W"])
    if variant.longest is not None:
        from retrieval.descriptors.scaling import scale

        picture = scale(picture, variant.longest)
    return picture
