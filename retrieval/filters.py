"""Which images may be hits: a filter as it is stated, and the selection of image ids that it makes of a collection."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import Images
from retrieval.errors import QueryError
from retrieval.names import nfc
from retrieval.query import BadQueryError, as_list, is_whole

_NONE = np.empty(0, np.int64)
_SELECTIONS = 8
"""Filters whose selections are cached with the images."""
_LARGEST = np.iinfo(np.int64).max


class NoSuchClassError(QueryError):
    """The collection has no class of this name."""


@dataclass(frozen=True, eq=False)
class Selection:
    """Image ids that may be hits: those in `included` that are not in `excluded`.

    images: every id of the collection, (n,) int64 ascending. included: (m,) int64 ascending, a subset of images, or
    None for all of them. excluded: (e,) int64 ascending, a subset of images. classes: where `included` is all images of
    these classes, their names, by which an engine that stores classes selects them sooner than by ids.
    """

    images: NDArray[np.int64]
    included: NDArray[np.int64] | None = None
    excluded: NDArray[np.int64] = field(default_factory=lambda: _NONE)
    classes: tuple[str, ...] | None = None

    @property
    def is_everything(self) -> bool:
        """Whether every image may be a hit."""
        return self.included is None and not len(self.excluded)

    @cached_property
    def count(self) -> int:
        """How many images may be hits; takes O(excluded * log included)."""
        if self.included is None:
            return len(self.images) - len(self.excluded)
        return len(self.included) - int(np.count_nonzero(among(self.excluded, self.included)))

    @cached_property
    def ids(self) -> NDArray[np.int64]:
        """The ids themselves, ascending int64."""
        included = self.images if self.included is None else self.included
        if not len(self.excluded):
            return included
        places = np.searchsorted(included, self.excluded[among(self.excluded, included)])
        return np.delete(included, places)

    def contains(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of ids, of any shape, may be hits."""
        return among(ids, self.images if self.included is None else self.included) & ~among(ids, self.excluded)


@dataclass(frozen=True)
class Filter:
    """Conditions that an image must meet to be a hit; all of them together.

    classes: it has one of these. ids: it is one of these. exclude_ids: it is none of these. exclude_clusters,
    exclude_scenes: it belongs to none of these clusters of near duplicates, or scenes. Any iterables of names and ids
    will do, and are stored as frozen sets. Raises BadQueryError.
    """

    classes: frozenset[str] | None = None
    ids: frozenset[int] | None = None
    exclude_ids: frozenset[int] = frozenset()
    exclude_clusters: frozenset[int] = frozenset()
    exclude_scenes: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        for name in ("classes", "ids", "exclude_ids", "exclude_clusters", "exclude_scenes"):
            object.__setattr__(self, name, _frozen(name, getattr(self, name)))

    def select(self, images: Images) -> Selection:
        """The images of a collection that meet it. Raises NoSuchClassError; ids that do not exist match nothing.

        The same filter of the same images gives the same object, by which indexes cache what they make of it.
        """
        selections: dict[Filter, Selection] = images.selections
        selection = selections.get(self)
        if selection is None:
            selection = self._select(images)
            for oldest in list(selections)[: len(selections) + 1 - _SELECTIONS]:
                selections.pop(oldest, None)
            selections[self] = selection
        return selection

    def _select(self, images: Images) -> Selection:
        included = None
        classes: tuple[str, ...] | None = None
        if self.classes is not None:
            wanted = known_classes(self.classes, images)
            classes = tuple(sorted(wanted)) if self.ids is None else None
            labels = [label for label, name in enumerate(images.classes) if name in wanted]
            included = images.ids_of_label(labels[0]) if len(labels) == 1 else _union(map(images.ids_of_label, labels))
        if self.ids is not None:
            listed = ascending(self.ids)
            included = listed[among(listed, images.ids if included is None else included)]
        groups = [*map(images.ids_of_cluster, self.exclude_clusters), *map(images.ids_of_scene, self.exclude_scenes)]
        left_out = _union([ascending(self.exclude_ids), *groups])
        return Selection(images.ids, included, left_out[among(left_out, images.ids)], classes)


def known_classes(names: Iterable[str], images: Images) -> frozenset[str]:
    """Names of classes as a collection spells them. Raises NoSuchClassError for one that it has not."""
    wanted = frozenset(map(nfc, names))
    if unknown := sorted(wanted - set(images.classes)):
        known = ", ".join(images.classes) or "none"
        near = get_close_matches(unknown[0].lower(), [name.lower() for name in images.classes], 1, 0.7)
        meant = next((f" (did you mean {name}?)" for name in images.classes if [name.lower()] == near), "")
        raise NoSuchClassError(f"no class '{unknown[0]}'{meant}; the classes: {known}")
    return wanted


def among(ids: NDArray[Any], ascending: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of ids, of any shape, are in an ascending array, by binary search."""
    if not len(ascending):
        return np.zeros(np.shape(ids), bool)
    places = np.minimum(np.searchsorted(ascending, ids), len(ascending) - 1)
    members: NDArray[np.bool_] = ascending[places] == ids
    return members


def _frozen(field_name: str, value: Any) -> frozenset[Any] | None:
    """A field of a filter as a frozen set. Raises BadQueryError."""
    if value is None and field_name in ("classes", "ids"):
        return None
    valid, kind = (_is_name, "names") if field_name == "classes" else (is_whole, "whole numbers")
    values = as_list(value)
    if not all(map(valid, values)):
        raise BadQueryError(f"{field_name} of a filter are {kind}, not {value!r}")
    return frozenset(values if field_name == "classes" else map(int, values))


def _is_name(value: object) -> bool:
    return isinstance(value, str)


def ascending(ids: Iterable[int]) -> NDArray[np.int64]:
    """Each of some ids once, (m,) ascending, without those that no image can have."""
    return np.unique(np.fromiter((value for value in ids if abs(value) <= _LARGEST), np.int64))


def _union(parts: Iterable[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.unique(np.concatenate([_NONE, *parts]))
