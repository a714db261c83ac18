"""How the commands speak to a person at a terminal: bars on stderr, counts in words, names on one line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def progress_bar(*columns: ProgressColumn, transient: bool = False) -> Progress:
    """A progress bar on stderr, by default of rich's own columns; nothing at all where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    # Rich would leave an empty line there.
    return Progress(*columns, console=console, transient=transient, disable=not console.is_interactive)


def counted(number: int, one: str, several: str | None = None) -> str:
    """A number with its noun: `1 image`, `8,000 images`."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def one_line(name: str) -> str:
    """A file's name with its line breaks and other control characters escaped, so that it cannot break a list."""
    return _CONTROLS.sub(lambda found: repr(found[0])[1:-1], name)
