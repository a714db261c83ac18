"""Out-of-collection detection: distance to the classes in the frozen space, also where a learned one is searched.

Two scores. The Mahalanobis distance to the nearest class (Lee et al., NeurIPS 2018), in principal components, is the
hint that a picture is unlike anything here; findings that the collection lacks and other sources both raise it. With
what the components do not explain added, it tells pictures of another kind, such as photographs.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.collection import Collection
from retrieval.disk import damaged_files, read_sound, write_atomically
from retrieval.learn.whitening import Floats, apply_components, fit_components
from retrieval.splits import cluster_numbers, stratified_parts

Level = Literal["foreign", "unlike"]
"""`foreign`: of another kind than all pictures here. `unlike`: a hint that nothing here is like it."""

LEAST = 100
"""Images that a detector is fitted on at least."""
DIMENSION = 128
SHRINKAGE = 0.05
FOLDS = 5
FALSE_ALARMS: Mapping[str, float] = {"foreign": 0.005, "unlike": 0.05}
"""Share of the collection's own pictures, each judged without its fold, that reach a level."""
_FOLDER = "calibration"


@dataclass(frozen=True, eq=False)
class Detector:
    """Class means and whitening of components, in `arrays`; bounds: the least score of each level.

    rates: by set of pictures the share that reaches each level, as measured when it was fitted.
    """

    space: str
    arrays: Mapping[str, NDArray[np.float32]]
    bounds: Mapping[str, float]
    rates: Mapping[str, Mapping[str, float]]

    def scores(self, vectors: NDArray[Any]) -> Floats:
        """Both scores (2, n), in the order of FALSE_ALARMS, of vectors (n, d) of the frozen space."""
        return _scores(self.arrays, np.asarray(vectors, np.float64))

    def levels(self, vectors: NDArray[Any]) -> list[Level | None]:
        """The level of each of vectors (n, d) of the frozen space."""
        foreign, unlike = self.scores(vectors)
        return [
            "foreign" if f > self.bounds["foreign"] else "unlike" if u > self.bounds["unlike"] else None
            for f, u in zip(foreign.tolist(), unlike.tolist(), strict=True)
        ]

    def rates_of(self, vectors: NDArray[Any]) -> dict[str, float]:
        """The share of vectors (n, d) that reaches each level."""
        levels: list[str | None] = [*self.levels(vectors)]
        return {level: levels.count(level) / max(1, len(levels)) for level in FALSE_ALARMS}


@dataclass(frozen=True)
class Novelty:
    """How a query differs from the collection: its level, and the rates at which pictures of other sets reach it."""

    level: Level
    rates: Mapping[str, float] = field(hash=False)

    def __str__(self) -> str:
        if self.level == "foreign":
            return "this is another kind of picture than all that are here; its hits mean nothing"
        rates = ", ".join(f"{rate:.1%} of {name}" for name, rate in self.rates.items())
        return f"perhaps nothing here is like this picture; a hint that is given for {rates} too"


def fit_detector(
    space: str, vectors: NDArray[Any], labels: NDArray[np.integer], clusters: NDArray[np.integer], seed: int = 0
) -> Detector:
    """A detector of LEAST or more vectors (n, d), with labels and clusters (n,); bounds are of scores across folds."""
    bounds = {
        level: float(np.quantile(of_level, 1 - FALSE_ALARMS[level]))
        for level, of_level in zip(FALSE_ALARMS, cross_scores(vectors, labels, clusters, seed), strict=True)
    }
    fitted = _fit(np.asarray(vectors, np.float64), np.asarray(labels, np.int64))
    return Detector(space, fitted, bounds, {"the pictures here": dict(FALSE_ALARMS)})


def cross_scores(
    vectors: NDArray[Any], labels: NDArray[np.integer], clusters: NDArray[np.integer], seed: int = 0
) -> Floats:
    """Both scores (2, n) of each of vectors (n, d), by a detector that is fitted on the other folds."""
    given, classes = np.asarray(vectors, np.float64), np.asarray(labels, np.int64)
    part_of = stratified_parts(classes, cluster_numbers(clusters), (1 / FOLDS,) * FOLDS, seed)
    scores = np.empty((2, len(given)))
    for fold in np.unique(part_of):
        of_fold = part_of == fold
        scores[:, of_fold] = _scores(_fit(given[~of_fold], classes[~of_fold]), given[of_fold])
    return scores


def _fit(vectors: Floats, labels: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
    arrays = fit_components(vectors, (vectors.shape[1],), min(DIMENSION, len(vectors) // 4))
    made = apply_components(arrays, vectors)
    classes, of_class = np.unique(labels, return_inverse=True)
    means = np.stack([made[of_class == at].mean(axis=0) for at in range(len(classes))])
    centred = made - means[of_class]
    within = centred.T @ centred / len(made)
    within = (1 - SHRINKAGE) * within + SHRINKAGE * np.trace(within) / len(within) * np.eye(len(within))
    values, directions = np.linalg.eigh(within)
    whiten = directions / np.sqrt(np.maximum(values, 1e-12))
    rest = np.maximum(_rest(arrays, vectors, made), 1e-12).mean()
    extra = {"whiten": whiten, "means": means @ whiten, "rest": np.array(rest)}
    return arrays | {name: array.astype(np.float32) for name, array in extra.items()}


def _scores(arrays: Mapping[str, NDArray[np.float32]], vectors: Floats) -> Floats:
    """Both scores (2, n): the distance with what the components leave, and the distance."""
    made = apply_components(arrays, vectors)
    whitened = made @ arrays["whiten"].astype(np.float64)
    means = arrays["means"].astype(np.float64)
    squares = (whitened**2).sum(axis=1)[:, None] - 2 * whitened @ means.T + (means**2).sum(axis=1)
    nearest = np.maximum(squares, 0).min(axis=1) / made.shape[1]
    return np.stack([nearest + _rest(arrays, vectors, made) / float(arrays["rest"]), nearest])


def _rest(arrays: Mapping[str, NDArray[np.float32]], vectors: Floats, made: Floats) -> Floats:
    """What components (n, p) leave of the squared length of the standardised vectors, (n,)."""
    standardised = (vectors - arrays["mean"]) * arrays["scale"]
    rest: Floats = (standardised**2).sum(axis=1) - (made**2).sum(axis=1)
    return np.maximum(rest, 0)


def detector_path(collection: Path, space: str) -> Path:
    """Where the detector of a frozen space lies."""
    return collection / _FOLDER / f"{space}.novelty.npz"


def store_detector(collection: Collection, detector: Detector) -> None:
    """Store a detector in the collection. Raises OSError."""
    about = {
        "recipe": _recipe(collection, detector.space),
        "bounds": dict(detector.bounds),
        "rates": {name: dict(rates) for name, rates in detector.rates.items()},
    }
    out = io.BytesIO()
    np.savez(out, about=np.array(json.dumps(about)), **detector.arrays)  # type: ignore[arg-type]
    path = detector_path(collection.path, detector.space)
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, out.getvalue())


def load_detector(collection: Collection, space: str) -> Detector | None:
    """The detector of a frozen space; None where there is none for its vectors as they are made now."""
    path = detector_path(collection.path, space)
    return read_sound(path, partial(_read, collection, space), "calibrate")


def faulty_detectors(collection: Collection) -> Iterator[tuple[Path, str]]:
    """(file, what is wrong) of each detector that is damaged."""
    for space in collection.spaces:
        path = detector_path(collection.path, space.name)
        yield from damaged_files([path], partial(_read, collection, space.name), "calibrate")


def _read(collection: Collection, space: str, path: Path) -> Detector | None:
    """The detector in a file (each part has a CRC-32); None where the space is made otherwise. Raises DAMAGE."""
    with path.open("rb") as stream, np.load(stream) as stored:
        arrays = {name: stored[name] for name in stored if name != "about"}
        about = json.loads(str(stored["about"]))
    if about["recipe"] != _recipe(collection, space):
        return None
    return Detector(space, arrays, about["bounds"], about["rates"])


def novelties(detector: Detector, vectors: NDArray[Any]) -> list[Novelty | None]:
    """Whether each picture is foreign, or unlike the collection, by frozen vectors (n, d); None for neither."""
    return [
        None if level is None else Novelty(level, {name: rates[level] for name, rates in detector.rates.items()})
        for level in detector.levels(vectors)
    ]


def _recipe(collection: Collection, space: str) -> str:
    recipe = json.dumps(collection.manifest.space(space).recipe, sort_keys=True)
    return hashlib.sha256(recipe.encode()).hexdigest()
