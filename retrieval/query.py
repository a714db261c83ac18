"""A query: one or more parts, each with a weight."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from numbers import Real
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.errors import QueryError
from retrieval.images import Picture, Region
from retrieval.sources.address import remote_reason

PictureLike = str | Path | bytes | Image.Image | NDArray[Any] | Picture
"""A file; a file's bytes; a PIL image; pixels (h, w, 3) or (h, w) uint8; a decoded picture."""


class BadQueryError(QueryError):
    """A query cannot be understood."""


@dataclass(frozen=True, eq=False)
class Part:
    """One part of a query: exactly one of an image of the collection, a picture, a text and a vector.

    vector: (d,), of the named space or, without a name, of every space that is searched. region: the part of the
    picture that counts, as fractions of its upright width and height. weight: how much the part counts, any number but
    0; a negative weight means unlike it. Raises BadQueryError.
    """

    image_id: int | None = None
    picture: PictureLike | None = None
    text: str | None = None
    vector: NDArray[Any] | None = None
    space: str | None = None
    region: Region | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        given = [name for name in ("image_id", "picture", "text", "vector") if getattr(self, name) is not None]
        if len(given) != 1:
            listed = ", ".join(given) or "none"
            raise BadQueryError(f"a part of a query is one of image_id, picture, text and vector; given: {listed}")
        if self.image_id is not None and not is_whole(self.image_id):
            raise BadQueryError(f"an image id is a whole number, not {self.image_id!r}")
        if self.text is not None and not isinstance(self.text, str):
            raise BadQueryError(f"a text is a string of words, not {self.text!r}")
        if self.vector is not None:
            object.__setattr__(self, "vector", _vector(self.vector))
        if not is_number(self.weight) or not self.weight:
            raise BadQueryError(f"a weight is a finite number other than 0, not {self.weight!r}")
        if self.space is not None and self.vector is None:
            raise BadQueryError("only a vector belongs to a space; choose the spaces to search by `spaces`")
        if self.region is not None:
            if given[0] in ("text", "vector"):
                raise BadQueryError(f"a {given[0]} has no region; give a picture")
            if is_unordered(self.region) or not (len(as_list(self.region)) == 4 and all(map(is_number, self.region))):
                raise BadQueryError(
                    f"a region is left, top, width and height as fractions between 0 and 1, not {self.region!r}"
                )
        if isinstance(self.picture, str | Path):
            if self.picture == "":
                raise BadQueryError("the name of the picture's file is empty")
            if reason := remote_reason(self.picture):
                raise BadQueryError(reason)
            if os.path.isdir(self.picture):  # noqa: PTH112  # takes any text, a NUL or a name too long included
                raise BadQueryError(
                    f"{self.picture} is a folder; a query is a picture file, several are a list of them"
                )


@dataclass(frozen=True, eq=False)
class Query:
    """Parts that are searched for together, at least one of them with a positive weight.

    In each space an image's distance to the query is the sum of its distances to the parts, each times its weight,
    divided by the sum of the positive weights. With positive weights alone this is the weighted mean; a negative weight
    lets images rise that are far from its part, and the distance may be below 0.
    """

    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.parts, Iterable):
            raise BadQueryError(f"a query has a tuple of parts, not a {type(self.parts).__name__}: Query((part,))")
        object.__setattr__(self, "parts", tuple(self.parts))
        if not self.parts or not all(isinstance(part, Part) for part in self.parts):
            raise BadQueryError("a query has one part or more")
        if all(part.weight < 0 for part in self.parts):
            raise BadQueryError("all weights are negative; a query needs a part with a positive one to be like")

    @staticmethod
    def of(value: QueryLike, region: Region | None = None) -> Query:
        """A query from whatever is one. region: of the picture, where the query is a single one.

        Raises BadQueryError.
        """
        if isinstance(value, Query):
            if region is not None:
                raise BadQueryError("give each part of a query its own region")
            return value
        return Query((_part(value, region),))

    @cached_property
    def image_ids(self) -> tuple[int, ...]:
        """The images of the collection among its parts."""
        return tuple(int(part.image_id) for part in self.parts if part.image_id is not None)

    @cached_property
    def spaces(self) -> tuple[str, ...]:
        """The spaces that its vectors belong to, each once."""
        return tuple(dict.fromkeys(part.space for part in self.parts if part.space is not None))

    @property
    def has_text(self) -> bool:
        """Whether one of its parts is a text."""
        return any(part.text is not None for part in self.parts)

    @property
    def image_id(self) -> int | None:
        """The image that it is, where it has no other part."""
        return self.image_ids[0] if len(self.parts) == 1 and self.image_ids else None


QueryLike = int | PictureLike | Part | Query
"""An image id; a picture; a vector (d,) of the space searched; a part; several parts as a Query."""


def _vector(value: Any) -> NDArray[Any]:
    try:
        vector = np.asarray(value)
    except ValueError:
        raise BadQueryError("a vector is a sequence of numbers, all of one length") from None
    if vector.ndim != 1:
        raise BadQueryError(f"a vector has one dimension, not the shape {vector.shape}")
    return vector


def _part(value: Any, region: Region | None) -> Part:
    if isinstance(value, Part):
        if region is not None:
            raise BadQueryError("give a part of a query its own region")
        return value
    if is_whole(value):
        return Part(image_id=int(value), region=region)
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return Part(vector=value, region=region)
    if isinstance(value, bytearray | memoryview):
        return Part(picture=bytes(value), region=region)
    if isinstance(value, str | Path | bytes | Image.Image | np.ndarray | Picture):
        return Part(picture=value, region=region)
    raise BadQueryError(f"a {type(value).__name__} is not a query: give an image id, file, bytes, picture or vector")


def is_unordered(value: object) -> bool:
    """Whether a value is a set, which cannot give several values where their order counts."""
    return isinstance(value, set | frozenset)


def as_list(value: Any) -> list[Any]:
    """Several values as a list, and one, such as a text, as a list of one."""
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


def is_number(value: object) -> bool:
    """Whether a value is a number that is finite as a float, and not a bool."""
    try:
        return not isinstance(value, bool) and isinstance(value, Real) and isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def is_whole(value: object) -> TypeGuard[int | np.integer[Any]]:
    """Whether a value is an integer and not a bool."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
