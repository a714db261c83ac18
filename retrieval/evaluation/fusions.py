"""Fusions by name: which spaces are fused, and with what weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

from retrieval.errors import QueryError


class FusionTextError(QueryError):
    """A fusion is not written as `A+B` or, with weights, `A=2+B`."""


@dataclass(frozen=True)
class Fusion:
    """Several spaces and the weight of each, fused by reciprocal ranks."""

    spaces: tuple[str, ...]
    weights: tuple[float, ...]

    @property
    def name(self) -> str:
        """`A+B`, or `A=2+B` where A has weight 2: what `parse` reads."""
        return "+".join(
            space if weight == 1 else f"{space}={weight:g}"
            for space, weight in zip(self.spaces, self.weights, strict=True)
        )

    @staticmethod
    def parse(text: str) -> Fusion:
        """Read `A+B` or `A=2+B`; a space without a number has weight 1. Raises FusionTextError."""
        spaces, weights = [], []
        for part in text.split("+"):
            space, sign, weight = (piece.strip() for piece in part.partition("="))
            try:
                weights.append(float(weight) if sign else 1.0)
            except ValueError:
                weights.append(math.nan)
            spaces.append(space)
            if not space or not 0 < weights[-1] < math.inf:
                raise FusionTextError(f"{text!r}: write a fusion as A+B or, with positive weights, A=2+B=0.5")
        if len(spaces) < 2 or len(set(spaces)) < len(spaces):
            raise FusionTextError(f"{text!r}: a fusion needs two spaces or more, each once, as in A+B")
        return Fusion(tuple(spaces), tuple(weights))
