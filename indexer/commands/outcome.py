"""The outcome of `kvasir index` and `kvasir add`, printed for people or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from shlex import quote

import click

from indexer.commands.duplicates import summary
from indexer.run import NOTHING_DONE, Run
from retrieval.terminal import LISTED, list_faults, one_line


def finish(
    runs: Sequence[Run], as_json: bool, refused: Sequence[tuple[str, str]] = (), *, list_images: bool = False
) -> None:
    """Print what was done and leave with the worst exit status.

    refused: (path, reason) of what could not be opened. list_images: with the id of each new image, and what it is a
    copy of.
    """
    if as_json:
        documents = [run.to_dict(list_images=list_images) for run in runs]
        documents += [{"path": path, "reason": reason} for path, reason in refused]
        click.echo(json.dumps(documents[0] if len(documents) == 1 else documents, indent=2))
    for run in runs:
        if not as_json:
            click.echo(_summary(run, several=len(runs) > 1))
            if list_images:
                _list_images(run)
        list_faults("could not be used", [f"{file}: {reason}" for file, reason in run.outcome.rejected])
        list_faults("with features that cannot be read", [f"{file}: {reason}" for file, reason in run.feature_faults])
        instead = ", whose descriptors were computed" if run.computes else ""
        list_faults(f"without shipped features{instead}", run.without_features)
        list_faults("with shipped features but without a picture", run.without_image)
    if runs and runs[-1].clusters and not as_json:
        click.echo(f"{summary(runs[-1].clusters)}; `kvasir duplicates {_quoted(runs[-1])}` lists them")
    list_faults("could not be added", [f"{path}: {reason}" for path, reason in refused])
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


def _list_images(run: Run) -> None:
    for image in run.new_images[:LISTED]:
        relation = "a copy of" if image.exact else "a near duplicate of"
        same = "" if image.same_as is None else f", {relation} image {image.same_as}, {image.same_as_file}"
        click.echo(one_line(f"image {image.id}: {image.file}{same}"))
    if len(run.new_images) > LISTED:
        click.echo(f"… and {len(run.new_images) - LISTED:,} more; --json lists all of them")


def _copies(run: Run) -> list[str]:
    copies = run.copies
    lines = [f"copies, byte for byte, of other images of the collection: {len(copies):,}"]
    lines += [
        f"  {copy.id}  {one_line(copy.file)}  =  {copy.copy_of}  {one_line(copy.copy_of_file)}"
        for copy in copies[:LISTED]
    ]
    if len(copies) > LISTED:
        lines.append(f"  … and {len(copies) - LISTED:,} more; --json lists all of them")
    ids = " ".join(str(copy.id) for copy in copies[:LISTED])
    them = "it" if len(copies) == 1 else "them" if len(copies) <= LISTED else "these"
    return [*lines, f"`kvasir remove {_quoted(run)} {ids}` takes {them} out"]
