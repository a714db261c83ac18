"""Calibrations in the collection's folder, one file for each space or fusion.

They belong to the images, classes and vectors that they were fitted on. After a write they serve on, as outdated;
after a space was made anew they do not, since its scores are others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from retrieval.collection import Collection
from retrieval.disk import damaged_files, read_sound, write_atomically
from retrieval.errors import QueryError
from retrieval.fusion import DEFAULT_METHOD, fusion_name
from retrieval.json_digest import checked_fields, json_bytes
from retrieval.learn.calibration import Calibration

FOLDER = "calibration"


class NotCalibratedError(QueryError):
    """A search by chance in a space or fusion that has no calibration."""


@dataclass(frozen=True)
class StoredCalibration:
    """A calibration with its figures, and whether the collection has changed since it was fitted.

    figures: as plain values; transfer: likewise, of pictures of other sources, where they were given.
    """

    name: str
    calibration: Calibration
    figures: Mapping[str, Any]
    transfer: Mapping[str, Any] | None
    outdated: bool


def calibrated_name(spaces: Sequence[str], weights: Sequence[float], method: str = DEFAULT_METHOD) -> str:
    """The name of a space or fusion, the same for every order of its members."""
    members = sorted(zip(spaces, weights, strict=True))
    return fusion_name([space for space, _ in members], [weight for _, weight in members], method)


def calibration_path(collection: Path, name: str) -> Path:
    """Where the calibration of this name lies."""
    return collection / FOLDER / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"


def store_calibration(
    collection: Collection,
    name: str,
    spaces: Sequence[str],
    calibration: Calibration,
    figures: Mapping[str, Any],
    transfer: Mapping[str, Any] | None = None,
) -> None:
    """Store a calibration that was fitted on this state of a collection. Raises OSError."""
    path = calibration_path(collection.path, name)
    path.parent.mkdir(exist_ok=True)
    fields = {
        "name": name,
        "spaces": list(spaces),
        "recipes": _recipes(collection, spaces),
        "content": _content(collection, spaces),
        "calibration": calibration.to_dict(),
        "classes": list(collection.classes),
        "figures": figures,
        "transfer": transfer,
    }
    write_atomically(path, json_bytes(fields))


def load_calibration(collection: Collection, name: str) -> StoredCalibration | None:
    """The calibration of a space or fusion; None where there is none for its vectors as they are made now."""
    return _load(collection, calibration_path(collection.path, name))


def stored_calibrations(collection: Collection) -> Iterator[StoredCalibration]:
    """Every calibration that serves, by name."""
    loaded = (_load(collection, path) for path in (collection.path / FOLDER).glob("*.json"))
    yield from sorted((stored for stored in loaded if stored is not None), key=lambda stored: stored.name)


def _load(collection: Collection, path: Path) -> StoredCalibration | None:
    return read_sound(path, partial(_read, collection), "calibrate")


def faulty_calibrations(collection: Collection) -> Iterator[tuple[Path, str]]:
    """(file, what is wrong) of each calibration that is damaged."""
    yield from damaged_files(sorted((collection.path / FOLDER).glob("*.json")), partial(_read, collection), "calibrate")


def _read(collection: Collection, path: Path) -> StoredCalibration | None:
    """The calibration in a file; None where it is of spaces that are made otherwise. Raises DAMAGE."""
    fields = checked_fields(path.read_bytes())
    spaces = [str(space) for space in fields["spaces"]]
    known = {space.name for space in collection.spaces}
    if not known.issuperset(spaces) or fields["recipes"] != _recipes(collection, spaces):
        return None
    calibration = Calibration.from_dict(fields["calibration"])
    offsets = dict(zip(fields.get("classes", ()), calibration.offsets, strict=False))  # classes without a hit end it
    calibration = replace(calibration, offsets=tuple(offsets.get(name, 0.0) for name in collection.classes))
    return StoredCalibration(
        str(fields["name"]),
        calibration,
        fields["figures"],
        fields["transfer"],
        fields["content"] != _content(collection, spaces),
    )


def _recipes(collection: Collection, spaces: Sequence[str]) -> str:
    recipes = [collection.manifest.space(name).recipe for name in spaces]
    return hashlib.sha256(json.dumps(recipes, sort_keys=True).encode()).hexdigest()


def _content(collection: Collection, spaces: Sequence[str]) -> str:
    """SHA-256 of the images' ids, classes and clusters, and of the checksums of their vectors."""
    images = collection.images
    digest = hashlib.sha256("\0".join(images.classes).encode())
    for array in (images.ids, images.labels, images.scenes):
        digest.update(array.tobytes())
    for name in spaces:
        digest.update(images.checksums[:, collection.manifest.space(name).number].tobytes())
    return digest.hexdigest()
