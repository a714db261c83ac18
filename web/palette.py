"""Class colours of the page: those of the reports, as a style sheet.

Colour never stands alone: a class's name is always beside it.
"""

from __future__ import annotations

from retrieval.report.palette import CLASS_COLOURS


def colour_number(label: int) -> int:
    """The number of a class's colour; -1, no class, has none."""
    return label % len(CLASS_COLOURS) if label >= 0 else -1


def stylesheet() -> str:
    """One rule a colour: `.colour-0` and so on set `color`, which chips and bars draw with."""
    return "\n".join(f".colour-{number} {{ color: {colour}; }}" for number, colour in enumerate(CLASS_COLOURS)) + "\n"
