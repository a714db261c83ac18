"""The background of a space: the similarities of random pairs of the collection's images, and of texts with images.

It depends on the collection's vectors alone, so the same collection gives the same figures; they are stored in the
collection, where any process may write them, and computed again when its images or their vectors have changed.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.disk import locked, write_atomically
from retrieval.errors import RetrievalError
from retrieval.json_digest import checked_fields, json_bytes

log = logging.getLogger(__name__)

SAMPLE = 256
"""Images whose pairs are measured: 32,640 pairs."""
FOLDER = "statistics"


@dataclass(frozen=True)
class Statistics:
    """Mean, standard deviation and minimum of the similarity of random pairs of different images, or of texts and
    images.

    maximum: the largest similarity that there is, of equal vectors; of texts, which no image equals, the largest seen.
    """

    mean: float
    deviation: float
    minimum: float
    maximum: float = 1.0

    def blended(self, other: Statistics, share: float) -> Statistics:
        """The statistics of a weighted mean of similarities, of which `other` has this share from 0 to 1."""
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Statistics(*((1 - share) * own + share * its for own, its in pairs))


def of_scores(scores: NDArray[np.floating]) -> Statistics:
    """Statistics of similarities of any shape; those of a space with fewer than two images are 0."""
    if not scores.size:
        return Statistics(0.0, 0.0, 0.0)
    values = np.asarray(scores, np.float64)
    return Statistics(float(values.mean()), float(values.std()), float(values.min()))


def sampled(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """The ids that are sampled from ids (n,) ascending: the same ones for the same images."""
    if len(ids) <= SAMPLE:
        return ids
    return ids[np.sort(np.random.default_rng(0).choice(len(ids), SAMPLE, replace=False))]


def stored_statistics(
    collection: Path,
    space: str,
    ids: NDArray[np.int64],
    checksums: NDArray[np.uint32],
    measure: Callable[[NDArray[np.int64]], NDArray[np.floating]],
    texts: Sequence[str] = (),
) -> Statistics:
    """The statistics of a space, from the collection's folder or else measured and stored there.

    ids, checksums: (n,) of its vectors. measure: sampled ids (s,) -> similarities of all of their pairs, (s, s); where
    texts are given, of the texts with the images, (t, s).
    """
    digest = hashlib.sha256(ids.astype("<i8").tobytes())
    digest.update(checksums.astype("<u4").tobytes())
    digest.update("\n".join([*texts, *["with a maximum"] * bool(texts)]).encode())  # earlier files have none
    key = digest.hexdigest()
    file = collection / FOLDER / f"{space}{'.texts' if texts else ''}.json"
    stored = _load(file, key)
    if stored is not None:
        return stored
    chosen = sampled(ids)
    measured = measure(chosen)
    statistics = of_scores(measured if texts else measured[np.triu_indices(len(chosen), 1)])
    if texts and measured.size:
        statistics = replace(statistics, maximum=float(measured.max()))
    _save(file, key, statistics)
    return statistics


def _load(file: Path, key: str) -> Statistics | None:
    try:
        fields = checked_fields(file.read_bytes())
        if fields.pop("vectors", None) != key:
            return None
        return Statistics(**{name: float(value) for name, value in fields.items()})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        log.warning("%s is damaged and is computed again (%s)", file, error)
        return None


def _save(file: Path, key: str, statistics: Statistics) -> None:
    busy = RetrievalError("it is being written")
    try:
        file.parent.mkdir(exist_ok=True)
        with locked(file, busy):
            write_atomically(file, json_bytes({"vectors": key} | asdict(statistics)), sync=False)
    except (OSError, RetrievalError) as error:  # a full disk or a read-only collection costs time, not the search
        if error is busy:  # another thread or process writes the same
            return
        log.warning("%s cannot be written and will be computed again next time (%s)", file, error)
