"""Principal components of the spaces of stage statistics: what is searched in their place.

They are fitted on the collection once an indexing run has enough images, stored with their statistics, and fitted
again by `kvasir refit` alone: vectors of two fits cannot be compared.
"""

from __future__ import annotations

from contextlib import suppress

from retrieval.collection import Collection, CollectionWriter, SpaceDefinition
from retrieval.learn.methods import Progress
from retrieval.learn.model import LearnOptions, NothingToLearnError
from retrieval.learn.training import learn
from retrieval.spaces import open_space

LEAST = 16
"""Images that components are fitted on at least; with fewer the statistics themselves are searched."""


def add_component_spaces(
    writer: CollectionWriter, progress: Progress = lambda task, done, total: None
) -> list[SpaceDefinition]:
    """Give each space of stage statistics that has none its components, in a space that replaces it in searches."""
    taken = {space.name for space in writer.manifest.spaces}
    replaced = {space.replaces for space in writer.manifest.spaces}
    made = []
    for space in writer.manifest.spaces:
        if space.name in replaced or not (count := open_space(writer.path, space).components):
            continue
        if len(Collection.open(writer.path).ids(space.name)) < LEAST:
            continue
        name = next(
            n for n in (f"{space.name}-pca", *(f"{space.name}-pca-{i}" for i in range(2, 1000))) if n not in taken
        )
        options = LearnOptions("pca", count)
        with suppress(NothingToLearnError):  # all pictures are alike: the space is searched as it is
            made.append(
                learn(writer, name, [space.name], "pca", options=options, progress=progress, replaces=space.name)
            )
    return made
