"""What a Milvus collection says of itself: which space it has, in which state, written into its properties.

Before rows are changed in place, the stamp says from which state to which; afterwards that it is in the latter. So at
any moment a reader of any state knows which images may be others than it knows, and compares those itself.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from retrieval.collection import Collection, SpaceDefinition
from retrieval.collection.changes import LogPosition
from retrieval.index.milvus.client import Client, GoneError

PROPERTY = "kvasir.index"
FORMAT = 1
RECENT = 15.0
"""Seconds after a stamp in which searches wait, 0.2 s or more, until they see all that was written before it.

Later ones see it in any case: bounded staleness is 5 s in Milvus, and clocks of two machines may differ a little.
"""


@dataclass(frozen=True)
class Stamp:
    """State of a Milvus collection.

    definition: digest of the space's definition. kind: of its index, searched by `search`. images: how many it has.
    state: digest of the images, as in `state_of`, once it is at `position`. before: where it was when a change began
    that has not ended; None while none is made. complete: it has had all images once. written: seconds since 1970.
    recall: as measured when it was built.
    """

    space: str
    definition: str
    kind: str
    images: int
    state: str
    position: LogPosition | None
    before: LogPosition | None = None
    complete: bool = False
    search: dict[str, int] = field(default_factory=dict)
    recall: float | None = None
    written: float = 0.0

    @property
    def positions(self) -> list[LogPosition]:
        """Between the first and last of these it may be."""
        return [one for one in (self.before, self.position) if one is not None]

    @property
    def is_recent(self) -> bool:
        """Whether rows that were written before it may not be everywhere yet."""
        return time.time() - self.written < RECENT

    def write(self, client: Client, collection: str) -> None:
        """Store it in a Milvus collection's properties."""
        client.call("alter_collection_properties", collection, properties={PROPERTY: self.to_text()})

    def to_text(self) -> str:
        """As JSON."""
        return json.dumps({"format": FORMAT} | asdict(replace(self, written=time.time())))

    @staticmethod
    def of_text(text: str) -> Stamp | None:
        """The stamp that a text is; None for any other text."""
        try:
            fields: dict[str, Any] = json.loads(text)
            if fields.pop("format") != FORMAT:
                return None
            for name in ("position", "before"):
                fields[name] = None if fields[name] is None else LogPosition(**fields[name])
            return Stamp(**fields)
        except (ValueError, TypeError, KeyError, AttributeError):
            return None


def stamp_of(client: Client, name: str) -> tuple[str, Stamp | None] | None:
    """The Milvus collection of a name or alias, and its stamp; None where there is no such collection."""
    try:
        described = client.call("describe_collection", name)
    except GoneError:
        return None
    return described["collection_name"], Stamp.of_text(dict(described.get("properties") or {}).get(PROPERTY, ""))


def definition_of(space: SpaceDefinition) -> str:
    """Digest of a space's definition; another set of its vectors has another."""
    return hashlib.sha256(json.dumps(asdict(space), sort_keys=True).encode()).hexdigest()


def state_of(collection: Collection, space: SpaceDefinition) -> str:
    """Digest of the images of a space: their ids, the checksums of their vectors, and their classes."""
    images, positions = collection.images, collection.positions(space.name)
    digest = hashlib.sha256()
    digest.update(np.ascontiguousarray(images.ids[positions], "<i8").tobytes())
    digest.update(np.ascontiguousarray(images.checksums[positions, space.number], "<u4").tobytes())
    digest.update(np.ascontiguousarray(class_keys(collection)[images.labels[positions]], "<i8").tobytes())
    return digest.hexdigest()


def class_key(name: str) -> int:
    """The number that stands for a class in Milvus, whose filters then need no quotes; 0 is no class."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") >> 1 or 1


def class_keys(collection: Collection) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The number of each class (c + 1,) by label; the last, which -1 takes, is of images without one."""
    return np.array([*map(class_key, collection.classes), 0], np.int64)


def prefix_of(collection: Collection) -> str:
    """How the names of all Milvus collections of a collection begin."""
    manifest = collection.manifest
    return f"kvasir_{hashlib.sha256(f'{manifest.name} {manifest.created}'.encode()).hexdigest()[:10]}_"


def alias_of(collection: Collection, space: str) -> str:
    """The alias by which the index of a space is searched; the names of its Milvus collections begin with it."""
    slug = re.sub(r"\W", "_", space, flags=re.ASCII)
    return f"{prefix_of(collection)}{slug}_{hashlib.sha256(space.encode()).hexdigest()[:6]}"
