"""Class colours that colour-blind readers can tell apart (Okabe and Ito, 2008); a ninth class begins again.

Colour never stands alone: a class's name is always beside it.
"""

from __future__ import annotations

COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999999")


def colour_number(label: int) -> int:
    """The number of a class's colour; -1, no class, has none."""
    return label % len(COLOURS) if label >= 0 else -1


def stylesheet() -> str:
    """One rule a colour: `.colour-0` and so on set `color`, which chips and bars draw with."""
    return "\n".join(f".colour-{number} {{ color: {colour}; }}" for number, colour in enumerate(COLOURS)) + "\n"
