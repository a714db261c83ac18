"""What the recipes of spaces say to learning: the options of a learned one, the sources and views of a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from retrieval.collection import Collection, Manifest, SpaceDefinition, SpaceNameError
from retrieval.learn.methods import AUTO
from retrieval.learn.model import LearnOptions, NothingToLearnError
from retrieval.learn.views import CENTRAL
from retrieval.spaces.learned import is_learned, is_unlabelled

_GROWTH = 2
"""Growth of a collection from which components are worth fitting again."""


def options_of(definition: SpaceDefinition) -> LearnOptions:
    """The options by which a space was learned; what cross-validation chose for it is chosen again.

    Raises SpaceNameError where the space is not a learned one.
    """
    if not is_learned(definition):
        raise SpaceNameError(f"'{definition.name}' is a frozen space; name a learned one, or a method of learning")
    recipe = definition.recipe
    method = AUTO if recipe.get("chosen") else recipe["method"]
    unlearned = recipe.get("unlearned")
    return LearnOptions(method, recipe["dimension"], unlearned, recipe["seed"], recipe.get("seeds", 1))


def fixed_options_of(definition: SpaceDefinition) -> LearnOptions:
    """The options by which a space was learned, with what cross-validation chose for it once."""
    recipe = definition.recipe
    return replace(options_of(definition), method=recipe["method"], unlearned=recipe["shares"].get("base", 0.0))


def frozen_sources(manifest: Manifest, sources: Sequence[str]) -> list[str]:
    """The frozen spaces that a space is learned from: those named, or the collection's first.

    Principal components stand for the space that they were made of. Raises SpaceNameError.
    """
    if not manifest.spaces:
        raise NothingToLearnError("the collection has no spaces yet; `kvasir index` makes them")
    named = [manifest.space(one) for one in sources] or [manifest.spaces[0]]
    names: list[str] = []
    for space in named:
        if is_learned(space) and not is_unlabelled(space):
            raise SpaceNameError(f"'{space.name}' is learned itself; learn from frozen spaces")
        names += space.recipe["sources"] if is_learned(space) else [space.name]
    return list(dict.fromkeys(names))


def default_views(sources: Sequence[SpaceDefinition]) -> str:
    """The views that pay: none where every encoder sees the field of view alone, else the central part of the frame.

    Measured by tests/benchmarks/bench_quality.py: without surroundings there is no frame to learn.
    """
    return "none" if all(space.recipe.get("fit", "field") == "field" for space in sources) else CENTRAL


def outgrown(collection: Collection) -> list[str]:
    """What to say of components that were fitted on few of the images that the collection has now."""
    return [
        f"space {space.name}: fitted on {space.recipe['images']:,} of now {len(collection.ids(space.name)):,} images; "
        f"`kvasir refit {collection.path} {space.name}` fits it again"
        for space in collection.spaces
        if space.recipe.get("replaces") and len(collection.ids(space.name)) >= _GROWTH * space.recipe["images"]
    ]
