"""Which LIRE made a descriptor: its Java's grey map, and whether large images were shrunk first."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from retrieval.errors import DescriptorError

Grey = Literal["modern", "legacy"]
"""Java's grey with LittleCMS 2.9 and later, or before; only Tamura and PHOG look at grey."""

_ASSUMED = " (assumed)"


class UnknownVariantError(DescriptorError):
    """A recipe names a variant of the descriptors that does not exist."""


@dataclass(frozen=True)
class Variant:
    """How LIRE's descriptors are computed where LIRE itself leaves two ways.

    grey: the grey map of Tamura and PHOG
    longest: longest side in pixels to which larger images are shrunk first, as LIRE's document builders
        do and a plain `extract` does not; None or 1024
    assumed: whether it stands for an unknown way, of which it does not give the values

    The default is the best guess for features made in 2017, such as Kvasir's. `str(variant)` is the form
    for a recipe: `legacy`, `modern,1024`, `legacy (assumed)`.
    """

    grey: Grey = "legacy"
    longest: Literal[1024] | None = None
    assumed: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        name = self.grey if self.longest is None else f"{self.grey},{self.longest}"
        return name + _ASSUMED * self.assumed


VARIANTS = (Variant("legacy"), Variant("modern"), Variant("legacy", 1024), Variant("modern", 1024))
"""All four, the likeliest first."""


def parse_variant(text: str) -> Variant:
    """The variant that a recipe's text names. Raises UnknownVariantError."""
    for variant in VARIANTS:
        if str(variant) == text.removesuffix(_ASSUMED):
            return replace(variant, assumed=text.endswith(_ASSUMED))
    known = ", ".join(f"`{variant}`" for variant in VARIANTS)
    raise UnknownVariantError(f"The descriptors have no variant `{text}`; there are {known}.")
