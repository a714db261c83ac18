"""The manifest: what spaces a collection has and how each was made. It is switched last, by renaming."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from retrieval.collection.catalog import REMEDY
from retrieval.disk import write_atomically
from retrieval.errors import CollectionError

FORMAT = 1
NAME = "manifest.json"
GENERATION = "generation"
"""Field of a recipe: how many times the vectors of a space were all made."""
SPACE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class NotACollectionError(CollectionError):
    """A path is not a collection."""


class FormatError(CollectionError):
    """A collection was written by another version, or its manifest is damaged."""


class SpaceNameError(CollectionError):
    """A space cannot have this name, or there is no space of this name."""


@dataclass(frozen=True)
class SpaceDefinition:
    """One way of comparing pictures.

    `number` is its column in the catalog and changes only with all of its vectors; `metric` names its native distance;
    `recipe` says how its vectors were made, completely enough to make a query's.
    """

    name: str
    number: int
    kind: str
    dimension: int
    dtype: Literal["float32", "float64"]
    metric: str
    recipe: dict[str, Any] = field(hash=False)

    @property
    def replaces(self) -> str | None:
        """The space in whose place this one is searched."""
        return self.recipe.get("replaces")

    @property
    def generation(self) -> int:
        """Number of the current set of vectors, counted from 1; their file is named by it."""
        return int(self.recipe.get(GENERATION, 1))


@dataclass(frozen=True)
class Manifest:
    """Format version, the data set's name and the spaces, the oldest first."""

    name: str
    created: str
    spaces: tuple[SpaceDefinition, ...] = ()
    format: int = FORMAT

    @property
    def default(self) -> SpaceDefinition | None:
        """The space that is searched where none is named: the first, or the one whose recipe says it replaces that."""
        replacing = {space.replaces: space for space in self.spaces}
        return replacing.get(self.spaces[0].name, self.spaces[0]) if self.spaces else None

    @property
    def columns(self) -> int:
        """How many columns of the catalog the spaces take, unused ones between them included."""
        return max((space.number + 1 for space in self.spaces), default=0)

    @property
    def compared(self) -> tuple[SpaceDefinition, ...]:
        """The spaces that are compared where none is named: without those that another one replaces."""
        replaced = {space.replaces for space in self.spaces}
        return tuple(space for space in self.spaces if space.name not in replaced)

    def space(self, name: str) -> SpaceDefinition:
        """The space of this name, whose case matters only between spaces that differ in nothing else.

        Raises SpaceNameError with the names that there are and the nearest of them.
        """
        for space in self.spaces:
            if space.name == name:
                return space
        by_lower = {space.name.lower(): space for space in reversed(self.spaces)}
        wanted = str(name).lower()
        if wanted in by_lower:
            return by_lower[wanted]
        near = get_close_matches(wanted, by_lower, 1, 0.5) or [lower for lower in by_lower if wanted in lower][:1]
        meant = f" (did you mean {by_lower[near[0]].name}?)" if near else ""
        names = ", ".join(space.name for space in self.spaces) or "none yet"
        raise SpaceNameError(f"there is no space '{name}' in this collection{meant}; its spaces: {names}")


def tower_folder(collection: Path, space: str) -> Path:
    """Where a space's converted encoder lies."""
    return collection / "encoders" / space


def read_manifest(collection: Path) -> Manifest:
    """Read a collection's manifest.

    Raises NotACollectionError, FormatError.
    """
    path = collection / NAME
    try:
        fields = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        free = not collection.exists() or (collection.is_dir() and not any(collection.iterdir()))
        advice = f"; make one with `kvasir index DATA {shlex.quote(str(collection))}`" if free else ""
        raise NotACollectionError(f"{collection} is not a collection{advice}") from None
    except (ValueError, OSError) as error:
        raise FormatError(f"{path} is damaged ({error}); {REMEDY}") from error
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        version = fields.get("format") if isinstance(fields, dict) else None
        raise FormatError(f"{path} has format {version}; this version reads format {FORMAT}")
    stated = fields.pop("sha256", None)  # older ones have none
    if stated is not None and stated != _digest(fields):
        raise FormatError(f"{path} is damaged (its SHA-256 differs); {REMEDY}")
    try:
        spaces = tuple(SpaceDefinition(**space) for space in fields["spaces"])
        return Manifest(name=fields["name"], created=fields["created"], spaces=spaces)
    except (KeyError, TypeError) as error:
        raise FormatError(f"{path} is damaged ({error}); {REMEDY}") from error


def write_manifest(collection: Path, manifest: Manifest) -> None:
    """Replace the manifest, with the SHA-256 of all else in it, in one step that survives a stop at any moment."""
    fields = asdict(manifest)
    document = json.dumps(fields | {"sha256": _digest(fields)}, indent=2)
    write_atomically(collection / NAME, document.encode() + b"\n")


def _digest(fields: dict[str, Any]) -> str:
    """SHA-256 of what a document says, whatever its layout."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
