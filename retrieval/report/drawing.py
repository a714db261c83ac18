"""How every plot of a report is drawn: one style, and colours that the page's style sheet decides."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_P = ParamSpec("_P")

# Drawn in these, then replaced by the page's variables, so that one picture serves light, dark and print.
INK, FAINT, ACCENT = "#010203", "#040506", "#0a0b0c"
_VARIABLES = {INK: "var(--ink)", FAINT: "var(--faint)", ACCENT: "var(--accent)"}

LARGE = 8.0
"""Inches from which on a drawing scrolls sideways on a narrow screen: smaller, its words could not be read."""
_STYLE: Any = {
    "font.size": 9,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.alpha": 0.25,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "legend.frameon": False,
}


def styled(draw: Callable[_P, str]) -> Callable[_P, str]:
    """Draw with our style, and leave that of the caller's own matplotlib alone."""

    @wraps(draw)
    def drawn(*arguments: _P.args, **named: _P.kwargs) -> str:
        import matplotlib as mpl

        with mpl.rc_context(_STYLE):
            return draw(*arguments, **named)

    return drawn


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, Any]:
    """A figure of this size in inches on no background, and its axes."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.1))  # a reader's font may be wider
    figure.patch.set_alpha(0)
    return figure, figure.subplots(rows, columns)


def svg(figure: Figure, name: str) -> str:
    """A figure as inline SVG, the same bytes each time; ids differ between the pictures of one page by their names."""
    import matplotlib as mpl

    file = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = re.sub(r' id="[A-Za-z0-9.]+_[0-9]+"', "", text[text.index("<svg") :])  # `figure_1`, the same in each picture
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # joins and ends of lines, as page.css has them
    text = re.sub(r' style="([^"]*)"', _attributes, text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    text = re.sub(
        r'(<svg [^>]*?) ?width="[^"]*"', r"\1", re.sub(r'(<svg [^>]*?)height="[^"]*"', r"\1", text, count=1), count=1
    )
    return text.replace("<svg ", '<svg class="large" ', 1) if figure.get_figwidth() > LARGE else text


def _attributes(style: re.Match[str]) -> str:
    """A style as attributes, which mean the same and show under a Content-Security-Policy without inline styles."""
    # Of a font only its size: the page's own is used, and not matplotlib's list of a dozen.
    text = re.sub(r"font: [^;]*?([0-9.]+px)[^;]*", r"font-size: \1", style[1])
    pairs = (pair.split(":", 1) for pair in text.split(";") if pair.strip())
    return "".join(f' {name.strip()}="{value.strip()}"' for name, value in pairs if name.strip() != "font-family")
