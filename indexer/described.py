"""Descriptor spaces: their vectors come from a shipped archive, from the pictures, or from both.

Which variant of LIRE made an archive is found out by computing a few of its pictures; the space's recipe keeps the
answer, so that a query is described as the gallery was, or says that it cannot be.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from indexer.datasets import Dataset, Item
from indexer.errors import FeaturesError
from indexer.features import FeatureArchive, key_of, match
from retrieval.collection import Collection, CollectionWriter, SpaceDefinition
from retrieval.descriptors import DEFAULT_VARIANT, DESCRIPTORS, extract_all
from retrieval.descriptors.agreement import Agreement, agreeing_variant
from retrieval.descriptors.variant import Variant, parse_variant
from retrieval.images import Picture, decode, rejection

log = logging.getLogger(__name__)

SAMPLE = 12
"""Pictures that are computed to find an archive's variant; large ones first, since only they can tell scaling."""

NOT_COMPARABLE = "no variant of LIRE gives the shipped values; those of new pictures are not comparable with them"


class DescriptorNamesError(FeaturesError):
    """A name is not one of LIRE's six descriptors."""


class VariantMismatchError(FeaturesError):
    """Descriptors from two different variants cannot stand in one space."""


def descriptor_names(text: str | None) -> tuple[str, ...]:
    """Names separated by commas, or `all`; in LIRE's order. Raises DescriptorNamesError."""
    if not text:
        return ()
    by_lower = {name.lower(): name for name in DESCRIPTORS}
    wanted = set()
    for word in (part.strip().lower() for part in text.split(",")):
        if word == "all":
            wanted |= set(DESCRIPTORS)
        elif word in by_lower:
            wanted.add(by_lower[word])
        else:
            raise DescriptorNamesError(f"no descriptor is called '{word}'; there are: all, {', '.join(DESCRIPTORS)}")
    return tuple(name for name in DESCRIPTORS if name in wanted)


@dataclass
class Described:
    """What describes the pictures of a run. `faults` collects (file, reason) of features that could not be read."""

    spaces: tuple[str, ...]
    variant: Variant
    compute: bool
    archive: FeatureArchive | None = None
    faults: list[tuple[str, str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def describable(self, item: Item) -> bool:
        """Whether a picture can have descriptors in this run."""
        return self.compute or (self.archive is not None and key_of(item) in self.archive)

    def __call__(self, item: Item, picture: Picture | None) -> Mapping[str, NDArray[Any]]:
        """A picture's vectors by space: the shipped ones where there are any, else computed ones."""
        if self.archive is not None and key_of(item) in self.archive:
            try:
                shipped = self.archive.read(*key_of(item))
            except FeaturesError as error:
                with self._lock:
                    self.faults.append((item.file, str(error)))
            else:
                return {name: shipped[name] for name in self.spaces}
        if not self.compute:
            return {}
        assert picture is not None
        return extract_all(picture.pixels(), self.spaces, self.variant)


def open_described(
    writer: CollectionWriter, dataset: Dataset, archive: FeatureArchive | None, names: Sequence[str]
) -> tuple[Described | None, list[str]]:
    """The descriptor spaces of a run, made where they are new, and what a person should know about them.

    With an archive its vectors are stored, and pictures without shipped features that can be read stay without, unless
    `names` asks to compute. Without one, the descriptors in `names` and those that the collection has are computed.
    """
    existing = {s.name: s for s in writer.manifest.spaces if s.kind == "descriptor"}
    wanted = [name for name in DESCRIPTORS if archive is not None or name in names or name in existing]
    if not wanted:
        return None, []
    notes: list[str] = []
    # Spaces of an archive that no picture matched: until they hold something, nothing is known of their variant.
    uncompared = [name for name, space in existing.items() if space.recipe.get("compared_pictures") == 0]
    told = [space for name, space in existing.items() if name not in uncompared or _has_vectors(writer, name)]
    variant = next((replace(_variant_of(space), assumed=False) for space in told), None)
    agreement: Agreement | None = None
    known = {space.recipe["origin"] for space in existing.values()}
    new = len(existing) < len(DESCRIPTORS) or (archive is not None and str(archive.source) not in known)
    if archive is not None and (new or uncompared):
        agreement = find_variant(dataset, archive)
        found = set(agreement.reproduced())
        notes.append(f"shipped features: {agreement}" if found.issuperset(wanted) else f"warning: {agreement}")
        if variant is not None and found - set(agreement.reproduced(variant)):
            raise VariantMismatchError(
                f"{archive.source} was made by LIRE variant `{agreement.variant}`, the collection's descriptors by "
                f"`{variant}`; their values cannot be compared: index into another collection"
            )
        variant = variant or agreement.variant
        for name in uncompared if agreement.pictures else ():
            writer.update_recipe(name, _recipe(name, variant, archive, agreement))
    variant = variant or DEFAULT_VARIANT
    compute = archive is None or bool(names)
    now = [space for space in writer.manifest.spaces if space.name in existing]
    if compute and (unlike := [space.name for space in now if _variant_of(space).assumed]):
        notes.append(f"warning: {', '.join(unlike)}: {NOT_COMPARABLE}")
    for name in wanted:
        if name not in existing:
            descriptor = DESCRIPTORS[name]
            recipe = _recipe(name, variant, archive, agreement)
            dtype: Literal["float32", "float64"] = "float64" if descriptor.dtype is np.float64 else "float32"
            writer.add_space(name, "descriptor", descriptor.length, descriptor.metric_name, recipe, dtype)
    return Described(tuple(wanted), variant, compute, archive), notes


def _recipe(name: str, variant: Variant, archive: FeatureArchive | None, agreement: Agreement | None) -> dict[str, Any]:
    """How a new space's vectors are made, and how far the variant reproduces them where they are shipped."""
    if archive is None or agreement is None:
        return {"descriptor": name, "variant": str(variant), "origin": "computed"}
    assumed = name not in agreement.reproduced(variant)
    recipe: dict[str, Any] = {
        "descriptor": name,
        "variant": str(replace(variant, assumed=assumed)),
        "origin": str(archive.source),
        "agreement": {str(other): round(shares.get(name, 0.0), 6) for other, shares in agreement.shares.items()},
        "compared_pictures": agreement.pictures,
    }
    return recipe | {"warning": NOT_COMPARABLE} if assumed else recipe


def find_variant(dataset: Dataset, archive: FeatureArchive) -> Agreement:
    """Which variant of LIRE made an archive, told from a few pictures that can be read and have features."""
    matched = sorted(match(dataset.items, archive).matched, key=lambda item: (-item.bytes, item.file))
    large, others = matched[: SAMPLE // 2], matched[SAMPLE // 2 :]
    chosen = large + others[:: max(1, len(others) // (SAMPLE // 2))][: SAMPLE // 2]
    samples: list[tuple[NDArray[np.uint8], Mapping[str, NDArray[Any]]]] = []
    for item in chosen:
        try:
            samples.append((decode(dataset.read(item)).pixels(), archive.read(*key_of(item))))
        except Exception as error:
            log.debug("%s: not compared: %s", item.file, rejection(error))  # the run itself will list it
    return agreeing_variant(samples)


def _has_vectors(writer: CollectionWriter, space: str) -> bool:
    return len(Collection.open(writer.path).positions(space)) > 0


def _variant_of(space: SpaceDefinition) -> Variant:
    return parse_variant(space.recipe["variant"])
