"""Identify the variant of LIRE that made a set of features, by computing all four on a few pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from retrieval.descriptors import DESCRIPTORS, extract_all
from retrieval.descriptors.variant import VARIANTS, Variant

LOWEST_AGREEMENT = 0.95
"""Share of equal values from which a descriptor counts as reproduced. With the wrong grey map it is about 0.77 for
PHOG and 0.12 for Tamura; the other four do not look at grey."""


@dataclass(frozen=True)
class Agreement:
    """The variant that reproduces the features best, and how well each does.

    variant: the nearest one; the likeliest of equally good ones
    shares: variant -> descriptor -> share of its shipped values that are reproduced, 0..1
    pictures: how many were compared
    grey_identified: whether the pictures distinguish the two grey maps (by Tamura and PHOG)
    scaling_identified: whether they distinguish shrunk from full size (by pictures above 1,024 pixels);
        what is not identified is taken from the default variant
    """

    variant: Variant
    shares: dict[Variant, dict[str, float]]
    pictures: int
    grey_identified: bool
    scaling_identified: bool

    def reproduced(self, variant: Variant | None = None) -> tuple[str, ...]:
        """The descriptors whose shipped values a variant gives; the nearest variant, unless another is named."""
        return tuple(name for name, share in self.shares[variant or self.variant].items() if share >= LOWEST_AGREEMENT)

    def __str__(self) -> str:
        """One sentence for a person."""
        of = f"of {self.pictures} pictures"
        best = self.shares[self.variant]
        if not best:
            return (
                f"no shipped features could be compared with their pictures; LIRE variant `{self.variant}` is assumed"
            )
        if lacking := [f"{name} ({share:.1%})" for name, share in best.items() if share < LOWEST_AGREEMENT]:
            return (
                f"no variant of LIRE reproduces the shipped values {of} in {', '.join(lacking)}: "
                f"`{self.variant}` comes nearest, {LOWEST_AGREEMENT:.0%} are needed"
            )
        identified = {"the grey map": self.grey_identified, "the scaling": self.scaling_identified}
        guessed = [what for what, known in identified.items() if not known]
        doubt = f" ({' and '.join(guessed)} assumed: these pictures cannot tell)" if guessed else ""
        equal = sum(share * DESCRIPTORS[name].length for name, share in best.items())
        of_all = sum(DESCRIPTORS[name].length for name in best)
        return f"LIRE variant `{self.variant}`: {equal / of_all:.2%} of the values {of} agree{doubt}"


def agreeing_variant(
    pictures: Iterable[tuple[NDArray[np.uint8], Mapping[str, NDArray[np.floating]]]],
) -> Agreement:
    """Find the variant that reproduces shipped descriptors.

    pictures: pairs of RGB, (h, w, 3) uint8, and descriptor name -> shipped vector. A handful is enough;
    some should have more than 1,024 pixels a side, since only those tell whether LIRE shrank them.
    """
    equal: dict[Variant, Counter[str]] = {variant: Counter() for variant in VARIANTS}
    compared: Counter[str] = Counter()
    count = 0
    for rgb, shipped in pictures:
        count += 1
        compared.update({name: len(vector) for name, vector in shipped.items()})
        ours: dict[Variant, dict[str, NDArray[np.floating]]] = {}
        for variant in VARIANTS:
            # Only two descriptors look at grey; a small picture is never shrunk: what is known is not made again.
            same = ours.get(replace(variant, longest=None)) if max(rgb.shape[:2]) <= 1024 else None
            other = ours.get(_other(variant, grey=True), {})
            known = same or {name: v for name, v in other.items() if not DESCRIPTORS[name].sees_grey}
            missing = [name for name in shipped if name not in known]
            ours[variant] = known | extract_all(rgb, missing, variant)
            equal[variant].update(
                {name: _equal_values(ours[variant][name], vector) for name, vector in shipped.items()}
            )
    best = max(VARIANTS, key=lambda variant: equal[variant].total())  # the likeliest of equally good ones
    return Agreement(
        variant=best,
        shares={variant: {name: equal[variant][name] / compared[name] for name in compared} for variant in VARIANTS},
        pictures=count,
        grey_identified=equal[best].total() != equal[_other(best, grey=True)].total(),
        scaling_identified=equal[best].total() != equal[_other(best, grey=False)].total(),
    )


def _equal_values(ours: NDArray[np.floating], shipped: NDArray[np.floating]) -> int:
    """How many agree to nine digits, as far as text and single precision carry them."""
    return int(np.isclose(ours, shipped, rtol=1e-9 if shipped.dtype == np.float64 else 1e-6, atol=0).sum())


def _other(variant: Variant, *, grey: bool) -> Variant:
    """The variant that differs in its grey map only, or in its scaling only."""
    if grey:
        return replace(variant, grey="modern" if variant.grey == "legacy" else "legacy")
    return replace(variant, longest=1024 if variant.longest is None else None)
