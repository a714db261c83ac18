"""What is evaluated and how. The defaults of the engine, the command line and the site stand here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from retrieval.errors import EvaluationError
from retrieval.fusion import DEFAULT_METHOD, METHODS, fusion_name
from retrieval.query import is_whole

SAMPLED_ABOVE = 20_000
"""Images above which not every one queries, unless another number of queries is asked for."""
QUERIES = 5_000


class EvaluationOptionError(EvaluationError):
    """An option of an evaluation has a value that it cannot have."""


class FusionTextError(EvaluationError):
    """A fusion is not written as `A+B`, with weights `A=2+B`, or with a method `zscore:A+B`."""


@dataclass(frozen=True)
class Fusion:
    """Several spaces, the weight of each, and the method of `retrieval.fusion` that fuses them."""

    spaces: tuple[str, ...]
    weights: tuple[float, ...]
    method: str = DEFAULT_METHOD

    @property
    def name(self) -> str:
        """`A+B`, `A=2+B` where A has weight 2, `zscore:A+B` by another method than the default: what `parse` reads."""
        return fusion_name(self.spaces, self.weights, self.method)

    @staticmethod
    def parse(text: str) -> Fusion:
        """Read `A+B`, `A=2+B` or `METHOD:A+B`; a space without a number has weight 1. Raises FusionTextError."""
        method, colon, members = str(text).rpartition(":")
        method = method.strip() if colon else DEFAULT_METHOD
        if method not in METHODS:
            raise FusionTextError(f"{text!r}: no fusion method is called {method!r}; there are {', '.join(METHODS)}")
        spaces, weights = [], []
        for member in members.split("+"):
            space, equals, weight = (piece.strip() for piece in member.partition("="))
            try:
                weights.append(float(weight) if equals else 1.0)
            except ValueError:
                weights.append(math.nan)
            spaces.append(space)
            if not space or not 0 < weights[-1] < math.inf:
                raise FusionTextError(f"{text!r}: write a fusion as A+B or, with positive weights, A=2+B=0.5")
        if len(spaces) < 2 or len(set(spaces)) < len(spaces):
            raise FusionTextError(f"{str(text)!r}: a fusion needs two spaces or more, each once, as in A+B")
        return Fusion(tuple(spaces), tuple(weights), method)


@dataclass(frozen=True)
class MeasureOptions:
    """How rankings are measured.

    ks: of every measure that has a k, ascending. vote_k: neighbours whose classes vote. samples: of the bootstrap, 0
    for no intervals; seed: of the bootstrap and, in `EvaluationOptions`, of splits and significance tests as well.
    """

    ks: tuple[int, ...] = (1, 5, 10, 20)
    vote_k: int = 5
    samples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if not is_whole(self.samples) or self.samples < 0:
            raise EvaluationOptionError(f"samples of the bootstrap are a whole number from 0 on, not {self.samples!r}")


@dataclass(frozen=True)
class EvaluationOptions:
    """What of a collection is evaluated: spaces (all where none), fusions, and the protocol with its settings.

    split: a file that takes the place of a protocol. common: images that lack a vector in a space are left out of all,
    so that all can be compared. learn: methods of `retrieval.learn` that learn within each round, from the frozen
    spaces `learn_from`, the first where none is given. rerank: ways of `retrieval.rerank`, each on every space of
    embeddings. queries: how many images query, drawn from each class by its share and by the seed; None for all of
    them, or QUERIES of more than SAMPLED_ABOVE images. query_ids: only these images query. feedback: also simulate
    users who mark hits in each space. taught: count queries that a space was learned from, which are else left out
    unless a class would then have none.
    """

    spaces: tuple[str, ...] = ()
    protocol: str = "leave-cluster-out"
    test_share: float = 0.2
    folds: int = 5
    split: Path | None = None
    measures: MeasureOptions = MeasureOptions()
    speed: bool = False
    fusions: tuple[Fusion, ...] = ()
    common: bool = False
    learn: tuple[str, ...] = ()
    learn_from: tuple[str, ...] = ()
    rerank: tuple[str, ...] = ()
    queries: int | None = None
    feedback: bool = False
    taught: bool = False
    query_ids: frozenset[int] | None = None

    def __post_init__(self) -> None:
        if not is_whole(self.folds) or self.folds < 2:
            raise EvaluationOptionError(f"folds are a whole number from 2 on, not {self.folds!r}")
        if self.query_ids is not None and not all(map(is_whole, self.query_ids)):
            named = sorted(map(repr, self.query_ids))
            raise EvaluationOptionError(f"query_ids are ids of images, whole numbers, not {named}")

    def query_count(self, images: int) -> int | None:
        """How many of so many images query; None for all."""
        return QUERIES if self.queries is None and images > SAMPLED_ABOVE else self.queries
