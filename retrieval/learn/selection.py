"""The method and the unlearned share of a learned space, by cross-validation over clusters and by left-out classes.

The cosine of two learned vectors is the mean of their parts' cosines, so each part is fitted once for a fold and every
method and share is a weighted sum of the same similarities. What they are compared with are components that are fitted
on the same images: they too have not seen the queries, nor a class that is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from retrieval.cores import prefetch
from retrieval.learn.learner import TrainingSet
from retrieval.learn.mark_directions import mark_directions, without
from retrieval.learn.methods import AUTO, METHODS, Progress, method_named, step_named
from retrieval.learn.model import LearnOptions, Model, NothingToLearnError, fit_base, require_enough
from retrieval.learn.whitening import Floats, apply_components, unit
from retrieval.splits import cluster_numbers, stratified_parts

FOLDS = 5
MOST = 1500
"""Images that a choice is made on; of more, a seeded part in which each class has its share."""
CHOICES = ("lda", "head", "blend", "ensemble")
"""Methods among which cross-validation chooses by default."""
SHARES = (0.1, 0.2, 0.3, 0.5, 0.7)
"""Unlearned shares that are tried."""
GROUPS = 8
"""Groups of classes that are left out, one class each where there are no more than these."""

Figures = dict[str, float]
"""precision@1 and mAP."""


@dataclass(frozen=True)
class Choice:
    """A method with its unlearned share, and its figures: of folds, of left-out classes, of these without learning."""

    method: str
    unlearned: float
    folds: Figures
    left_out: Figures
    left_out_unlearned: Figures

    @property
    def loses_nothing(self) -> bool:
        """Whether left-out classes have the P@1 and the mAP of the unlearned space, or more."""
        return all(self.left_out[name] >= value for name, value in self.left_out_unlearned.items())

    def to_dict(self) -> dict[str, float]:
        """The figures by name, as a recipe stores them."""
        return {
            **self.folds,
            "unlearned": self.unlearned,
            **{f"left-out {name}": value for name, value in self.left_out.items()},
            **{f"left-out {name} without learning": value for name, value in self.left_out_unlearned.items()},
        }


def choices(
    training: TrainingSet,
    methods: Iterable[str],
    dimension: int,
    unlearned: float | None = None,
    seed: int = 0,
    progress: Progress = lambda task, done, total: None,
    unmarked: bool = False,
) -> list[Choice]:
    """For each method the choice of its unlearned share; several where one is given by `unlearned`, the best first.

    The best has the largest sum of P@1 and mAP over the folds among those by which left-out classes lose nothing, or
    where there is none, the largest over left-out classes. None are made where no image has another of its class
    in another fold. Raises NothingToLearnError.
    """
    wanted = [method for method in methods if METHODS[method].parts]
    parts = sorted({part for method in wanted for part in METHODS[method].parts})
    training = training.part(_sample(training, seed))
    require_enough(training.labels, 2)
    labels, clusters = training.labels, cluster_numbers(training.clusters)
    joined = np.concatenate(training.vectors, axis=1)
    everything = np.arange(len(training.ids))
    fold_of = stratified_parts(labels, clusters, (1 / FOLDS,) * FOLDS, seed)
    rounds = [(np.flatnonzero(fold_of == fold), np.flatnonzero(fold_of != fold)) for fold in range(FOLDS)]
    rounds = [(q, g) for q, g in rounds if len(q) and len(np.unique(labels[g])) > 1]
    classes = np.unique(labels)
    # A left-out class's images query everything; they and their class taught nothing, the components included.
    groups = [np.flatnonzero(np.isin(labels, classes[at::GROUPS])) for at in range(min(GROUPS, len(classes)))]
    outs = [(group, everything) for group in groups] if len(classes) > 2 else []
    combinations = [
        (method, share) for method in wanted for share in ((unlearned,) if unlearned is not None else SHARES)
    ]
    every = [*rounds, *outs]

    def relevant_of(queries: NDArray[np.int64], gallery: NDArray[np.int64]) -> NDArray[np.bool_]:
        same, apart = labels[queries][:, None] == labels[gallery], clusters[queries][:, None] != clusters[gallery]
        relevant: NDArray[np.bool_] = same & apart
        return relevant

    if not any(relevant_of(*one).any() for one in rounds):
        return []

    def judged(at: int) -> dict[tuple[str, float], Floats]:
        """P@1 and AP of each combination in one round, and without learning."""
        queries, gallery = every[at]
        taught = np.isin(training.rows, gallery if at < len(rounds) else np.setdiff1d(everything, queries))
        base = fit_base([of_source[taught] for of_source in training.vectors], dimension)
        components = apply_components(base, joined)
        frames = components[: len(everything)]
        of_class = np.unique(labels[training.rows[taught]], return_inverse=True)[1].astype(np.int64)
        frozen = _similarities(frames, queries, gallery)
        similar = {"base": frozen}
        if unmarked and (kinds := training.kinds_of_rows) is not None:
            directions = mark_directions(components[taught], labels[training.rows[taught]], kinds[taught])
            similar["base"] = _similarities(without(frames, directions), queries, gallery)
        for part in parts:
            step = step_named(part)
            similar[part] = _similarities(
                step.apply(step.fit(components[taught], of_class, seed), frames), queries, gallery
            )
        hidden = clusters[queries][:, None] == clusters[gallery][None]
        relevant = relevant_of(queries, gallery)
        figures = {}
        for method, share in [*combinations, ("", 1.0)]:
            total = share * (similar["base"] if method else frozen)
            learned = sum(METHODS[method].parts.values()) if method else 1.0
            for part, of_part in (METHODS[method].parts if method else {}).items():
                total += of_part / learned * (1 - share) * similar[part]
            total[hidden] = -np.inf
            figures[method, share] = _measured(total, relevant)
        return figures

    folds: dict[tuple[str, float], list[Floats]] = {}
    left: dict[tuple[str, float], list[Floats]] = {}
    progress("choosing the method", 0, len(every))
    with threadpool_limits(1):  # a round on each core, rather than each on all
        for at, figures in prefetch(judged, range(len(every)), len(every)):
            for combination, measured in figures.items():
                (folds if at < len(rounds) else left).setdefault(combination, []).append(measured)
            progress("choosing the method", at + 1, len(every))
    without_learning = _figures(left.get(("", 1.0), []))
    tried = [
        Choice(method, share, _figures(folds[method, share]), _figures(left.get((method, share), [])), without_learning)
        for method, share in combinations
    ]
    return sorted(tried, key=_preference, reverse=True)


def fit_chosen(
    training: TrainingSet,
    images: NDArray[np.int64],
    options: LearnOptions,
    progress: Progress = lambda task, done, total: None,
) -> tuple[Model, LearnOptions, list[Choice]]:
    """A model of some images (m,), the options that were chosen where they leave something open, and what was tried.

    A method `auto` is chosen among CHOICES, and an unlearned share that is None among SHARES. Raises
    NothingToLearnError.
    """
    tried: list[Choice] = []
    if options.method == AUTO or method_named(options.method).labelled:
        methods = CHOICES if options.method == AUTO else (options.method,)
        tried = choices(
            training.part(images),
            methods,
            options.dimension,
            options.unlearned,
            options.seed,
            progress,
            bool(options.unmarked),
        )
        if tried:
            options = replace(options, method=tried[0].method, unlearned=tried[0].unlearned)
        elif options.method == AUTO or options.unlearned is None:
            raise NothingToLearnError(
                "too few images have another of their class in another cluster of near duplicates to choose by; give "
                "--method and --unlearned"
            )
    return training.fit(images, options, progress), options, tried


def _preference(choice: Choice) -> tuple[bool, float]:
    return choice.loses_nothing, sum((choice.folds if choice.loses_nothing else choice.left_out).values())


def _sample(training: TrainingSet, seed: int) -> NDArray[np.int64]:
    """Rows (m,) ascending of the images that the choice is made on; clusters stay together."""
    count = len(training.ids)
    if count <= MOST:
        return np.arange(count)
    share = MOST / count
    parts = stratified_parts(training.labels, cluster_numbers(training.clusters), (share, 1 - share), seed)
    return np.flatnonzero(parts == 0)


def _similarities(vectors: Floats, queries: NDArray[np.int64], gallery: NDArray[np.int64]) -> Floats:
    directions = unit(vectors)
    similar: Floats = directions[queries] @ directions[gallery].T
    return similar


def _measured(similar: Floats, relevant: NDArray[np.bool_]) -> Floats:
    """P@1 and AP (2, q) of the queries that have something relevant."""
    known = relevant.any(axis=1)
    hits = np.take_along_axis(relevant[known], np.argsort(-similar[known], axis=1, kind="stable"), axis=1)
    ranks = np.arange(1, hits.shape[1] + 1)
    return np.stack([hits[:, 0], (hits.cumsum(axis=1) / ranks * hits).sum(axis=1) / hits.sum(axis=1)])


def _figures(measured: list[Floats]) -> Figures:
    if not measured:
        return {}
    means = np.concatenate(measured, axis=1).mean(axis=1)
    return {"precision@1": float(means[0]), "mAP": float(means[1])}


def mean_figures(similar: Floats, relevant: NDArray[np.bool_]) -> Figures:
    """Means over the queries that have something relevant; similar, relevant: (q, n)."""
    return _figures([_measured(similar, relevant)])


def figures_of(chosen: Iterable[Choice]) -> Mapping[str, dict[str, float]]:
    """By method, the figures of its best choice, as a recipe stores them."""
    best: dict[str, dict[str, float]] = {}
    for choice in chosen:
        best.setdefault(choice.method, choice.to_dict())
    return best
