"""Published checkpoints of the field: how each is built and prepared, its licence, and the data it has seen.

    >>> known_checkpoint("endovit").mean
    (0.3464, 0.228, 0.2228)

The table is known.toml in this folder. Nothing is fetched but what a person names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal

from retrieval.encoders.recipe import Fit
from retrieval.encoders.spec import EncoderSpecError

Seen = Literal["none", "HyperKvasir", "Kvasir", "possible", "unknown"]


@dataclass(frozen=True)
class KnownCheckpoint:
    """One line of the table; its fields are explained at the head of known.toml."""

    name: str
    title: str
    source: str
    licence: str
    trained_on: str
    seen: Seen
    encoder: str = ""
    published: str = ""
    weights_key: str = ""
    left_out: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: str | None = None
    fit: Fit | None = None
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def preprocessing(self) -> dict[str, Any]:
        """The input as its authors prepare it; size as (height, width), as configurations write it."""
        size = None if self.size is None else (self.size[1], self.size[0])
        return {"mean": self.mean, "std": self.std, "interpolation": self.interpolation, "size": size}

    @property
    def seen_note(self) -> str:
        """What its figures on Kvasir must be read with; empty where it has seen neither Kvasir nor HyperKvasir."""
        return {
            "none": "",
            "possible": "may have seen images of Kvasir or HyperKvasir in training",
            "unknown": "may have seen images of Kvasir or HyperKvasir: its authors do not list their training data",
        }.get(self.seen, f"has seen images of {self.seen} in training")


@cache
def known_checkpoints() -> Mapping[str, KnownCheckpoint]:
    """The table, by name."""
    import tomllib  # with the next, a hundredth of a second that most commands need not wait
    from importlib.resources import files

    table = tomllib.loads(files("retrieval.encoders").joinpath("known.toml").read_text("utf-8"))
    names = {entry.name for entry in fields(KnownCheckpoint)}
    checkpoints = {}
    for name, values in table.items():
        if unknown := values.keys() - names:
            raise ValueError(f"known.toml: [{name}] has fields that are not explained: {', '.join(sorted(unknown))}")
        frozen: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        checkpoints[name] = KnownCheckpoint(name=name, **frozen)
    return checkpoints


def known_checkpoint(name: str) -> KnownCheckpoint:
    """One checkpoint of the table. Raises EncoderSpecError with near names."""
    table = known_checkpoints()
    if name not in table:
        near = get_close_matches(name.lower(), table, 5, 0.4)
        hint = f"; near: {', '.join(near)}" if near else f"; there are {', '.join(table)}"
        raise EncoderSpecError(f"known:{name} is not in the table of known checkpoints{hint}")
    return table[name]


def known_to(recipe: Mapping[str, Any]) -> KnownCheckpoint | None:
    """The entry of the table that a stored recipe belongs to: by its name there, or by published weights in it."""
    table = known_checkpoints()
    if recipe.get("known") in table:
        return table[recipe["known"]]
    return next((known for known in table.values() if known.published and known.published == recipe.get("spec")), None)
