"""Indexes that are stored on disk, checked against the vectors that they were built from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from retrieval.collection import Collection, SpaceDefinition
from retrieval.disk import PARTIAL
from retrieval.index import stored_backend
from retrieval.index.storage import (
    CHECKPOINT_FILE,
    FOLDER,
    INDEX_FILE,
    LOCK,
    PUSH_LOCK,
    WANTED_FILE,
    earlier_files,
    is_intact,
)
from retrieval.spaces import metric_of


def faulty_indexes(collection: Collection) -> Iterator[tuple[Path, SpaceDefinition | None, str]]:
    """(file or folder, the space whose index it is, what is wrong) of each that is of no use or not to be trusted."""
    spaces = {space.name: space for space in collection.spaces}
    earlier = {file: space for space in spaces.values() for file in earlier_files(collection.path / FOLDER, space.name)}
    for path in sorted((collection.path / FOLDER).glob("*")):
        if path.name == PUSH_LOCK:
            continue
        if path in earlier:
            yield path, earlier[path], "was made by an earlier version"
        elif path.name not in spaces or not path.is_dir():
            yield path, None, "belongs to no space"
        else:
            for file in sorted(path.iterdir()):
                if file.name != LOCK and (fault := _fault(collection, spaces[path.name], file)):
                    yield file, spaces[path.name], fault


def _fault(collection: Collection, space: SpaceDefinition, file: Path) -> str | None:
    """What is wrong with a file in the folder of a space's index; None where nothing is."""
    if file.suffix == PARTIAL:
        return "was left by a run that was stopped"
    if file.name == WANTED_FILE:
        return _fault_of_wanted(file)
    if file.name == CHECKPOINT_FILE:  # which the next build goes on from
        return None if is_intact(file) else "is damaged"
    metric, ids = metric_of(space), collection.ids(space.name)
    backend = stored_backend(metric, len(ids))
    if backend is None or file.name != INDEX_FILE:
        return "is no longer used: the collection has another size"
    if not is_intact(file):
        return "is damaged"
    if not backend.matches(file, metric, collection.rows(space.name), ids):
        return "does not hold the collection's vectors"
    return None


def _fault_of_wanted(file: Path) -> str | None:
    """What is wrong with the recall and memory that an index is to be built for."""
    from retrieval.index.building import read_wanted

    try:
        read_wanted(file)
    except (OSError, ValueError) as error:
        return f"is damaged ({error}): without it an index is built for the recall and memory by default"
    return None
