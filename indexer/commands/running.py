"""What `kvasir index` and `kvasir add` share: one run of the pipeline, shown as it goes and summed up at the end."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from indexer.datasets import Dataset, open_dataset
from indexer.features import FeatureArchive, match, open_features
from indexer.pipeline import Outcome, Spaces, index_dataset
from indexer.spaces import open_encoders
from retrieval.collection import CollectionWriter
from retrieval.encoders import Encoder, Fit

if TYPE_CHECKING:
    from indexer.described import Described

SHOWN = 20
"""How many bad inputs the terminal lists; JSON has all of them."""


@dataclass
class Run:
    """A finished run of the indexer."""

    collection: Path
    dataset: Dataset
    outcome: Outcome
    seconds: float
    spaces: list[str]
    feature_faults: list[tuple[str, str]] = field(default_factory=list)
    without_features: list[str] = field(default_factory=list)
    without_image: list[str] = field(default_factory=list)

    @property
    def exit_status(self) -> int:
        """0 all well, 1 done but some inputs were bad, 2 nothing done."""
        outcome = self.outcome
        if not outcome.rejected and not self.feature_faults:
            return 0
        return 1 if outcome.added + outcome.completed + outcome.unchanged else 2

    def to_json(self) -> dict[str, Any]:
        """The run as plain values."""
        return {
            "collection": str(self.collection),
            "dataset": {"name": self.dataset.name, "source": str(self.dataset.source)} | self.dataset.report.as_dict(),
            "spaces": self.spaces,
            "added": self.outcome.added,
            "completed": self.outcome.completed,
            "unchanged": self.outcome.unchanged,
            "rejected": [{"file": file, "reason": reason} for file, reason in self.outcome.rejected],
            "bad_features": [{"file": file, "reason": reason} for file, reason in self.feature_faults],
            "without_features": self.without_features,
            "features_without_image": self.without_image,
            "seconds": round(self.seconds, 3),
        }


def run_index(
    data: Path,
    collection: Path,
    features: Path | None = None,
    encoders: tuple[str, ...] = (),
    descriptors: str | None = None,
    fit: str | None = None,
    *,
    create: bool = True,
) -> Run:
    """Index a data set into a collection, telling stderr what happens."""
    with open_dataset(data) as dataset:
        say(f"{dataset.name}: {dataset.source}")
        for line in dataset.report.lines():
            say(f"  {line}")
        archive = open_features(features) if features is not None else None
        with CollectionWriter(collection, name=dataset.name, create=create) as writer:
            return run_dataset(dataset, writer, archive, encoders, descriptors, fit)


def run_dataset(
    dataset: Dataset,
    writer: CollectionWriter,
    archive: FeatureArchive | None = None,
    encoders: tuple[str, ...] = (),
    descriptors: str | None = None,
    fit: str | None = None,
) -> Run:
    """Index an opened data set by an open writer."""
    start = time.perf_counter()
    chosen_fit: Fit | None = next((f for f in get_args(Fit) if f == fit), None)
    described = _described(dataset, writer, archive, descriptors)
    ready = _encoders(writer, encoders, chosen_fit, described is not None)
    spaces = Spaces(ready)
    if described is not None:
        spaces = Spaces(ready, described.spaces, described, described.compute, described.describable)
    run = Run(writer.path, dataset, Outcome(), 0.0, [*ready, *spaces.descriptors])
    with _progress(len(dataset.items)) as advance:
        run.outcome = index_dataset(dataset, writer, spaces, advance)
    run.seconds = time.perf_counter() - start
    if described is not None:
        run.feature_faults = described.faults
    if archive is not None:
        paired = match(dataset.items, archive)
        run.without_features = [item.file for item in paired.without_features]
        run.without_image = ["/".join(filter(None, key)) for key in paired.without_image]
    return run


def _encoders(
    writer: CollectionWriter, specs: tuple[str, ...], fit: Fit | None, has_descriptors: bool
) -> dict[str, Encoder]:
    known = {space.recipe.get("spec") for space in writer.manifest.spaces}
    if any(spec not in known for spec in specs) or not (specs or known):
        say("loading the encoder's weights and converting it, once for this collection …")
    ready = open_encoders(writer, specs, fit)
    for name, encoder in ready.items():
        recipe = encoder.recipe
        width, height = recipe.size
        say(f"space {name}: {recipe.spec}, {recipe.dimension} numbers, frames {_FITS[recipe.fit]} {width}x{height}")
    return ready


_FITS = {"squash": "squashed to", "pad": "padded to", "crop": "cropped to"}


def _described(
    dataset: Dataset, writer: CollectionWriter, archive: FeatureArchive | None, descriptors: str | None
) -> Described | None:
    stored = any(space.kind == "descriptor" for space in writer.manifest.spaces)
    if archive is None and not descriptors and not stored:
        return None
    from indexer.described import descriptor_names, open_described
    from retrieval.descriptors import warm_up

    names = descriptor_names(descriptors)
    say("preparing the descriptors (compiled once after installation) …")
    warm_up()
    described, notes = open_described(writer, dataset, archive, names)
    for note in notes:
        say(note)
    if described is not None:
        say(f"spaces {', '.join(described.spaces)}: LIRE's descriptors, variant '{described.variant}'")
    return described


class _progress:  # noqa: N801  # reads as a statement
    """A bar on stderr: pictures done of all, how fast, and how long it will still take."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("indexing"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task("", total=total, rate="")
        self._start = time.perf_counter()
        self._skipped: int | None = None

    def __enter__(self) -> _progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, outcome: Outcome) -> None:
        if self._skipped is None:
            self._skipped = outcome.done
        new = outcome.done - self._skipped
        rate = new / (time.perf_counter() - self._start)
        self._bar.update(self._task, completed=outcome.done, rate=f"{rate:.0f}/s" if new else "")


def finish(run: Run, as_json: bool) -> None:
    """Print what a run did and leave with its exit status."""
    if as_json:
        click.echo(json.dumps(run.to_json(), indent=2))
    else:
        outcome = run.outcome
        words = [f"{outcome.added:,} added"]
        words += [f"{outcome.completed:,} completed"] if outcome.completed else []
        words += [f"{outcome.unchanged:,} unchanged"] if outcome.unchanged else []
        words += [f"{len(outcome.rejected):,} could not be used"] if outcome.rejected else []
        click.echo(f"{run.collection}: {', '.join(words)} in {run.seconds:.1f} s")
        if outcome.added:
            click.echo(f"next: kvasir evaluate {run.collection}")
    _list("could not be used", [f"{file}: {reason}" for file, reason in run.outcome.rejected])
    _list("have features that cannot be read", [f"{file}: {reason}" for file, reason in run.feature_faults])
    _list("pictures have no shipped features", run.without_features)
    _list("shipped features have no picture", run.without_image)
    sys.exit(run.exit_status)


def _list(what: str, entries: list[str]) -> None:
    if entries:
        say(f"{len(entries):,} {what}:")
        for entry in entries[:SHOWN]:
            say(f"  {entry}")
        if len(entries) > SHOWN:
            say(f"  … and {len(entries) - SHOWN:,} more; --json lists all of them")


def say(line: str) -> None:
    """Tell a person, on stderr, so that stdout stays the answer."""
    click.echo(line, err=True)
