"""Indexes of a collection's spaces as commands build and describe them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from retrieval.collection import Collection, SpaceDefinition
from retrieval.index import descriptor_ivf, is_exact, open_index
from retrieval.index.building import store_wanted, stored_tuning, wanted_of
from retrieval.index.cosine import Cosine
from retrieval.index.protocol import EXACT
from retrieval.index.shape import Shape, shape_of
from retrieval.index.storage import INDEX_FILE, index_folder
from retrieval.spaces import metric_of

if TYPE_CHECKING:
    from retrieval.index.descriptor_ivf import DescriptorIVF
    from retrieval.index.faiss_index import FaissIndex


def needs_index(collection: Collection, space: SpaceDefinition) -> bool:
    """Whether a space has so many vectors that an index is built and stored for it."""
    metric = metric_of(space)
    if is_exact(metric, len(collection.ids(space.name))):
        return False
    return not isinstance(metric, Cosine) or not wanted_of(index_folder(collection.path, space.name)).is_exact


def remember_wanted(
    collection: Collection, spaces: Sequence[SpaceDefinition], memory: int | None, recall: float | None
) -> None:
    """Store what indexes of embeddings are to be built for; those that were built for something else serve until then.

    None leaves what is stored. Where every image is to be compared, nothing is left of an index.
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
            for file in folder.glob("*.faiss") if wanted.is_exact else ():
                file.unlink(missing_ok=True)


def build_missing(collection: Collection, space: SpaceDefinition, say: Callable[[str], None]) -> str:
    """Build a space's index where it is missing or outdated; returns what it is, in words."""
    index = cast("FaissIndex | DescriptorIVF", open_index(collection, space.name, metric_of(space)))
    if index.is_outdated:
        shape = _planned(collection, space)
        size = f"{len(index):,} vectors, {shape.bytes / 1e6:,.0f} MB"
        say(f"building {shape.name} of {size}: about {max(1, shape.seconds):,.0f} s")
    elif isinstance(metric_of(space), Cosine) and cast("FaissIndex", index).is_tuned_otherwise:
        recall = wanted_of(index_folder(collection.path, space.name)).recall
        say(f"tuning the index of {len(index):,} vectors for a recall of {recall:g}")
    index.flush()
    return index.description


def _planned(collection: Collection, space: SpaceDefinition) -> Shape:
    """What is built for a space."""
    metric, count = metric_of(space), len(collection.ids(space.name))
    if isinstance(metric, Cosine):
        wanted = wanted_of(index_folder(collection.path, space.name))
        return shape_of(count, space.dimension, wanted.memory, wanted.recall)
    return descriptor_ivf.shape_of(count, metric, collection.rows(space.name))


def index_facts(collection: Collection, space: SpaceDefinition) -> dict[str, Any] | None:
    """The stored tuning of a space's index as plain values, with what it was wanted for; None where there is none."""
    folder = index_folder(collection.path, space.name)
    tuning = stored_tuning(folder)
    if tuning is None:
        return None
    wanted = wanted_of(folder)
    return {"memory": wanted.memory, "bytes": (folder / INDEX_FILE).stat().st_size} | tuning.to_dict()


def index_sentence(collection: Collection, space: SpaceDefinition, until: str = "an index is built") -> str:
    """How a space is searched, in words; of a stored index as it was measured when it was built.

    until: what ends that every image is compared, where there is no index yet.
    """
    if not needs_index(collection, space):
        return EXACT
    tuning = stored_tuning(index_folder(collection.path, space.name))
    return f"{EXACT}, until {until}" if tuning is None else str(tuning)


def unbuilt(path: Path) -> list[str]:
    """A line for each space of a collection that is searched more slowly than it could be, with what helps."""
    collection = Collection.open(path)
    return [
        f"space {space.name}: searches compare every image until an index is built, by `kvasir tune {path}` "
        f"(about {max(1, _planned(collection, space).seconds):,.0f} s) or by a server in the background"
        for space in collection.spaces
        if needs_index(collection, space) and stored_tuning(index_folder(path, space.name)) is None
    ]
