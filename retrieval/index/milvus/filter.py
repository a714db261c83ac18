"""Selections as filters in Milvus's language."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.filters import Selection
from retrieval.index.milvus.stamp import class_key

LISTED = 16_384
"""Ids that a filter lists at most; beyond, comparing every image here costs no more than sending them."""


def expression(selection: Selection | None, touched: NDArray[np.int64] | None = None) -> str | None:
    """The filter that passes what a selection has, but for touched ids; empty for all, None where it is too long.

    Classes are passed by their numbers, everything else by ids: those of clusters and scenes are few.
    """
    terms: list[str] = []
    listed: list[tuple[str, NDArray[np.int64]]] = []
    if selection is not None:
        if selection.classes is not None:
            terms.append(f"class in [{', '.join(str(class_key(name)) for name in selection.classes)}]")
        elif selection.included is not None:
            listed.append(("in", selection.included))
        if len(selection.excluded):
            listed.append(("not in", selection.excluded))
    if touched is not None and len(touched):
        listed.append(("not in", touched))
    if sum(len(ids) for _, ids in listed) > LISTED:
        return None
    terms += [f"id {operator} [{', '.join(map(str, ids.tolist()))}]" for operator, ids in listed]
    return " and ".join(terms)
