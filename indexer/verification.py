"""Check a collection's catalog, vectors, encoders, indexes and pictures against each other.

Pictures and the catalog are what everything else is computed from; so a picture that is missing or damaged and a
damaged catalog are reported, not repaired.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from shlex import quote

import numpy as np

from indexer.near_duplicates.greys import NAME as GREYS
from indexer.near_duplicates.greys import damaged_greys
from indexer.stored_indexes import faulty_indexes
from retrieval.collection import (
    Collection,
    FormatError,
    PictureGoneError,
    SourceGoneError,
    SpaceDefinition,
    scene_rows,
)
from retrieval.collection.catalog import REMEDY, DamagedCatalogError, checksum, connect, raising_damage, reading
from retrieval.collection.folder import SHARDS, leftovers
from retrieval.collection.key_digests import NAME as KEYS
from retrieval.collection.key_digests import faulty_keys
from retrieval.collection.manifest import read_manifest
from retrieval.collection.reading import damaged_rows_sentence, damaged_table_sentence
from retrieval.collection.row_digests import row_faults
from retrieval.collection.table_digests import MARKS
from retrieval.collection.vectors import vectors_path
from retrieval.cores import available_cores
from retrieval.errors import PictureError
from retrieval.images import decode
from retrieval.index.engines import Engine
from retrieval.index.storage import FOLDER as INDEXES
from retrieval.learn.calibration_store import faulty_calibrations
from retrieval.learn.novelty import faulty_detectors
from retrieval.reasons.store import faulty_outcomes
from retrieval.report.store import faulty_evaluations
from retrieval.space_map.store import faulty_maps
from retrieval.spaces import open_space
from retrieval.terminal import counted

_BLOCK = 4_096
"""Vectors that are checked together."""


@dataclass(frozen=True)
class Finding:
    """One fault. `kind` says what; `space` and `ids` say where; `repairable` whether `--repair` repairs it."""

    kind: str
    message: str
    repairable: bool
    space: str | None = None
    ids: tuple[int, ...] = ()
    path: Path | None = None


def check(path: Path, *, pictures: bool = True, on_progress: Callable[[int], None] | None = None) -> list[Finding]:
    """All faults of a collection.

    pictures: whether to read every picture and compare its SHA-256, which takes most of the time.
    Raises NotACollectionError, FormatError, DamagedCatalogError where nothing can be checked at all.
    """
    read_manifest(path)
    with closing(connect(path)) as connection, raising_damage(path):
        verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
    if verdict != "ok":
        raise DamagedCatalogError(f"{path}: the catalog is damaged ({verdict}); {REMEDY}")
    collection = Collection.open(path, damaged_rows=True)
    findings: list[Finding] = list(_check_rows(path))
    findings += [
        Finding(table, damaged_table_sentence(path, table), table == MARKS) for table in collection.damaged_tables
    ]
    for space in collection.spaces:
        findings += check_vectors(collection, space)
        findings += _check_files(collection, space)
    findings += _check_leftovers(collection)
    if fault := faulty_keys(path):
        findings.append(Finding("keys", f"{KEYS} is damaged ({fault}); remove it and create new keys", False))
    if pictures:
        findings += _check_pictures(collection, on_progress or (lambda done: None))
    return findings


def check_engine(path: Path, engine: Engine, *, vectors: bool = True) -> Iterator[Finding]:
    """What differs between a collection and the indexes that a vector engine has of it; the collection is right.

    vectors: compare each vector, and not only its checksum. Raises a RemoteIndexError.
    """
    collection = Collection.open(path, damaged_rows=True)
    for space in filter(engine.serves, collection.spaces):
        remedy = f"`kvasir push --rebuild {quote(str(path))} {engine.address} --space {space.name}` writes it anew"
        for one in engine.compare(collection, space, vectors):
            yield Finding("engine", f"space {space.name}: {one.message}; {remedy}", False, space.name, one.ids)


def _check_rows(path: Path) -> Iterator[Finding]:
    """Rows of the catalog that are not what was written."""
    with closing(connect(path)) as connection, raising_damage(path), reading(connection):
        damaged = tuple(sorted({*row_faults(connection).damaged, *scene_rows.faults(connection)}))
    if damaged:
        yield Finding("rows", damaged_rows_sentence(path, damaged), False, ids=damaged)


def rows_without_digest(path: Path) -> int:
    """How many rows of the catalog have no digest, since an older version wrote them."""
    with closing(connect(path)) as connection, raising_damage(path), reading(connection):
        return len(row_faults(connection).unchecked)


def check_vectors(collection: Collection, space: SpaceDefinition) -> Iterator[Finding]:
    """The vectors of a space that are not what the catalog knows, or that it cannot have made."""
    positions = collection.positions(space.name)
    ids = collection.ids(space.name)
    path = vectors_path(collection.path, space)
    stride = space.dimension * np.dtype(space.dtype).itemsize
    plausible = open_space(collection.path, space).plausible
    bad: list[int] = []
    with path.open("rb") if path.exists() else BytesIO() as file:
        for start in range(0, len(ids), _BLOCK):
            block = slice(start, start + _BLOCK)
            expected = collection.images.checksums[positions[block], space.number]
            intact: dict[int, bytes] = {}
            for image_id, crc in zip(ids[block].tolist(), expected.tolist(), strict=True):
                file.seek(image_id * stride)
                data = file.read(stride)
                if len(data) == stride and checksum(data) == crc:
                    intact[image_id] = data
                else:
                    bad.append(image_id)
            rows = np.frombuffer(b"".join(intact.values()), space.dtype).reshape(-1, space.dimension)
            bad += [image_id for image_id, good in zip(intact, plausible(rows).tolist(), strict=True) if not good]
    if bad:
        yield Finding(
            "vectors",
            f"space {space.name}: {len(bad):,} of {counted(len(ids), 'vector')} missing or damaged in {path.name}",
            True,
            space.name,
            tuple(sorted(bad)),
        )


def _check_files(collection: Collection, space: SpaceDefinition) -> Iterator[Finding]:
    """A space's own files, such as a converted encoder, that are missing or damaged."""
    if (fault := open_space(collection.path, space).fault()) is not None:
        yield Finding("space", f"space {space.name}: {fault}", True, space.name)


def _check_leftovers(collection: Collection) -> Iterator[Finding]:
    known = {space.name for space in collection.spaces}
    # A file of vectors that is too short is reported as such, and its index is made anew with them.
    with suppress(FormatError):
        for path, space, fault in faulty_indexes(collection):
            name = path.relative_to(collection.path / INDEXES)
            yield Finding("index", f"index {name} {fault}", True, space.name if space else None, path=path)
    if damaged := damaged_greys(collection.path):
        message = f"{GREYS}: {counted(len(damaged), 'small picture')} for finding duplicates damaged"
        yield Finding("greys", message, True, ids=tuple(damaged), path=collection.path / GREYS)
    for path, fault in (*faulty_calibrations(collection), *faulty_detectors(collection)):
        yield Finding("calibration", f"{path.relative_to(collection.path)} {fault}", True, path=path)
    for kind, faulty in (("map", faulty_maps), ("reasons", faulty_outcomes)):
        for path, fault in faulty(collection):
            yield Finding(kind, f"{path.relative_to(collection.path)} {fault}", True, path=path)
    for path, fault in faulty_evaluations(collection.path):
        yield Finding("evaluation", f"evaluation {path.name} {fault}", True, path=path)
    for path in leftovers(collection.path):
        inside = path.is_relative_to(collection.path)
        message = f"{path.relative_to(collection.path) if inside else path} was left by a run that was stopped"
        yield Finding("leftover", message, True, path=path)
    if (collection.path / SHARDS).is_dir():
        message = f"{SHARDS}/ is of a Ray run that has not ended: `kvasir index --ray` again uses and deletes it"
        yield Finding("shards", message, False)
    for path in sorted((collection.path / "encoders").glob("*")):
        if path.name not in known:
            yield Finding("leftover", f"encoder {path.name} belongs to no space: a run was stopped", True, path=path)


def _check_pictures(collection: Collection, on_progress: Callable[[int], None]) -> Iterator[Finding]:
    images = collection.images
    ids = images.ids[images.with_pictures]

    def fault(image_id: int) -> tuple[str, str] | None:
        """Which fault a picture has, and the reason where it needs one."""
        try:
            data = collection.read(image_id)
            if hashlib.sha256(data).digest() == images.contents[collection.position(image_id)].tobytes():
                return None
            decode(data)
        except SourceGoneError as error:
            return "source gone", str(error)
        except PictureGoneError:
            return "picture gone", ""
        except PictureError as error:
            return "picture damaged", f" ({str(error).removeprefix(f'{collection.file_of(image_id)}: ')})"
        return "picture changed", ""

    faults: dict[str, dict[int, str]] = {kind: {} for kind in _PICTURES}
    closed: defaultdict[Path, dict[int, str]] = defaultdict(dict)
    with ThreadPoolExecutor(available_cores()) as pool:
        for start in range(0, len(ids), _BLOCK):  # a pool takes a kilobyte for each that waits
            block = ids[start : start + _BLOCK].tolist()
            for done, (image_id, reported) in enumerate(zip(block, pool.map(fault, block), strict=True), start + 1):
                if reported is not None:
                    kind, reason = reported
                    of_kind = closed[collection.source_of(image_id)] if kind == "source gone" else faults[kind]
                    of_kind[image_id] = reason
                on_progress(done)
    place = quote(str(collection.path))
    for path, reasons in closed.items():
        remedy = f"or take its images out with `kvasir remove {place} --source {quote(str(path))}`"
        message = f"{counted(len(reasons), 'picture')} cannot be read: {next(iter(reasons.values()))}, {remedy}"
        yield Finding("source gone", message, False, ids=tuple(reasons))
    for kind, reasons in faults.items():
        if reasons:
            what, remedy = _PICTURES[kind]
            first = next(iter(reasons))
            where = f"the first {collection.file_of(first)}{reasons[first]}"
            listed = " ".join(map(str, reasons)) if len(reasons) <= _LISTED else "ID …"
            message = f"{counted(len(reasons), 'picture')} {what}, {where}{remedy.format(collection=place, ids=listed)}"
            yield Finding(kind, message, not remedy, ids=tuple(reasons))


_PICTURES = {
    "picture gone": (
        "no longer where indexed",
        ": put the files back, or take the images out with `kvasir remove {collection} --missing`",
    ),
    "picture damaged": (
        "damaged since indexed",
        ": put the files back, or take the images out with `kvasir remove {collection} {ids}`",
    ),
    "picture changed": ("changed since indexed", ""),
}
"""Kind of finding -> (what it says of the pictures, what helps where `--repair` does not)."""
_LISTED = 20
"""How many ids a message gives; JSON has all of them."""
