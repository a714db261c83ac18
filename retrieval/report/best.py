"""The space or fusion that retrieves best by what was evaluated: the default of searches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from retrieval.evaluation.store import StoredEvaluationError
from retrieval.fusion import DEFAULT_METHOD, METHODS
from retrieval.report.store import FOLDER, StoredEvaluation, digest_of_images, load_result, stored_evaluations

if TYPE_CHECKING:
    from retrieval.collection import Collection, Images

MEASURE = "mAP"
"""Spaces are compared by the mean of its class means, as in the report."""


@dataclass(frozen=True)
class Best:
    """What retrieves best among all that was evaluated.

    name: as in the evaluation. weights: None where all are equal. interval: of the mean at 95 %, where it was drawn.
    compared: how many spaces and fusions were. outdated: the collection has changed since.
    """

    name: str
    spaces: tuple[str, ...]
    weights: tuple[float, ...] | None
    fusion: str
    mean: float
    interval: tuple[float, float] | None
    compared: int
    evaluation: StoredEvaluation
    outdated: bool

    def __str__(self) -> str:
        span = "" if self.interval is None else f" ({self.interval[0]:.3f} to {self.interval[1]:.3f})"
        changed = "; the collection has changed since" if self.outdated else ""
        return f"retrieves best of the {self.compared} that were evaluated: {MEASURE} {self.mean:.3f}{span}{changed}"


_known: WeakKeyDictionary[Images, tuple[int, Best | None]] = WeakKeyDictionary()
_lock = Lock()


def best_of(opened: Collection) -> Best | None:
    """The best of the latest evaluation by all queries that compares several; None where there is none, or none of use.

    One that leaves out what was best before says nothing about it, so that stays the best. A learned space counts only
    where none of its queries taught it. Reads files after a new evaluation alone.
    """
    try:
        stamp = (opened.path / FOLDER).stat().st_mtime_ns
    except OSError:
        return None
    with _lock:
        stored, best = _known.get(opened.images, (None, None))
    if stored == stamp:
        return best
    best = _best_of_all(opened)
    with _lock:
        _known[opened.images] = stamp, best
    return best


def _best_of_all(opened: Collection) -> Best | None:
    best: Best | None = None
    for evaluation in reversed(stored_evaluations(opened.path)):
        if evaluation.is_partial:
            continue
        try:
            spaces = load_result(opened.path, evaluation)["spaces"]
            usable = [space for space in spaces if _is_usable(space, opened)]
            ranked = sorted(usable, key=lambda space: -space["measures"][MEASURE]["macro"])
            measured = {space["space"] for space in spaces}
            if len(ranked) > 1 and (best is None or _replaces(best, measured)):
                best = _best(ranked[0], len(spaces), evaluation, opened)
        except (StoredEvaluationError, KeyError, TypeError, AttributeError):  # damaged, which `kvasir verify` tells
            continue
    return best


def _replaces(best: Best, measured: set[str]) -> bool:
    """Whether a later evaluation measured what was best before or, of a changed collection, what that is made of."""
    return best.name in measured or (best.outdated and measured.issuperset(best.spaces))


def _is_usable(space: Mapping[str, Any], opened: Collection) -> bool:
    names = {one.name for one in opened.spaces}
    of_fusion = space.get("fusion")
    members = set(of_fusion) if of_fusion else {space["space"]}
    clean = not space["queries"].get("learned_from")
    method = space.get("fusion_method", DEFAULT_METHOD)
    return members <= names and clean and method in METHODS and space["measures"][MEASURE]["macro"] is not None


def _best(space: Mapping[str, Any], compared: int, evaluation: StoredEvaluation, opened: Collection) -> Best:
    members: Mapping[str, float] = space.get("fusion") or {space["space"]: 1.0}
    mean = space["measures"][MEASURE]
    interval = mean.get("macro_interval")
    return Best(
        name=space["space"],
        spaces=tuple(members),
        weights=tuple(members.values()) if len(set(members.values())) > 1 else None,
        fusion=space.get("fusion_method", DEFAULT_METHOD),
        mean=mean["macro"],
        interval=None if interval is None else (interval[0], interval[1]),
        compared=compared,
        evaluation=evaluation,
        outdated=evaluation.images != digest_of_images(opened),
    )
