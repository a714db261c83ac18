"""A stored map with what its images are coloured by, as columns."""

from __future__ import annotations

import csv
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import Collection
from retrieval.evaluation.store import StoredEvaluationError
from retrieval.marks import NAMES
from retrieval.report.store import StoredEvaluation, digest_of_images, path_of_file, stored_evaluations
from retrieval.sources.address import without_credentials
from retrieval.space_map.store import stored_map

MEASURE = "precision@1"
"""The measure of a query that is 0 where its nearest has another class."""


def map_to_dict(opened: Collection, space: str) -> dict[str, Any]:
    """A SpaceMap; images that were removed since are left out. Raises SpaceNameError, NoMapError."""
    stored, images = stored_map(opened, space), opened.images
    present = np.isin(stored.ids, images.ids)
    ids, places = stored.ids[present], _scaled(stored.places)[present]
    rows = np.searchsorted(images.ids, ids)
    evaluation, wrong = _errors(opened, stored.facts.space)
    return {
        "space": stored.facts.space,
        "created": stored.facts.created,
        "method": stored.facts.method,
        "images": stored.facts.images,
        "trustworthiness": stored.facts.trustworthiness,
        "outdated": stored.outdated,
        "classes": list(opened.classes),
        "marks": list(NAMES),
        "sources": [Path(without_credentials(str(path))).name for path, _ in images.source_paths],
        "evaluation": None if evaluation is None else evaluation.id,
        "evaluation_outdated": evaluation is not None and evaluation.images != digest_of_images(opened),
        "ids": ids.tolist(),
        "x": places[:, 0].tolist(),
        "y": places[:, 1].tolist(),
        "class_numbers": images.labels[rows].tolist(),
        "clusters": images.clusters[rows].tolist(),
        "mark_bits": images.marks[rows].tolist(),
        "source_numbers": images.sources[rows].tolist(),
        "errors": None if evaluation is None else [wrong.get(image) for image in ids.tolist()],
    }


def _scaled(places: NDArray[np.float32]) -> NDArray[np.float64]:
    """Places (n, 2) between -1 and 1, with one scale for both axes."""
    low, high = places.min(axis=0).astype(np.float64), places.max(axis=0).astype(np.float64)
    extent = max(float((high - low).max()), 1e-12)
    scaled: NDArray[np.float64] = np.round(2 * (places - (low + high) / 2) / extent, 4)
    return scaled


def _errors(opened: Collection, space: str) -> tuple[StoredEvaluation | None, dict[int, bool]]:
    """The newest evaluation of a space that is stored, by all queries rather than by selected ones, and by query
    whether its nearest has another class.
    """
    for evaluation in sorted(stored_evaluations(opened.path), key=lambda one: one.is_partial):  # stable
        try:
            wrong = _wrong_queries(path_of_file(opened.path, evaluation, "queries.csv"), space)
        except (StoredEvaluationError, OSError, ValueError, KeyError, csv.Error):
            continue  # `kvasir verify` tells of damage
        if wrong:
            return evaluation, wrong
    return None, {}


@lru_cache(maxsize=16)
def _wrong_queries(path: Path, space: str) -> dict[int, bool]:
    """From the table of queries of one evaluation, which is never written again."""
    with path.open(encoding="utf-8", newline="") as stream:
        return {
            int(row["id"]): float(row[MEASURE]) == 0
            for row in csv.DictReader(stream)
            if row["space"] == space and row[MEASURE]
        }
