"""Outcomes of the test of reasons in the collection's folder, `reasons/`, one file a space, each with its SHA-256."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from retrieval.collection import Collection
from retrieval.disk import damaged_files, read_sound, write_atomically
from retrieval.reasons.faithfulness import Faithfulness

FOLDER = "reasons"


@dataclass(frozen=True)
class StoredOutcome:
    """The outcomes of a space: of every way that was tried, the last one on other pairs, where one passed on the first.

    reason: why none could be tried, else empty. outdated: whether the collection has changed since.
    """

    space: str
    tried: tuple[Faithfulness, ...]
    reason: str
    outdated: bool
    digest: str

    @property
    def passed(self) -> Faithfulness | None:
        """The outcome by which reasons are shown; None where no way passed."""
        return self.tried[-1] if self.tried and self.tried[-1].passed else None

    def to_dict(self) -> dict[str, Any]:
        """The outcome as plain values."""
        return {
            "space": self.space,
            "shown": self.passed is not None,
            "tried": [one.to_dict() for one in self.tried],
            "reason": self.reason,
            "outdated": self.outdated,
            "digest": self.digest,
        }

    def __str__(self) -> str:
        """What is told of it, in a sentence."""
        if self.passed is not None:
            return f"reasons are shown: {self.passed}"
        if not self.tried:
            return f"no reasons: {self.reason}"
        best = max(self.tried, key=lambda one: (one.confirms, one.above_random))
        return f"reasons failed their test and are not shown: {'; '.join(best.faults)}"


def outcome_path(collection: Path, space: str) -> Path:
    """Where the outcome of a space lies."""
    return collection / FOLDER / f"{hashlib.sha256(space.encode()).hexdigest()[:16]}.json"


def store_outcome(collection: Collection, space: str, tried: Sequence[Faithfulness], reason: str = "") -> StoredOutcome:
    """Store the outcomes of a space. Raises OSError."""
    fields: dict[str, object] = {
        "space": space,
        "recipe": _recipe(collection, space),
        "content": _content(collection, space),
        "tried": [one.to_dict() for one in tried],
        "reason": reason,
    }
    digest = _digest(fields)
    path = outcome_path(collection.path, space)
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, json.dumps(fields | {"digest": digest}, indent=1).encode() + b"\n")
    return StoredOutcome(space, tuple(tried), reason, outdated=False, digest=digest)


def load_outcome(collection: Collection, space: str) -> StoredOutcome | None:
    """The outcome of a space as it is made now; None where there is none or it is damaged."""
    path = outcome_path(collection.path, space)
    return read_sound(path, partial(_read, collection, space), "reasons")


def faulty_outcomes(collection: Collection) -> Iterator[tuple[Path, str]]:
    """(file, what is wrong) of each outcome that is damaged."""
    for space in collection.spaces:
        path = outcome_path(collection.path, space.name)
        yield from damaged_files([path], partial(_read, collection, space.name), "reasons")


def _read(collection: Collection, space: str, path: Path) -> StoredOutcome | None:
    """The outcome in a file; None where the space is made otherwise. Raises DAMAGE."""
    fields = json.loads(path.read_text("utf-8"))
    digest = fields.pop("digest")
    if digest != _digest(fields):
        raise ValueError("its digest does not fit")
    if fields["recipe"] != _recipe(collection, space):
        return None
    tried = tuple(map(Faithfulness.from_dict, fields["tried"]))
    return StoredOutcome(space, tried, fields["reason"], fields["content"] != _content(collection, space), digest)


def stored_outcomes(collection: Collection) -> Iterator[StoredOutcome]:
    """The outcome of every space that has one."""
    for space in collection.spaces:
        if (stored := load_outcome(collection, space.name)) is not None:
            yield stored


def _digest(fields: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _recipe(collection: Collection, space: str) -> str:
    """SHA-256 of the recipes of a space and of those that it is made of."""
    own = collection.manifest.space(space).recipe
    recipes = [own, *(collection.manifest.space(name).recipe for name in own.get("sources", ()))]
    return hashlib.sha256(json.dumps(recipes, sort_keys=True).encode()).hexdigest()


def _content(collection: Collection, space: str) -> str:
    """SHA-256 of the images' ids and of the checksums of their vectors."""
    images = collection.images
    digest = hashlib.sha256(images.ids.tobytes())
    digest.update(images.checksums[:, collection.manifest.space(space).number].tobytes())
    return digest.hexdigest()
