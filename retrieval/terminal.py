"""Terminal output that the commands share: notes and bars on stderr, counts in words, names on one line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from unicodedata import category, east_asian_width

import click

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, TaskID

LISTED = 20
"""How many bad inputs the terminal lists; JSON has all of them."""

CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters, and those that end a line or turn the direction of what follows (Unicode's UAX 9)."""


def progress_bar(*columns: ProgressColumn, transient: bool = False) -> Progress:
    """A progress bar on stderr, by default of rich's own columns; nothing at all where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    # Rich would leave an empty line there.
    return Progress(*columns, console=console, transient=transient, disable=not console.is_interactive)


class TaskBars:
    """One bar for each task that reports its progress; rich adds the time that is left."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._tasks: dict[str, TaskID] = {}

    def advance(self, task: str, done: int, total: int) -> None:
        """Show how much of a task is done."""
        if task not in self._tasks:
            self._tasks[task] = self._bar.add_task(task)
        self._bar.update(self._tasks[task], completed=done, total=total)


def note(line: str) -> None:
    """Print a line on stderr, so that stdout has the result alone."""
    click.echo(line, err=True)


def list_faults(what: str, entries: Sequence[str]) -> None:
    """Print on stderr how many inputs had a fault, and the first of them; nothing where there is none."""
    if not entries:
        return
    note(f"{len(entries):,} {what}:")
    for entry in entries[:LISTED]:
        note(f"  {one_line(entry)}")
    if len(entries) > LISTED:
        note(f"  … and {len(entries) - LISTED:,} more; --json lists all of them")


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun: `1 image`, `8,000 images`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def display_width(text: str) -> int:
    """Columns that a text takes on a terminal: two for a wide character, none for one that combines."""
    wide = sum(east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(category(char) in ("Mn", "Me", "Cf") for char in text)


def padded(text: str, width: int, side: str = "<") -> str:
    """A text filled with blanks to a width in columns of the terminal; side: `<` or `>`, as in a format."""
    blanks = " " * (width - display_width(text))
    return blanks + text if side == ">" else text + blanks


def one_line(name: str) -> str:
    """A name with control characters, line breaks included, escaped, so that it stays on its line."""
    return CONTROLS.sub(lambda match: repr(match[0])[1:-1], name)


def finalize(value: Any) -> Any:
    """What a template shows of a value, as Jinja's `finalize`: a text on one line; markup and numbers as they are."""
    return value if type(value) is not str or value.isprintable() else one_line(value)
