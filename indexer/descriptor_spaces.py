"""Descriptor spaces: their vectors come from a shipped archive, from the pictures, or from both.

Which variant of LIRE made an archive is determined by computing a few of its pictures, and stored in the spaces'
recipes, so that a query is computed by the same variant, or refused.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.datasets import Dataset, Item
from indexer.errors import FeaturesError
from indexer.features import FeatureArchive, key_of, match
from retrieval.collection import Collection, CollectionWriter
from retrieval.descriptors import DEFAULT_VARIANT, DESCRIPTORS
from retrieval.descriptors.agreement import Agreement, agreeing_variant
from retrieval.descriptors.variant import Variant
from retrieval.images import decode, rejection
from retrieval.spaces import Shipped, open_space
from retrieval.spaces.descriptor import create

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
class ShippedFeatures:
    """The vectors of an archive, for `indexer.pipeline`. faults: (file, reason) of those that cannot be read."""

    archive: FeatureArchive
    spaces: frozenset[str]
    required: bool
    faults: list[tuple[str, str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __contains__(self, item: Item) -> bool:
        return key_of(item) in self.archive

    def vectors(self, item: Item) -> Mapping[str, NDArray[Any]]:
        """A picture's shipped vectors by space; none, and a fault, where they cannot be read."""
        if item not in self:
            return {}
        try:
            return self.archive.read(*key_of(item))
        except FeaturesError as error:
            with self._lock:
                self.faults.append((item.file, str(error)))
            return {}


def add_descriptor_spaces(
    writer: CollectionWriter, dataset: Dataset, archive: FeatureArchive | None, names: Sequence[str]
) -> tuple[ShippedFeatures | None, list[str]]:
    """Add the spaces of an archive and of `names` that are new; returns the archive's vectors and notes for a person.

    Pictures without readable shipped features get none, unless `names` asks to compute them.
    """
    existing = _existing(writer)
    wanted = [name for name in DESCRIPTORS if archive is not None or name in names or name in existing]
    if not wanted:
        return None, []
    notes: list[str] = []
    # Spaces of an archive that no picture matched: while they are empty, their variant is not known.
    uncompared = [name for name, shipped in existing.items() if shipped.compared == 0]
    known = [shipped for name, shipped in existing.items() if name not in uncompared or _has_vectors(writer, name)]
    variant = next((replace(shipped.variant, assumed=False) for shipped in known), None)
    agreement: Agreement | None = None
    archives = {shipped.archive for shipped in existing.values()}
    new = len(existing) < len(DESCRIPTORS) or (archive is not None and str(archive.source) not in archives)
    if archive is not None and (new or uncompared):
        agreement = find_variant(dataset, archive)
        reproduced = set(agreement.reproduced())
        notes.append(f"shipped features: {agreement}" if reproduced.issuperset(wanted) else f"warning: {agreement}")
        if variant is not None and reproduced - set(agreement.reproduced(variant)):
            raise VariantMismatchError(
                f"{archive.source} was made by LIRE variant `{agreement.variant}`, the collection's descriptors by "
                f"`{variant}`; their values cannot be compared: index into another collection"
            )
        variant = variant or agreement.variant
        for name in uncompared if agreement.pictures else ():
            stated = {"descriptor": name, "variant": str(_variant_by(agreement, name, variant))}
            writer.update_recipe(name, stated | (_origin(name, variant, archive, agreement) or {}))
    variant = variant or DEFAULT_VARIANT
    computes = archive is None or bool(names)
    now = {name: shipped for name, shipped in _existing(writer).items() if name in existing}
    if computes and (unlike := [name for name, shipped in now.items() if shipped.variant.assumed]):
        notes.append(f"warning: {', '.join(unlike)}: {NOT_COMPARABLE}")
    for name in wanted:
        if name not in existing:
            create(writer, name, _origin(name, variant, archive, agreement), _variant_by(agreement, name, variant))
    if archive is None:
        return None, notes
    return ShippedFeatures(archive, frozenset(DESCRIPTORS), not computes), notes


def _variant_by(agreement: Agreement | None, name: str, variant: Variant) -> Variant:
    """The variant of a space, marked as assumed where it does not reproduce the shipped values."""
    if agreement is None:
        return variant
    return replace(variant, assumed=name not in agreement.reproduced(variant))


def _origin(
    name: str, variant: Variant, archive: FeatureArchive | None, agreement: Agreement | None
) -> dict[str, Any] | None:
    """Where a space's vectors come from, and how far the variant reproduces shipped ones; None where computed."""
    if archive is None or agreement is None:
        return None
    origin: dict[str, Any] = {
        "origin": str(archive.source),
        "agreement": {str(other): round(shares.get(name, 0.0), 6) for other, shares in agreement.shares.items()},
        "compared_pictures": agreement.pictures,
    }
    return origin if name in agreement.reproduced(variant) else origin | {"warning": NOT_COMPARABLE}


def find_variant(dataset: Dataset, archive: FeatureArchive) -> Agreement:
    """Which variant of LIRE made an archive, determined from a few pictures that can be read and have features."""
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


def _existing(writer: CollectionWriter) -> dict[str, Shipped]:
    """The descriptors' spaces of a collection, by name."""
    opened = [open_space(writer.path, definition) for definition in writer.manifest.spaces]
    return {space.name: space.shipped for space in opened if space.shipped is not None}
