"""Colours of classes, distinguishable with any colour vision; shared by reports and pages."""

from __future__ import annotations

CLASS_COLOURS = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#d55e00",
    "#cc79a7",
    "#56b4e9",
    "#8c6bb1",
    "#7f7f7f",
    "#b8a800",
    "#6b3d00",
)
"""Seven of Okabe and Ito, Color Universal Design (2008), whose yellow is darkened and whose black is left out, so
that all show on white and on near black; with a violet, a grey and a brown. Of more classes than
colours, those of one colour differ by mark."""
CLASS_MARKS = ("o", "s", "^", "D", "v", "P", "X")
"""Matplotlib's markers; a class's mark changes each time that the colours start again."""


def class_colour(c: int) -> str:
    """The colour of class number c, as #rrggbb."""
    return CLASS_COLOURS[c % len(CLASS_COLOURS)]


def class_mark(c: int) -> str:
    """The mark of class number c, where points are drawn."""
    return CLASS_MARKS[c // len(CLASS_COLOURS) % len(CLASS_MARKS)]
