"""Numbers of pictures of a data set, compared with the official ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from retrieval.terminal import counted


@dataclass(frozen=True)
class Report:
    """Numbers of pictures, and what was left out.

    counts: class -> pictures; unlabelled: pictures without a class; expected: class -> official number, or
    None for a data set that is nobody's official one; ignored: reason -> files left out; notes: what a
    reader should know.
    """

    counts: Mapping[str, int]
    unlabelled: int = 0
    expected: Mapping[str, int] | None = None
    ignored: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def missing(self) -> dict[str, int]:
        """Class -> how many pictures fewer than the official number."""
        return {
            name: number - self.counts.get(name, 0)
            for name, number in (self.expected or {}).items()
            if number > self.counts.get(name, 0)
        }

    @property
    def surplus(self) -> dict[str, int]:
        """Class -> how many pictures more than the official number; 0 is the number of any other class."""
        if self.expected is None:
            return {}
        return {
            name: number - self.expected.get(name, 0)
            for name, number in self.counts.items()
            if number > self.expected.get(name, 0)
        }

    def lines(self) -> list[str]:
        """The report as sentences, one a line, for a terminal."""
        total = sum(self.counts.values())
        lines = [f"{counted(total + self.unlabelled, 'picture')}, {counted(len(self.counts), 'class', 'classes')}"]
        if self.unlabelled:
            lines[0] += f", {self.unlabelled:,} without a class"
        if self.expected is not None:
            official = f"official: {sum(self.expected.values()):,} in {len(self.expected)} classes"
            for word, numbers in (("missing", self.missing), ("surplus", self.surplus)):
                if numbers:
                    each = ", ".join(f"{name} {number:,}" for name, number in numbers.items())
                    lines.append(f"{word} {sum(numbers.values()):,} ({each})")
            lines.append(f"complete ({official})" if len(lines) == 1 else official)
        lines += [f"ignored {reason}: {number:,}" for reason, number in sorted(self.ignored.items())]
        return lines + list(self.notes)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values."""
        return {
            "counts": dict(self.counts),
            "unlabelled": self.unlabelled,
            "missing": self.missing,
            "surplus": self.surplus,
            "ignored": dict(self.ignored),
            "notes": list(self.notes),
        }
