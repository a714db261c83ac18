"""What `kvasir index` and `kvasir add` share: a run shown as it goes and summed up at the end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from indexer.commands.duplicates import summary
from indexer.datasets import Dataset, open_dataset
from indexer.described import descriptor_names
from indexer.features import FeatureArchive, open_features
from indexer.pipeline import Outcome
from indexer.run import NOTHING_DONE, Run, run_dataset
from retrieval.collection import CollectionWriter
from retrieval.collection.manifest import NAME
from retrieval.encoders import parse_spec

SHOWN = 20
"""How many bad inputs the terminal lists; JSON has all of them."""


def run_index(
    data: Path,
    collection: Path,
    features: Path | None = None,
    encoders: tuple[str, ...] = (),
    descriptors: str | None = None,
    fit: str | None = None,
    *,
    class_name: str | None = None,
    create: bool = True,
) -> Run:
    """Index a data set into a collection, telling stderr what happens. `class_name` overrides its classes."""
    descriptor_names(descriptors)  # a slip of the pen is told before an encoder is loaded and a collection begun
    if not (collection / NAME).exists():
        for spec in encoders:
            parse_spec(spec)
    with open_dataset(data) as dataset:
        if class_name is not None:
            dataset = replace(dataset, items=tuple(replace(item, class_name=class_name) for item in dataset.items))
        say(f"{dataset.name}: {dataset.source}")
        for line in dataset.report.lines():
            say(f"  {line}")
        archive = open_features(features) if features is not None else None
        with CollectionWriter(collection, name=dataset.name, create=create) as writer:
            run = shown(dataset, writer, archive, encoders, descriptors, fit)
            run.whole = True
            if run.exit_status == NOTHING_DONE:
                writer.discard_if_nothing_stored()
            return run


def shown(
    dataset: Dataset,
    writer: CollectionWriter,
    archive: FeatureArchive | None = None,
    encoders: tuple[str, ...] = (),
    descriptors: str | None = None,
    fit: str | None = None,
) -> Run:
    """Run the indexer with a progress bar."""
    with _Progress(len(dataset.items)) as advance:
        return run_dataset(dataset, writer, archive, encoders, descriptors, fit, say=advance.say, on_progress=advance)


class _Progress:
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
        self._task = self._bar.add_task("", total=total, rate="", visible=False)
        self._start = time.perf_counter()
        self._skipped: int | None = None

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, outcome: Outcome) -> None:
        if self._skipped is None:  # the first report: what was stored already, when indexing begins
            self._skipped, self._start = outcome.done, time.perf_counter()
        new = outcome.done - self._skipped
        rate = new / (time.perf_counter() - self._start)
        self._bar.update(self._task, completed=outcome.done, rate=f"{rate:.0f}/s" if new else "", visible=True)


def finish(runs: Sequence[Run], as_json: bool) -> None:
    """Print what was done and leave with the worst exit status."""
    if as_json:
        documents = [run.to_json() for run in runs]
        click.echo(json.dumps(documents[0] if len(documents) == 1 else documents, indent=2))
    for run in runs:
        if not as_json:
            click.echo(_summary(run))
            if run.copies:
                click.echo(_copies(run))
        show("could not be used", [f"{file}: {reason}" for file, reason in run.outcome.rejected])
        show("have features that cannot be read", [f"{file}: {reason}" for file, reason in run.feature_faults])
        show("pictures have no shipped features", run.without_features)
        show("shipped features have no picture", run.without_image)
    if runs[-1].clusters and not as_json:
        click.echo(f"{summary(runs[-1].clusters)}; `kvasir duplicates {runs[-1].collection}` lists them")
    statuses = {run.exit_status for run in runs}
    # Nothing done at all is 2; where a part was done, the rest is "some inputs were bad".
    sys.exit(statuses.pop() if len(statuses) == 1 else 1)


def _summary(run: Run) -> str:
    outcome = run.outcome
    words = [f"{outcome.added:,} added"]
    words += [f"{outcome.completed:,} completed"] if outcome.completed else []
    words += [f"{outcome.unchanged:,} unchanged"] if outcome.unchanged else []
    words += [f"{len(outcome.rejected):,} could not be used"] if outcome.rejected else []
    line = f"{run.collection}: {', '.join(words)} in {run.seconds:.1f} s"
    if gone := outcome.no_longer_listed if run.whole else []:
        line += (
            f"\n{len(gone):,} images of the collection are no longer in {run.dataset.source}, the first {gone[0]}: "
            f"`kvasir remove {run.collection} --gone` takes them out"
        )
    return line


def _copies(run: Run) -> str:
    copies = run.copies
    lines = [f"copies, byte for byte, of images that the collection had already: {len(copies):,}"]
    lines += [f"  {copy.id}  {copy.file}  =  {copy.copy_of}  {copy.copy_of_file}" for copy in copies[:SHOWN]]
    if len(copies) > SHOWN:
        lines.append(f"  … and {len(copies) - SHOWN:,} more; --json lists all of them")
    ids = " ".join(str(copy.id) for copy in copies[:SHOWN])
    lines.append(f"`kvasir remove {run.collection} {ids}` takes {'them' if len(copies) <= SHOWN else 'these'} out")
    return "\n".join(lines)


def show(what: str, entries: list[str]) -> None:
    """Tell a person how many inputs were bad and name the first ones."""
    if entries:
        say(f"{len(entries):,} {what}:")
        for entry in entries[:SHOWN]:
            say(f"  {entry}")
        if len(entries) > SHOWN:
            say(f"  … and {len(entries) - SHOWN:,} more; --json lists all of them")


def say(line: str) -> None:
    """Tell a person, on stderr, so that stdout stays the answer."""
    click.echo(line, err=True)
