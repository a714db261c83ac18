"""Indexes of a collection's spaces as commands build and describe them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from retrieval.collection import Collection, SpaceDefinition
from retrieval.index import is_exact, open_index
from retrieval.index.building import store_wanted, stored_tuning, wanted_of
from retrieval.index.cosine import Cosine
from retrieval.index.shape import shape_of
from retrieval.index.storage import INDEX_FILE, index_folder
from retrieval.spaces import metric_of

if TYPE_CHECKING:
    from retrieval.index.faiss_index import FaissIndex


def needs_index(collection: Collection, space: SpaceDefinition) -> bool:
    """Whether a space has so many vectors that an index is built and stored for it."""
    return not is_exact(metric_of(space), len(collection.ids(space.name)))


def remember_wanted(
    collection: Collection, spaces: Sequence[SpaceDefinition], memory: int | None, recall: float | None
) -> None:
    """Store what indexes of embeddings are to be built for, and remove those that were built for something else.

    None leaves what is stored.
    """
    for space in spaces:
        folder = index_folder(collection.path, space.name)
        before = wanted_of(folder)
        wanted = replace(
            before,
            memory=before.memory if memory is None else memory,
            recall=before.recall if recall is None else recall,
        )
        if wanted != before and isinstance(metric_of(space), Cosine):
            store_wanted(folder, wanted)
            for file in folder.glob("*.faiss"):
                file.unlink()


def build_missing(collection: Collection, space: SpaceDefinition, say: Callable[[str], None]) -> str:
    """Build a space's index where it is missing or outdated; returns what it is, in words."""
    metric, count = metric_of(space), len(collection.ids(space.name))
    folder = index_folder(collection.path, space.name)
    index = open_index(collection, space.name, metric)
    if isinstance(metric, Cosine) and cast("FaissIndex", index).is_outdated:
        shape = shape_of(count, space.dimension, wanted_of(folder).memory)
        say(f"building {shape.name} of {count:,} vectors, {shape.bytes / 1e6:,.0f} MB: about {shape.seconds:,.0f} s")
    index.flush()
    return index.description


def index_facts(collection: Collection, space: SpaceDefinition) -> dict[str, Any] | None:
    """The stored tuning of a space's index as plain values, with what it was wanted for; None where there is none."""
    folder = index_folder(collection.path, space.name)
    tuning = stored_tuning(folder)
    if tuning is None:
        return None
    wanted = wanted_of(folder)
    return {"memory": wanted.memory, "bytes": (folder / INDEX_FILE).stat().st_size} | tuning.to_dict()


def index_sentence(collection: Collection, space: SpaceDefinition) -> str:
    """How a space is searched, in words; of a stored index as it was measured when it was built."""
    if not needs_index(collection, space):
        return "exact"
    if not isinstance(metric_of(space), Cosine):
        return "approximate"
    tuning = stored_tuning(index_folder(collection.path, space.name))
    return "exact, until an index is built" if tuning is None else str(tuning)


def unbuilt(path: Path) -> list[str]:
    """A line for each space of a collection that is searched more slowly than it could be, with what helps."""
    collection = Collection.open(path)
    lines = []
    for space in collection.spaces:
        if needs_index(collection, space) and isinstance(metric_of(space), Cosine):
            folder = index_folder(path, space.name)
            if stored_tuning(folder) is None:
                shape = shape_of(len(collection.ids(space.name)), space.dimension, wanted_of(folder).memory)
                lines.append(
                    f"space {space.name}: searches compare every image until an index is built, by "
                    f"`kvasir tune {path}` (about {shape.seconds:,.0f} s) or by a server in the background"
                )
    return lines
