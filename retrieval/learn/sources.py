"""The frozen spaces that a space is learned from, the views that pay there, and components that need a new fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from retrieval.collection import Collection, SpaceNameError
from retrieval.learn.method_learner import MethodLearner
from retrieval.learn.model import LearnOptions, NothingToLearnError
from retrieval.learn.views import CENTRAL, NO_VIEWS
from retrieval.marks import kind_of
from retrieval.spaces import Space, UnsupportedQueryError, open_space

_GROWTH = 2
"""Growth of a collection from which components are worth fitting again."""


def frozen_sources(collection: Collection, sources: Sequence[str]) -> list[Space]:
    """The frozen spaces that a space is learned from: those named, or the collection's first.

    Principal components stand for the space that they were made of. Raises SpaceNameError, NothingToLearnError.
    """
    manifest = collection.manifest
    if not manifest.spaces:
        raise NothingToLearnError("the collection has no spaces yet; `kvasir index` makes them")
    frozen: dict[str, Space] = {}
    for definition in [manifest.space(name) for name in sources] or [manifest.spaces[0]]:
        space = open_space(collection.path, definition, "indexing")
        if not space.frozen:
            raise SpaceNameError(f"'{space.name}' is learned itself; learn from frozen spaces")
        frozen |= {source.name: source for source in space.frozen}
    return list(frozen.values())


def default_views(sources: Sequence[Space]) -> str:
    """The views that pay: none where every encoder sees the field of view alone, else the central part of the frame.

    Measured by tests/benchmarks/bench_quality.py: without surroundings there is no frame to learn.
    """
    return CENTRAL if any(source.sees_surroundings for source in sources) else NO_VIEWS


def marks_differ(collection: Collection) -> bool:
    """Whether a class has images with different marks of the device in the corner, as far as they are known."""
    images = collection.images
    kinds = kind_of(images.marks)
    pairs = {
        (label, kind) for label, kind in zip(images.labels.tolist(), kinds.tolist(), strict=True) if label >= 0 <= kind
    }
    return len(pairs) > len({label for label, _ in pairs})


def learner_of(
    collection: Collection, options: LearnOptions, sources: Sequence[str] = (), views: str | None = None
) -> MethodLearner:
    """The learner by options, as `kvasir learn` makes one; what is not given is chosen by the functions above.

    Raises SpaceNameError, NothingToLearnError, UnknownMethodError.
    """
    frozen = frozen_sources(collection, sources)
    learner = MethodLearner(tuple(source.name for source in frozen), NO_VIEWS, options)
    if not learner.labelled:
        return replace(learner, options=replace(options, unmarked=False))
    if options.unmarked is None:
        options = replace(options, unmarked=marks_differ(collection))
    return MethodLearner(learner.sources, default_views(frozen) if views is None else views, options)


def require_one_draft(sources: Sequence[Space]) -> None:
    """Raise UnsupportedQueryError unless all sources see a picture at the same draft."""
    if len({source.draft for source in sources}) > 1:
        raise UnsupportedQueryError(
            f"{', '.join(source.name for source in sources)} see pictures at different sizes, so no one picture serves "
            "them all; index the encoder together with the descriptors in a new collection"
        )


def outgrown(collection: Collection) -> list[str]:
    """A message for each space of components that was fitted on few of the images that the collection has now."""
    lines = []
    for definition in collection.spaces:
        fitted = open_space(collection.path, definition).fitted_images
        count = len(collection.ids(definition.name))
        if fitted is not None and definition.replaces is not None and count >= _GROWTH * fitted:
            lines.append(
                f"space {definition.name}: fitted on {fitted:,} of now {count:,} images; "
                f"`kvasir refit {collection.path} {definition.name}` fits it again"
            )
    return lines
