"""Check a collection's catalog, vectors, encoders, indexes and pictures against each other, and repair what can be.

Pictures and the catalog are what everything else can be made from; so a picture that is gone and a catalog that is
damaged are told, not mended.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Collection as Collected
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from indexer.datasets import chosen_pictures
from indexer.features import open_features
from indexer.greys import NAME as GREYS
from indexer.greys import damaged_greys
from indexer.kept_indexes import FOLDER, faulty_indexes
from indexer.run import run_dataset
from indexer.spaces import rebuild_tower
from retrieval.collection import Collection, CollectionWriter, PictureGoneError, Space, tower_folder
from retrieval.collection.catalog import REMEDY, DamagedCatalogError, checksum, connect
from retrieval.collection.manifest import read_manifest
from retrieval.collection.vectors import vectors_path
from retrieval.encoders.running import available_cores, converted_digest
from retrieval.errors import RetrievalError
from retrieval.index import compares_all
from retrieval.search import Searcher


@dataclass(frozen=True)
class Finding:
    """Something wrong. `kind` says what; `space` and `ids` say where; `repairable` whether `--repair` mends it."""

    kind: str
    message: str
    repairable: bool
    space: str | None = None
    ids: tuple[int, ...] = ()
    path: Path | None = None


def check(path: Path, *, pictures: bool = True, on_progress: Callable[[int], None] | None = None) -> list[Finding]:
    """Everything that is wrong with a collection.

    pictures: whether to read every picture and compare its SHA-256, which takes most of the time.
    Raises NotACollectionError, FormatError, DamagedCatalogError where nothing can be checked at all.
    """
    read_manifest(path)
    connection = connect(path)
    try:
        verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
    finally:
        connection.close()
    if verdict != "ok":
        raise DamagedCatalogError(f"{path}: the catalog is damaged ({verdict}); {REMEDY}")
    collection = Collection.open(path)
    findings: list[Finding] = []
    for space in collection.spaces:
        findings += _check_vectors(collection, space)
        findings += _check_tower(collection, space)
    findings += _check_leftovers(collection)
    if pictures:
        findings += _check_pictures(collection, on_progress or (lambda done: None))
    return findings


def _check_vectors(collection: Collection, space: Space) -> Iterator[Finding]:
    positions = collection.positions(space.name)
    ids = collection.images.ids[positions]
    expected = collection.images.checksums[positions, space.number]
    path = vectors_path(collection.path, space)
    stride = space.dimension * np.dtype(space.dtype).itemsize
    bad = []
    with path.open("rb") if path.exists() else BytesIO() as file:
        for image_id, crc in zip(ids.tolist(), expected.tolist(), strict=True):
            file.seek(image_id * stride)
            data = file.read(stride)
            if len(data) != stride or checksum(data) != crc:
                bad.append(image_id)
    if bad:
        yield Finding(
            "vectors",
            f"space {space.name}: {len(bad):,} of {len(ids):,} vectors are missing or damaged in {path.name}",
            True,
            space.name,
            tuple(bad),
        )


def _check_tower(collection: Collection, space: Space) -> Iterator[Finding]:
    if "converted" not in space.recipe:
        return
    try:
        found = converted_digest(tower_folder(collection.path, space.name))
    except OSError:
        found = None
    if found != space.recipe["converted"]:
        what = "is missing" if found is None else "is damaged"
        yield Finding("encoder", f"space {space.name}: its converted encoder {what}", True, space.name)


def _check_leftovers(collection: Collection) -> Iterator[Finding]:
    known = {space.name for space in collection.spaces}
    for path, space, fault in faulty_indexes(collection):
        yield Finding("index", f"index {path.name} {fault}", True, space.name if space else None, path=path)
    if damaged := damaged_greys(collection.path):
        message = f"{GREYS}: {len(damaged):,} small pictures for finding duplicates are damaged"
        yield Finding("greys", message, True, ids=tuple(damaged), path=collection.path / GREYS)
    for path in sorted((collection.path / "encoders").glob("*")):
        if path.name not in known:
            yield Finding("leftover", f"encoder {path.name} belongs to no space: a run was stopped", True, path=path)


def _check_pictures(collection: Collection, on_progress: Callable[[int], None]) -> Iterator[Finding]:
    connection = connect(collection.path)
    try:
        expected = dict(connection.execute("SELECT id, sha256 FROM images"))
    finally:
        connection.close()
    gone, changed = [], []
    ids = collection.images.ids.tolist()

    def digest(image_id: int) -> bytes | None:
        try:
            return hashlib.sha256(collection.read(image_id)).digest()
        except PictureGoneError:
            return None

    with ThreadPoolExecutor(available_cores()) as pool:
        for done, (image_id, found) in enumerate(zip(ids, pool.map(digest, ids), strict=True), start=1):
            if found is None:
                gone.append(image_id)
            elif found != expected.get(image_id):
                changed.append(image_id)
            on_progress(done)
    if gone:
        first = collection.file_of(gone[0])
        yield Finding(
            "picture gone",
            f"{len(gone):,} pictures are no longer where they were indexed, the first {first}: put them back, "
            "or take them out with `kvasir remove --gone`",
            False,
            ids=tuple(gone),
        )
    if changed:
        first = collection.file_of(changed[0])
        message = f"{len(changed):,} pictures have changed since they were indexed, the first {first}"
        yield Finding("picture changed", message, True, ids=tuple(changed))


def repair(path: Path, findings: Sequence[Finding]) -> list[str]:
    """Mend what can be mended; says in a line each what was done. The collection stays usable throughout."""
    done = []
    collection = Collection.open(path)
    with CollectionWriter(path) as writer:
        for finding in findings:
            if finding.path is not None:
                shutil.rmtree(finding.path) if finding.path.is_dir() else finding.path.unlink()
                done.append(f"deleted {finding.path.name}")
            elif finding.kind == "encoder" and finding.space is not None:
                rebuild_tower(writer, writer.manifest.space(finding.space))
                done.append(f"space {finding.space}: its encoder was converted anew from the same weights")
        redo: set[int] = set()
        for finding in findings:
            if finding.kind == "vectors" and finding.space is not None:
                for index in (path / FOLDER).glob(f"{finding.space}.*"):
                    index.unlink()  # it may hold what was damaged
                writer.forget_vectors(finding.space, finding.ids)
                redo.update(finding.ids)
            elif finding.kind == "picture changed":
                for image_id in finding.ids:
                    writer.touch(image_id, 0, -1)  # a change mark that no file has, so that the indexer looks again
                redo.update(finding.ids)
        if redo:
            done.append(_index_again(collection, writer, sorted(redo)))
    return done + _build_indexes(path, {finding.space for finding in findings if finding.kind in ("index", "vectors")})


def _build_indexes(path: Path, spaces: Collected[str | None]) -> list[str]:
    """Build the indexes of some spaces, where they are of the kind that is kept on disk."""
    searcher = Searcher(Collection.open(path))
    done = []
    for space in searcher.collection.spaces:
        if space.name in spaces and not compares_all(space.metric, len(searcher.collection.positions(space.name))):
            searcher.index(space.name)
            done.append(f"space {space.name}: its index was built anew")
    return done


def _index_again(collection: Collection, writer: CollectionWriter, ids: Sequence[int]) -> str:
    origins = {space.recipe.get("origin") for space in writer.manifest.spaces} - {None, "computed"}
    archive = None
    for origin in sorted(map(str, origins)):
        try:
            archive = open_features(Path(origin))
        except RetrievalError:
            continue  # the archive is gone: the descriptors are computed by the variant that made it
    made = 0
    images = collection.images
    for number, (source, _) in enumerate(images.source_paths):
        mine = [image_id for image_id in ids if images.sources[collection.position(image_id)] == number]
        if mine:
            classes = {collection.file_of(image_id): collection.class_of(image_id) for image_id in mine}
            run = run_dataset(chosen_pictures(source, classes), writer, archive, descriptors=None)
            made += run.outcome.added + run.outcome.completed
    return f"{made:,} of {len(ids):,} images were described anew from their pictures"
