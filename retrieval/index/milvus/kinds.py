"""Kinds of index that Milvus and milvus-lite both build: how each is made and searched."""

from __future__ import annotations

import math
from collections.abc import Mapping

KINDS = ("FLAT", "IVF_FLAT", "IVF_SQ8", "HNSW")
"""milvus-lite takes other names as well and compares every vector."""
EXACT_KIND = "FLAT"
EXACT_UP_TO = 50_000
"""Images up to which every one is compared where no kind is named, as locally."""
_PARAMETER = {"HNSW": "ef", "IVF_FLAT": "nprobe", "IVF_SQ8": "nprobe"}
_TRAINING = 39
"""Images of a list below which FAISS warns."""
_EFS = (64, 128, 256, 512, 1024)


def default_kind(images: int) -> str:
    """The kind of index that so many images get."""
    return EXACT_KIND if images <= EXACT_UP_TO else "HNSW"


def build_parameters(kind: str, images: int) -> dict[str, int]:
    """How an index of so many images is built, in Milvus's words."""
    if kind == "HNSW":
        return {"M": 32, "efConstruction": 200}
    return {} if kind == EXACT_KIND else {"nlist": _lists(images)}


def settings(kind: str, images: int) -> list[dict[str, int]]:
    """How it may be searched, the fastest first."""
    if kind == EXACT_KIND:
        return [{}]
    if kind == "HNSW":
        return [{"ef": value} for value in _EFS]
    lists = _lists(images)
    return [{"nprobe": max(1, lists // part)} for part in (32, 16, 8, 4, 2, 1)]


def parameters(kind: str, search: Mapping[str, int], limit: int, filtered: int | None = None) -> dict[str, int]:
    """The parameters of a search for so many candidates.

    filtered: images of an index whose candidates have to pass a filter: all lists are probed then, since those near the
    query may have few that pass.
    """
    if kind == "HNSW":
        return {"ef": max(2 * limit, search.get("ef", _EFS[0]))}
    name = _PARAMETER.get(kind)
    if name is None:
        return {}
    return {name: search.get(name, 1) if filtered is None else _lists(filtered)}


def _lists(images: int) -> int:
    """Lists of an inverted file, each of as many images as k-means needs."""
    return max(1, min(65_536, int(4 * math.sqrt(images)), images // _TRAINING))
