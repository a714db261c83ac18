"""Generalisation of a learned space: its figures side by side with those of the unlearned space.

Four settings: test queries searched in the training part; test images among themselves, so that a training part which
collapsed into blobs of classes cannot help; classes that taught nothing; and pictures of other sources.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from retrieval.evaluation.bootstrap import LEVEL, resampled_means
from retrieval.evaluation.chances import ChanceFigures
from retrieval.evaluation.learned import LearnedRetriever
from retrieval.evaluation.options import MeasureOptions
from retrieval.evaluation.protocols import Protocol, Round
from retrieval.evaluation.run import evaluate_retriever
from retrieval.evaluation.space_result import SpaceResult
from retrieval.learn.learner import Learner, TrainingSet
from retrieval.learn.selection import GROUPS
from retrieval.splits import cluster_numbers

MEASURES = ("precision@1", "mAP")

Interval = tuple[float, float]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Standing:
    """P@1 and mAP of one space: micro and macro means with their intervals, and the class with the least P@1.

    per_class: by class the number of queries, P@1, mAP, and the P@1 of a random order, which is its share in what was
    searched. chance: the mean of the last over queries. chances: whether chances fitted on the collection hold.
    """

    micro: dict[str, float]
    macro: dict[str, float]
    intervals: dict[str, Interval]
    worst: tuple[str, float]
    per_class: dict[str, dict[str, float]]
    chance: float
    chances: ChanceFigures | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "micro": self.micro,
            "macro": self.macro,
            "micro_interval": {measure: list(ends) for measure, ends in self.intervals.items()},
            "worst_class": {"class": self.worst[0], "precision@1": self.worst[1]},
            "per_class": self.per_class,
            "chance": self.chance,
            **({"chances": self.chances.to_dict()} if self.chances else {}),
        }


@dataclass(frozen=True)
class Figure:
    """One setting: its queries, and the standing of the learned and of the unlearned space."""

    setting: str
    queries: int
    learned: Standing
    unlearned: Standing

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "setting": self.setting,
            "queries": self.queries,
            "learned": self.learned.to_dict(),
            "unlearned": self.unlearned.to_dict(),
        }


def learning_figures(
    training: TrainingSet,
    classes: Sequence[str],
    protocol: Protocol,
    learner: Learner,
    measures: MeasureOptions,
    progress: Progress = lambda task, done, total: None,
) -> list[Figure]:
    """The first three figures. protocol: of the training set's images, whose rounds part queries and gallery.

    What is left to cross-validation is chosen within each round, and once for the left-out classes.
    """
    clusters = cluster_numbers(training.clusters)
    everything = np.arange(len(training.ids))
    present = np.unique(training.labels)
    among, against = [], []
    for round_ in protocol.rounds:
        queries = np.sort(round_.queries)
        against.append((round_.gallery, Round(round_.queries, round_.gallery)))
        among.append((round_.gallery, Round(queries, queries)))
    out = []
    for at in range(min(GROUPS, len(present))):
        group = np.flatnonzero(np.isin(training.labels, present[at::GROUPS]))
        out.append((np.setdiff1d(everything, group), Round(group, everything)))
    settings = [("queries against the training part", against), ("test among themselves", among)]
    if len(present) > 2:
        settings.append(("left-out classes", out))
    learners = {"learned": learner, "unlearned": learner.baseline}
    total, done = sum(len(rounds) for _, rounds in settings) * len(learners), 0
    figures = []
    for setting, rounds in settings:
        if setting == "left-out classes":  # what is chosen within each round costs minutes, and here once is enough
            learners["learned"] = learner.settled(training)
        standings, count = {}, 0
        for name, chosen in learners.items():
            results = []
            for taught, round_ in rounds:
                searched = Protocol(protocol.name, setting, (round_,), clusters)
                results.append(
                    _evaluated(LearnedRetriever(training, chosen, taught), training, classes, searched, measures)
                )
                done += 1
                progress("learning figures", done, total)
            standings[name], count = standing(results, measures)
        figures.append(Figure(setting, count, standings["learned"], standings["unlearned"]))
    return figures


def _evaluated(
    retriever: LearnedRetriever,
    training: TrainingSet,
    classes: Sequence[str],
    protocol: Protocol,
    measures: MeasureOptions,
) -> SpaceResult:
    plain = replace(measures, ks=tuple(sorted({1, *measures.ks})), samples=0)
    return evaluate_retriever(
        retriever, training.labels, tuple(classes), training.clusters, training.ids, None, protocol, "", plain
    )


def standing(results: Sequence[SpaceResult], measures: MeasureOptions) -> tuple[Standing, int]:
    """P@1 and mAP over the queries of several results together, and their number."""
    classes = results[0].class_names
    labels = np.concatenate([result.labels[result.scored] for result in results])
    clusters = np.concatenate([result.units[result.scored] for result in results])
    values = np.column_stack(
        [np.concatenate([result.measures[name][result.scored] for result in results]) for name in MEASURES]
    )
    random = np.concatenate([(one.relevant / np.maximum(one.listed, 1))[one.scored] for one in results])
    per_class = {classes[label]: values[labels == label].mean(axis=0) for label in np.unique(labels)}
    each = {
        classes[label]: {
            "queries": int((labels == label).sum()),
            **dict(zip(MEASURES, values[labels == label].mean(axis=0).tolist(), strict=True)),
            "chance": float(random[labels == label].mean()),
        }
        for label in np.unique(labels)
    }
    intervals: dict[str, Interval] = {}
    if measures.samples:
        drawn = resampled_means(values, labels, clusters, len(classes), measures.samples, measures.seed).micro
        ends = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        intervals = {name: (float(ends[0, at]), float(ends[1, at])) for at, name in enumerate(MEASURES)}
    macro = np.mean(list(per_class.values()), axis=0)
    worst = min(per_class, key=lambda name: float(per_class[name][0]))
    return (
        Standing(
            dict(zip(MEASURES, values.mean(axis=0).tolist(), strict=True)),
            dict(zip(MEASURES, macro.tolist(), strict=True)),
            intervals,
            (worst, float(per_class[worst][0])),
            each,
            float(random.mean()),
        ),
        len(labels),
    )
