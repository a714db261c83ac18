"""Repair what `indexer.verification` reports and what can be computed again: vectors, encoders, indexes, small greys.

A damaged vector stays marked as damaged until it is overwritten, so neither a stop nor an unreadable picture makes the
collection look sound.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Collection as Collected
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from indexer.datasets import chosen_pictures
from indexer.features import FeatureArchive, open_features
from indexer.run import run_dataset
from indexer.vector_import import imported_again
from indexer.verification import Finding, check, check_vectors, rows_without_digest
from retrieval.collection import Collection, CollectionWriter
from retrieval.collection.table_digests import MARKS
from retrieval.descriptors import DESCRIPTORS
from retrieval.errors import EncoderError, RetrievalError, SourceError
from retrieval.index import is_exact, open_index
from retrieval.index.storage import index_folder
from retrieval.learn.completion import complete_derived_spaces
from retrieval.learn.model import DamagedModelError
from retrieval.spaces import Space, metric_of, open_space
from retrieval.terminal import counted


@dataclass
class Repair:
    """Outcome of a repair.

    done: in a line each. renumbered: (old id, new id, file) of changed pictures, since an id never changes its picture.
    failed: (file or encoder, reason) of pictures that cannot be read and of encoders that cannot be loaded.
    warnings: what to know about the new vectors.
    """

    done: list[str] = field(default_factory=list)
    renumbered: list[tuple[int, int, str]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def repair(path: Path, findings: Sequence[Finding]) -> Repair:
    """Repair what can be repaired; readers can use the collection meanwhile.

    Others may have written since the check, so all of it but the pictures is checked again under the lock.
    """
    outcome = Repair()
    broken: dict[str, str] = {}
    unchecked = rows_without_digest(path)  # before a writer opens the catalog, which gives all of an older one theirs
    with CollectionWriter(path) as writer:
        writer.add_row_digests()
        if unchecked:
            outcome.done.append(f"{counted(unchecked, 'row')} of the catalog have a checksum now")
        findings = [*check(path, pictures=False), *(f for f in findings if f.kind == "picture changed")]
        for finding in findings:
            if finding.path is not None:
                shutil.rmtree(finding.path) if finding.path.is_dir() else finding.path.unlink(missing_ok=True)
                outcome.done.append(f"deleted {finding.path.name}")
            elif finding.kind == "space" and finding.space is not None:
                try:
                    done = open_space(path, writer.manifest.space(finding.space)).restore(writer)
                except (EncoderError, DamagedModelError) as error:
                    broken[finding.space] = str(error)
                    continue
                outcome.done.append(f"space {finding.space}: {done}")
        again: defaultdict[int, frozenset[str]] = defaultdict(frozenset)
        if any(finding.kind == MARKS for finding in findings):
            writer.forget_marks()
            opened = Collection.open(path, damaged_rows=True)
            again |= dict.fromkeys(opened.images.ids[opened.images.with_pictures].tolist(), frozenset())
            outcome.done.append("the marks of the device are looked for again")
        for finding in findings:
            if finding.kind == "vectors" and finding.space is not None:
                for index in index_folder(path, finding.space).glob("*.faiss"):  # it may hold what was damaged
                    index.unlink(missing_ok=True)
                for image_id in finding.ids:
                    again[image_id] |= {finding.space}
            elif finding.kind == "picture changed":
                for image_id in finding.ids:
                    again[image_id] |= frozenset()
        derived = frozenset(space.name for space in _spaces(writer) if space.derived)
        # Derived vectors are made of stored ones, so no picture is read for them.
        seen = {image_id: spaces - derived for image_id, spaces in again.items() if not spaces or spaces - derived}
        if seen:
            _recompute(writer, seen, broken, outcome)
        if remade := _derive(writer, again, outcome):
            outcome.done.append(f"{counted(remade, 'derived vector')} computed anew")
    outcome.failed += [(f"the encoder or model of the space {space}", reason) for space, reason in broken.items()]
    _build_indexes(path, {finding.space for finding in findings if finding.kind in ("index", "vectors")}, outcome)
    return outcome


def _derive(writer: CollectionWriter, again: Mapping[int, frozenset[str]], outcome: Repair) -> int:
    """Make damaged vectors of derived spaces (image -> spaces) from their sources' vectors; returns how many."""
    try:
        return complete_derived_spaces(writer, again=again)
    except DamagedModelError as error:
        outcome.failed.append(("derived vectors", str(error)))
        return 0


def _recompute(
    writer: CollectionWriter, again: Mapping[int, frozenset[str]], broken: dict[str, str], outcome: Repair
) -> None:
    """Make vectors of images (id -> spaces of damaged ones) from the archive of their features and their pictures.

    Spaces of broken encoders are left out, and those that turn out to be broken noted.
    """
    collection = Collection.open(writer.path, damaged_rows=True)
    files = {
        image_id: collection.file_of(image_id)
        for image_id in sorted(again)
        if collection.images.position(image_id) is not None
    }
    by_source: defaultdict[int, dict[str, str | None]] = defaultdict(dict)
    bare = {image_id for image_id in files if not collection.images.with_pictures[collection.position(image_id)]}
    made = _import_again(writer, collection, {image_id: again[image_id] for image_id in bare}, outcome)
    for image_id, file in files.items():
        if image_id in bare:
            continue
        by_source[collection.images.sources[collection.position(image_id)]][file] = collection.class_of(image_id)
    with ExitStack() as stack:
        archive = _archive(writer)
        if archive is not None:
            stack.enter_context(archive)
        for number, classes in by_source.items():
            source, _ = collection.images.source_paths[number]
            said: list[str] = []
            try:
                # The descriptors' names, since what the archive does not have is computed.
                with chosen_pictures(source, classes) as dataset:
                    result = run_dataset(
                        dataset,
                        writer,
                        archive,
                        descriptors=",".join(space.shipped.descriptor for space in _spaces(writer) if space.shipped),
                        again=again,
                        broken=broken,
                        say=said.append,
                    )
            except SourceError as error:
                outcome.failed += [(file, str(error)) for file in classes]
                continue
            made += result.outcome.added + result.outcome.completed
            outcome.failed += result.outcome.rejected
            if archive is None or result.without_features or result.feature_faults:
                outcome.warnings += [
                    line for line in said if line.startswith("warning") and line not in outcome.warnings
                ]
    if made:
        outcome.done.append(f"{made:,} of {counted(len(files), 'image')} computed anew")
    now = Collection.open(writer.path, damaged_rows=True).images
    wanted = set(files.values())
    ids = {
        (now.source_paths[at], file): int(i)
        for i, at, file in zip(now.ids, now.sources, now.files, strict=True)
        if file in wanted
    }
    for image_id, file in files.items():
        place = collection.images.source_paths[collection.images.sources[collection.position(image_id)]]
        if (new := ids.get((place, file), image_id)) != image_id:
            outcome.renumbered.append((image_id, new, file))


def _import_again(
    writer: CollectionWriter, collection: Collection, again: Mapping[int, frozenset[str]], outcome: Repair
) -> int:
    """Read vectors of images without pictures (id -> spaces) from the files of their import; returns of how many."""
    done: set[int] = set()
    for definition in collection.spaces:
        ids = [image_id for image_id, spaces in again.items() if definition.name in spaces]
        if not ids:
            continue
        vectors = imported_again(collection, definition, ids)
        writer.fill({image_id: {definition.name: vector} for image_id, vector in vectors.items()})
        done |= vectors.keys()
        outcome.failed += [
            (collection.file_of(image_id), f"no file that was imported has its vector in the space '{definition.name}'")
            for image_id in ids
            if image_id not in vectors
        ]
    return len(done)


def _archive(writer: CollectionWriter) -> FeatureArchive | None:
    """The shipped features that descriptors came from, if they are still there: only those give the very same vectors.

    An archive makes all six spaces, so a collection that a stop left with fewer is repaired without.
    """
    shipped = [space.shipped for space in _spaces(writer) if space.shipped is not None]
    archives = {values.archive for values in shipped if values.archive is not None}
    for archive in sorted(archives) if len(shipped) == len(DESCRIPTORS) else ():
        try:
            return open_features(Path(archive))
        except RetrievalError:
            continue
    return None


def _spaces(writer: CollectionWriter) -> list[Space]:
    return [open_space(writer.path, definition) for definition in writer.manifest.spaces]


def _build_indexes(path: Path, spaces: Collected[str | None], outcome: Repair) -> None:
    """Build the indexes of some spaces, where they are of a kind that is stored on disk and their vectors are sound."""
    collection = Collection.open(path, damaged_rows=True)
    for space in collection.spaces:
        metric = metric_of(space)
        stored = not is_exact(metric, len(collection.ids(space.name)))
        if space.name in spaces and stored and not any(check_vectors(collection, space)):
            open_index(collection, space.name, metric).flush()
            outcome.done.append(f"space {space.name}: its index was built anew")
