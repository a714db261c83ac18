"""Maps in the folder of a collection, one file a space.

A map belongs to the vectors that it was made of. After a write it is still shown, as outdated; it can be made again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import Collection
from retrieval.disk import damaged_files, new_file, read_sound
from retrieval.errors import QueryError
from retrieval.spaces import metric_of

log = logging.getLogger(__name__)

FOLDER = "maps"
MOST = 20_000
"""Images on a map; of more, a seeded sample is drawn."""
METHOD = "UMAP of 15 neighbours by the space's own distance, from landmark scaling"


class NoMapError(QueryError):
    """No map of this space is stored."""


class EmptyMapError(QueryError):
    """A map of a space without images."""


@dataclass(frozen=True)
class MapFacts:
    """What a map is of. content: a digest of the vectors. trustworthiness: None for very few images."""

    space: str
    content: str
    created: str
    images: int
    seed: int
    trustworthiness: float | None
    method: str = METHOD


@dataclass(frozen=True, eq=False)
class SpaceMap:
    """The places (n, 2) float32 of images `ids` (n,) int64, ascending. outdated: the space has changed since."""

    facts: MapFacts
    ids: NDArray[np.int64]
    places: NDArray[np.float32]
    outdated: bool = False


def make_map(
    opened: Collection, space: str, seed: int = 0, on_progress: Callable[[int, int], None] | None = None
) -> SpaceMap:
    """Lay out the images of a space. Raises SpaceNameError, EmptyMapError."""
    from retrieval.space_map.layout import layout_of  # its kernel is compiled by numba, which readers do without
    from retrieval.space_map.trustworthiness import trustworthiness

    definition = opened.manifest.space(space)
    ids, vectors = opened.vectors(definition.name)
    if not len(ids):
        raise EmptyMapError(f"the space {definition.name} has no images, so there is nothing to lay out")
    total = len(ids)
    if total > MOST:
        rows = np.sort(np.random.default_rng(seed).permutation(total)[:MOST])
        ids, vectors = ids[rows], vectors[rows]
    metric, vectors = metric_of(definition), np.ascontiguousarray(vectors)
    places = layout_of(vectors, metric, seed, on_progress)
    trusted = trustworthiness(places, vectors, metric, seed=seed)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return SpaceMap(MapFacts(definition.name, content_digest(opened, space), now, total, seed, trusted), ids, places)


def store_map(collection: Path, made: SpaceMap) -> None:
    """Write a map, whole or not at all. Raises OSError, DiskFullError."""
    path = map_path(collection, made.facts.space)
    path.parent.mkdir(exist_ok=True)
    facts = np.frombuffer(json.dumps(asdict(made.facts)).encode(), np.uint8)
    with new_file(path, sync=False) as stream:
        np.savez(stream, facts=facts, ids=made.ids, places=made.places)


def load_map(opened: Collection, space: str) -> SpaceMap | None:
    """The map of a space; None where there is none, or a damaged one, which the log tells. Raises SpaceNameError."""
    path = map_path(opened.path, opened.manifest.space(space).name)
    return read_sound(path, partial(_read, opened, space), "map")


def faulty_maps(opened: Collection) -> Iterator[tuple[Path, str]]:
    """(file, what is wrong) of each map that is damaged."""
    for space in opened.spaces:
        path = map_path(opened.path, space.name)
        yield from damaged_files([path], partial(_read, opened, space.name), "map")


def _read(opened: Collection, space: str, path: Path) -> SpaceMap:
    """The map in a file. Raises DAMAGE."""
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:  # the zip's CRC-32 tell damage
        facts = MapFacts(**json.loads(stored["facts"].tobytes()))
        ids, places = stored["ids"], stored["places"]
    if ids.ndim != 1 or places.shape != (len(ids), 2) or not np.isfinite(places).all():
        raise ValueError(f"arrays of {ids.shape} and {places.shape}")
    return SpaceMap(facts, ids, places, facts.content != content_digest(opened, space))


def stored_map(opened: Collection, space: str) -> SpaceMap:
    """The same, but raises NoMapError where there is none."""
    loaded = load_map(opened, space)
    if loaded is None:
        name = opened.manifest.space(space).name
        raise NoMapError(f"the space {name} has no map yet; make it by `kvasir map COLLECTION --space {name}`")
    return loaded


def current_map(opened: Collection, space: str, seed: int = 0) -> SpaceMap:
    """The stored map where it is of today's images and this seed, or else a new one, stored where that is possible.

    Raises SpaceNameError, EmptyMapError.
    """
    stored = load_map(opened, space)
    if stored is not None and not stored.outdated and stored.facts.seed == seed:
        return stored
    made = make_map(opened, space, seed)
    try:
        store_map(opened.path, made)
    except OSError as error:  # a collection for reading only
        log.warning("the map of the space %s is not stored (%s)", made.facts.space, error)
    return made


def map_path(collection: Path, space: str) -> Path:
    """Where the map of a space lies."""
    return collection / FOLDER / f"{hashlib.sha256(space.encode()).hexdigest()[:16]}.npz"


def content_digest(opened: Collection, space: str) -> str:
    """Digest of a space's recipe, its images' ids and the checksums of their vectors; classes do not move an image."""
    definition = opened.manifest.space(space)
    digest = hashlib.sha256(json.dumps(definition.recipe, sort_keys=True).encode())
    checksums = opened.images.checksums[:, definition.number]
    for array in (opened.images.ids[checksums != 0], checksums[checksums != 0]):
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]
