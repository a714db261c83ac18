"""A learned model: frozen vectors of the sources -> vectors of unit length, with the parameters of all its steps."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from retrieval.cores import prefetch
from retrieval.errors import CollectionError, LearningError
from retrieval.learn.mark_directions import mark_directions, without
from retrieval.learn.methods import DEFAULT_METHOD, SEEDED, Progress, method_named, step_named
from retrieval.learn.whitening import Floats, apply_components, fit_components, unit
from retrieval.terminal import counted

_BLOCK = 4096
"""Vectors that are transformed at once."""


class NothingToLearnError(LearningError):
    """There are too few images, classes or vectors to learn from."""


class DamagedModelError(CollectionError):
    """The file of a learned space is not the one that its recipe names."""


@dataclass(frozen=True)
class LearnOptions:
    """How a space is learned.

    dimension: of the principal components; unlearned: their share, None for the method's; seeds: fits that are averaged
    of a part that chance has a hand in, from `seed` on. unmarked: whether the unlearned share loses the directions that
    tell the device's marks, see `retrieval.learn.mark_directions`; None for wherever a class has different marks.
    """

    method: str = DEFAULT_METHOD
    dimension: int = 512
    unlearned: float | None = None
    seed: int = 0
    seeds: int = 3
    unmarked: bool | None = False


@dataclass(frozen=True, eq=False)
class Model:
    """Parts by name with their shares, and the parameters `PART.NAME`; `base` is the unlearned part.

    A part that was fitted from several seeds is there once for each: `head`, `head#2`, `head#3`.
    """

    shares: Mapping[str, float]
    arrays: Mapping[str, NDArray[np.float32]]

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self.transform([np.zeros((1, len(self.arrays["base.mean"])))]).shape[1])

    def transform(self, vectors: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Vectors (n, d) of each source -> (n, m) float32 of unit length: the parts side by side, weighted.

        The cosine of two vectors is the mean of the parts' cosines, weighted by their shares.
        """
        blocks = [
            self._block(
                np.concatenate(
                    [np.asarray(of_source[start : start + _BLOCK], np.float64) for of_source in vectors], axis=1
                )
            )
            for start in range(0, max(1, len(vectors[0])), _BLOCK)
        ]
        return np.concatenate(blocks).astype(np.float32)

    def _block(self, vectors: Floats) -> Floats:
        components = apply_components(self._of("base"), vectors)
        parts = []
        for name, share in self.shares.items():
            if name != "base":
                part = step_named(name.partition("#")[0]).apply(self._of(name), components)
            elif "base.marks" in self.arrays:
                part = without(components, self.arrays["base.marks"].astype(np.float64))
            else:
                part = components
            parts.append(share**0.5 * unit(part))
        return unit(np.concatenate(parts, axis=1))

    def _of(self, part: str) -> dict[str, NDArray[np.float32]]:
        names = (name for name in self.arrays if name.startswith(f"{part}."))
        return {name.removeprefix(f"{part}."): self.arrays[name] for name in names}

    def to_bytes(self) -> bytes:
        """The model as a file of arrays."""
        out = io.BytesIO()
        shares = {f"share.{name}": np.array(share) for name, share in self.shares.items()}
        np.savez(out, **shares, **self.arrays)  # type: ignore[arg-type]
        return out.getvalue()

    @staticmethod
    def load(path: Path, digest: str) -> Model:
        """A model from its file. Raises DamagedModelError unless it has this SHA-256."""
        try:
            data = path.read_bytes()
        except OSError:
            data = b""
        if hashlib.sha256(data).hexdigest() != digest:
            raise DamagedModelError(
                f"{path} is missing or damaged; restore it from a copy, or `kvasir refit` learns it anew"
            )
        with np.load(io.BytesIO(data)) as stored:
            shares = {name.removeprefix("share."): float(stored[name]) for name in stored if name.startswith("share.")}
            return Model(shares, {name: stored[name] for name in stored if not name.startswith("share.")})


def fit(
    vectors: Sequence[NDArray[Any]],
    labels: NDArray[np.integer],
    options: LearnOptions = LearnOptions(),  # frozen
    progress: Progress = lambda task, done, total: None,
    kinds: NDArray[np.int64] | None = None,
) -> Model:
    """Learn a model from vectors (n, d) of each source and labels (n,), -1 for none; views of an image are rows too.

    Images without a class take part in the components alone. kinds: of the device's marks (n,), -1 where not known.
    Raises NothingToLearnError, UnknownMethodError.
    """
    method = method_named(options.method)
    joined = np.concatenate([np.asarray(of_source, np.float64) for of_source in vectors], axis=1)
    known = np.asarray(labels) >= 0
    require_enough(np.asarray(labels), 2 if method.labelled else 0)
    base = fit_base(vectors, options.dimension)
    arrays = {f"base.{name}": array for name, array in base.items()}
    components = apply_components(base, joined)
    parts = dict(method.parts)
    unlearned = 1 - sum(parts.values()) if options.unlearned is None else options.unlearned
    learned = sum(parts.values()) or 1.0
    shares = {name: share / learned * (1 - unlearned) for name, share in parts.items()}
    if unlearned > 1e-9 or not parts:
        shares["base"] = unlearned if parts else 1.0
        if options.unmarked and parts and kinds is not None:
            directions = mark_directions(components, np.asarray(labels, np.int64), kinds)
            if directions.shape[1]:
                arrays["base.marks"] = directions.astype(np.float32)
    of_class = np.unique(labels[known], return_inverse=True)[1].astype(np.int64)
    fits = [(part, at) for part in parts for at in range(options.seeds if part in SEEDED else 1)]
    names = {(part, at): part if at == 0 else f"{part}#{at + 1}" for part, at in fits}
    for part in parts:
        own = [names[one] for one in fits if one[0] == part]
        share = shares.pop(part)
        shares |= dict.fromkeys(own, share / len(own))

    def fitted(one: tuple[str, int]) -> dict[str, NDArray[np.float32]]:
        return step_named(one[0]).fit(components[known], of_class, options.seed + one[1])

    with threadpool_limits(1):  # a fit on each core, rather than each on all
        for done, (one, made) in enumerate(prefetch(fitted, fits, len(fits)), 1):
            arrays |= {f"{names[one]}.{parameter}": array for parameter, array in made.items()}
            progress("learning", done, len(fits))
    return Model(shares, arrays)


def require_enough(labels: NDArray[np.integer], classes: int) -> None:
    """Raise NothingToLearnError for fewer than three images, labels (n,) -1 for none, or too few classes."""
    there_are = len(np.unique(labels[labels >= 0]))
    if len(labels) < 3 or there_are < classes:
        needed = f"three images or more{', of two classes or more' if classes else ''}"
        raise NothingToLearnError(
            f"{counted(len(labels), 'image')} of {counted(there_are, 'class', 'classes')}: learning needs {needed}"
        )


def fit_base(vectors: Sequence[NDArray[Any]], dimension: int) -> dict[str, NDArray[np.float32]]:
    """Statistics and principal components of the vectors (n, d) of each source, sources of equal weight.

    Raises NothingToLearnError where all are alike.
    """
    joined = np.concatenate([np.asarray(of_source, np.float64) for of_source in vectors], axis=1)
    base = fit_components(joined, tuple(of_source.shape[1] for of_source in vectors), dimension)
    if not base["components"].shape[1]:
        raise NothingToLearnError(f"the vectors of all {len(joined):,} images are alike: there is nothing to learn")
    return base
