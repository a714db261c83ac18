"""What may be chosen about an evaluation; the defaults of the engine, the command line and the site stand here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from retrieval.evaluation.fusions import Fusion


@dataclass(frozen=True)
class Measuring:
    """How rankings are measured.

    ks: of every measure that has a k, ascending. vote_k: neighbours that elect a query's class. samples: of the
    bootstrap, 0 for no intervals; seed: of it, and in `Choices` of splits and tests as well.
    """

    ks: tuple[int, ...] = (1, 5, 10, 20)
    vote_k: int = 5
    samples: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class Choices:
    """What of a collection is evaluated, and how: spaces (all where none), fusions, protocol with its settings.

    split: a file that takes the place of a protocol. common: images that lack a vector in a space take no part in any,
    so that all can be compared.
    """

    spaces: tuple[str, ...] = ()
    protocol: str = "leave-cluster-out"
    test_share: float = 0.2
    folds: int = 5
    split: Path | None = None
    measuring: Measuring = Measuring()
    speed: bool = False
    fusions: tuple[Fusion, ...] = ()
    common: bool = False
