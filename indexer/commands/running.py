"""What `kvasir index` and `kvasir add` share: a run shown as it goes and summed up at the end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

import click

from indexer.commands.duplicates import summary
from indexer.datasets import Dataset, open_dataset
from indexer.described import descriptor_names
from indexer.features import open_features
from indexer.pipeline import Outcome
from indexer.run import NOTHING_DONE, Run, run_dataset
from retrieval.collection import CollectionWriter
from retrieval.collection.manifest import NAME
from retrieval.encoders import parse_spec
from retrieval.terminal import one_line, progress_bar

SHOWN = 20
"""How many bad inputs the terminal lists; JSON has all of them."""


def run_index(
    data: Path,
    collection: Path,
    features: Path | None = None,
    encoders: tuple[str, ...] = (),
    descriptors: str | None = None,
    fit: str | None = None,
) -> Run:
    """Index a data set into a collection, telling stderr what happens."""
    descriptor_names(descriptors)  # a slip of the pen is told before an encoder is loaded and a collection begun
    if not (collection / NAME).exists():
        for spec in encoders:
            parse_spec(spec)
    with open_dataset(data) as dataset, IndexingBar(len(dataset.items)) as bar:
        bar.announce(dataset)
        archive = open_features(features) if features is not None else None
        with CollectionWriter(collection, name=dataset.name, create=True) as writer:
            run = run_dataset(
                dataset, writer, archive, encoders, descriptors, fit, say=bar.say, on_progress=bar.advance
            )
            run.whole = True
            if run.exit_status == NOTHING_DONE:
                writer.discard_if_nothing_stored()
            return run


class IndexingBar:
    """A bar on stderr over one or several data sets: pictures done of all, how fast, and how long it will still take.

    total: the pictures of all data sets.
    """

    def __init__(self, total: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

        self._bar = progress_bar(
            TextColumn("indexing"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        self._task = self._bar.add_task("", total=total, rate="", visible=False)
        self._outcome = Outcome()
        self._before = self._skipped = 0
        self._start = time.perf_counter()

    def __enter__(self) -> IndexingBar:
        self._bar.start()
        return self

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def announce(self, dataset: Dataset) -> None:
        """Say what a data set holds."""
        self.say(f"{dataset.name}: {one_line(str(dataset.source))}")
        for line in dataset.report.lines():
            self.say(f"  {line}")

    def advance(self, outcome: Outcome) -> None:
        """Show how far a run is; each data set's run has an outcome of its own."""
        if outcome is not self._outcome:  # its first report: what was stored already, when indexing begins
            self._before += self._outcome.done
            self._outcome, self._skipped = outcome, outcome.done
            self._start = time.perf_counter()
        new = outcome.done - self._skipped
        rate = new / (time.perf_counter() - self._start)
        done = self._before + outcome.done
        self._bar.update(self._task, completed=done, rate=f"{rate:.0f}/s" if new else "", visible=True)


def finish(runs: Sequence[Run], as_json: bool, refused: Sequence[tuple[str, str]] = ()) -> None:
    """Print what was done and leave with the worst exit status. refused: (path, reason) of what could not be opened."""
    if as_json:
        documents = [run.to_json() for run in runs]
        documents += [{"path": path, "reason": reason} for path, reason in refused]
        click.echo(json.dumps(documents[0] if len(documents) == 1 else documents, indent=2))
    for run in runs:
        if not as_json:
            click.echo(_summary(run, several=len(runs) > 1))
        show("could not be used", [f"{file}: {reason}" for file, reason in run.outcome.rejected])
        show("with features that cannot be read", [f"{file}: {reason}" for file, reason in run.feature_faults])
        instead = ", whose descriptors were computed" if run.computes else ""
        show(f"without shipped features{instead}", run.without_features)
        show("with shipped features but without a picture", run.without_image)
    if runs and runs[-1].clusters and not as_json:
        click.echo(f"{summary(runs[-1].clusters)}; `kvasir duplicates {_quoted(runs[-1])}` lists them")
    show("could not be added", [f"{path}: {reason}" for path, reason in refused])
    statuses = {run.exit_status for run in runs} | ({NOTHING_DONE} if refused else set())
    # Nothing done at all is 2; where a part was done, the rest is "some inputs were bad".
    sys.exit(statuses.pop() if len(statuses) == 1 else 1)


def _quoted(run: Run) -> str:
    return quote(str(run.collection))


def _summary(run: Run, several: bool) -> str:
    outcome = run.outcome
    source = one_line(str(run.dataset.source))
    instead = f" ({outcome.replaced:,} replaced: other class or content)" if outcome.replaced else ""
    words = [f"{outcome.added:,} added{instead}"]
    words += [f"{outcome.completed:,} completed"] if outcome.completed else []
    words += [f"{outcome.unchanged:,} unchanged"] if outcome.unchanged else []
    words += [f"{len(outcome.rejected):,} could not be used"] if outcome.rejected else []
    where = f" from {source}" if several else ""
    lines = [f"{run.collection}: {', '.join(words)}{where} in {run.seconds:.1f} s"]
    gone = outcome.no_longer_listed if run.whole else []
    if gone:
        are = "image of the collection is" if len(gone) == 1 else "images of the collection are"
        lines.append(f"{len(gone):,} {are} no longer in {source}, the first {one_line(gone[0])}")
    if run.moved:
        one = run.moved[0]
        lines.append(
            f"{len(run.moved):,} of the added pictures were in the collection before, by files that are no longer "
            f"there, the first {one_line(one.file)} as image {one.copy_of}, {one_line(one.copy_of_file)}"
        )
    if gone or len(run.moved) > run.moved_from.total():
        lines.append(f"`kvasir remove {_quoted(run)} --gone` takes out what is no longer there")
    for path in run.moved_from:
        remedy = f"`kvasir remove {_quoted(run)} --source {quote(str(path))}` takes out all that was indexed there"
        lines.append(one_line(f"{path} is no longer there; {remedy}"))
    return "\n".join(lines + (_copies(run) if run.copies else []))


def _copies(run: Run) -> list[str]:
    copies = run.copies
    lines = [f"copies, byte for byte, of other images of the collection: {len(copies):,}"]
    lines += [
        f"  {copy.id}  {one_line(copy.file)}  =  {copy.copy_of}  {one_line(copy.copy_of_file)}"
        for copy in copies[:SHOWN]
    ]
    if len(copies) > SHOWN:
        lines.append(f"  … and {len(copies) - SHOWN:,} more; --json lists all of them")
    ids = " ".join(str(copy.id) for copy in copies[:SHOWN])
    them = "it" if len(copies) == 1 else "them" if len(copies) <= SHOWN else "these"
    return [*lines, f"`kvasir remove {_quoted(run)} {ids}` takes {them} out"]


def show(what: str, entries: list[str]) -> None:
    """Tell a person how many inputs were bad and name the first ones."""
    if entries:
        say(f"{len(entries):,} {what}:")
        for entry in entries[:SHOWN]:
            say(f"  {one_line(entry)}")
        if len(entries) > SHOWN:
            say(f"  … and {len(entries) - SHOWN:,} more; --json lists all of them")


def say(line: str) -> None:
    """Tell a person, on stderr, so that stdout stays the answer."""
    click.echo(line, err=True)
