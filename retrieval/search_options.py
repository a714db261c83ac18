"""How to search: the options of a search, and the forms in which they may be given."""

from __future__ import annotations

from collections.abc import Collection as Names
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from retrieval.collection import Manifest
from retrieval.feedback import Feedback
from retrieval.filters import Filter
from retrieval.images import Region
from retrieval.names import nfc
from retrieval.query import BadQueryError, as_list, is_number, is_unordered

Weights = Sequence[float] | Mapping[str, float]
"""How much each space counts: in the order of the spaces, or by name, 1 for those that are not named."""


class SearchOptions(TypedDict, total=False):
    """The options of `Searcher.search`."""

    spaces: str | Sequence[str] | None
    weights: Weights | None
    fusion: str
    rerank: str | None
    filter: Filter | None
    classes: str | Names[str] | None
    exclude_self: bool
    exclude_cluster: bool
    exclude_scene: bool
    query_class: str | None
    region: Region | None
    min_chance: float | None
    fold: bool
    feedback: Feedback | None


def shares_of(weights: Weights | None, names: Sequence[str], manifest: Manifest) -> list[float]:
    """The weight of each space that is searched, by its name as the collection spells it. Raises BadQueryError."""
    count = len(names)
    if weights is None:
        return [1.0] * count
    if isinstance(weights, Mapping):
        named = {manifest.space(name).name: weight for name, weight in weights.items()}
        if beyond := [name for name in named if name not in names]:
            raise BadQueryError(f"there is a weight for {beyond[0]}, which is not searched; name it in `spaces`")
        weights = [named.get(name, 1.0) for name in names]
    if is_unordered(weights):
        raise BadQueryError(f"weights are given in the order of the spaces, as a list, not as {weights!r}")
    shares = [float(weight) if is_number(weight) else 0.0 for weight in as_list(weights)]
    if len(shares) != count or not all(0 < share < float("inf") for share in shares):
        raise BadQueryError(f"give one positive number as weight for each space ({count}), not {weights!r}")
    return shares


def class_name_of(value: Any) -> str | None:
    """The name of a class as a collection spells it. Raises BadQueryError."""
    if value is not None and not isinstance(value, str):
        raise BadQueryError(f"a class is given by name, not as {value!r}")
    return value and nfc(value)


def names_of(value: Any, what: str) -> list[str]:
    """One name or several as a list; what: what they are of. Raises BadQueryError."""
    names = as_list(value)
    if not all(isinstance(name, str) for name in names):
        raise BadQueryError(f"{what} are given by name, one or several, not as {value!r}")
    return names
