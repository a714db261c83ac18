"""The outcome of `kvasir index` and `kvasir add`, printed for people or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from shlex import quote

import click

from indexer.commands.duplicates import summary
from indexer.run import NOTHING_DONE, IndexingResult
from retrieval.terminal import LISTED, list_faults, note, one_line


def finish(
    results: Sequence[IndexingResult],
    as_json: bool,
    refused: Sequence[tuple[str, str]] = (),
    *,
    list_images: bool = False,
) -> None:
    """Print what was done and leave with the worst exit status.

    refused: (path, reason) of what could not be opened. list_images: with the id of each new image, and what it is a
    copy of.
    """
    if as_json:
        documents = [result.to_dict(list_images=list_images) for result in results]
        documents += [{"path": path, "reason": reason} for path, reason in refused]
        click.echo(json.dumps(documents[0] if len(documents) == 1 else documents, indent=2))
    for result in results:
        if not as_json:
            click.echo(_summary(result, several=len(results) > 1))
            if list_images:
                _list_images(result)
            if not list_images and result.outcome.added:
                from retrieval.index.upkeep import unbuilt  # loads FAISS

                for line in unbuilt(result.collection):
                    note(line)
        list_faults("could not be used", [f"{file}: {reason}" for file, reason in result.outcome.rejected])
        list_faults(
            "with features that cannot be read", [f"{file}: {reason}" for file, reason in result.feature_faults]
        )
        instead = ", whose descriptors were computed" if result.computes else ""
        list_faults(f"without shipped features{instead}", result.without_features)
        list_faults("with shipped features but without a picture", result.without_image)
    if results and results[-1].clusters and not as_json:
        click.echo(f"{summary(results[-1].clusters)}; `kvasir duplicates {_quoted(results[-1])}` lists them")
    list_faults("could not be added", [f"{path}: {reason}" for path, reason in refused])
    statuses = {result.exit_status for result in results} | ({NOTHING_DONE} if refused else set())
    # Nothing done at all is 2; where a part was done, the rest is "some inputs were bad".
    sys.exit(statuses.pop() if len(statuses) == 1 else 1)


def _quoted(result: IndexingResult) -> str:
    return quote(str(result.collection))


def _summary(result: IndexingResult, several: bool) -> str:
    outcome = result.outcome
    source = one_line(str(result.dataset.source))
    instead = f" ({outcome.replaced:,} replaced: other class or content)" if outcome.replaced else ""
    words = [f"{outcome.added:,} added{instead}"]
    words += [f"{outcome.completed:,} completed"] if outcome.completed else []
    words += [f"{outcome.unchanged:,} unchanged"] if outcome.unchanged else []
    words += [f"{len(outcome.rejected):,} could not be used"] if outcome.rejected else []
    where = f" from {source}" if several else ""
    lines = [f"{result.collection}: {', '.join(words)}{where} in {result.seconds:.1f} s"]
    missing = outcome.no_longer_listed if result.whole else []
    if missing:
        are = "image of the collection is" if len(missing) == 1 else "images of the collection are"
        lines.append(f"{len(missing):,} {are} no longer in {source}, the first {one_line(missing[0])}")
    if result.moved:
        one = result.moved[0]
        lines.append(
            f"{len(result.moved):,} of the added pictures were in the collection before, by files that are no longer "
            f"there, the first {one_line(one.file)} as image {one.copy_of}, {one_line(one.copy_of_file)}"
        )
    if missing or len(result.moved) > result.moved_from.total():
        lines.append(f"`kvasir remove {_quoted(result)} --missing` takes out what is no longer there")
    for path in result.moved_from:
        remedy = f"`kvasir remove {_quoted(result)} --source {quote(str(path))}` takes out all that was indexed there"
        lines.append(one_line(f"{path} is no longer there; {remedy}"))
    return "\n".join(lines + (_copies(result) if result.copies else []))


def _list_images(result: IndexingResult) -> None:
    for image in result.new_images[:LISTED]:
        relation = "a copy of" if image.exact else "a near duplicate of"
        same = "" if image.same_as is None else f", {relation} image {image.same_as}, {image.same_as_file}"
        click.echo(one_line(f"image {image.id}: {image.file}{same}"))
    if len(result.new_images) > LISTED:
        click.echo(f"… and {len(result.new_images) - LISTED:,} more; --json lists all of them")


def _copies(result: IndexingResult) -> list[str]:
    copies = result.copies
    lines = [f"copies, byte for byte, of other images of the collection: {len(copies):,}"]
    lines += [
        f"  {copy.id}  {one_line(copy.file)}  =  {copy.copy_of}  {one_line(copy.copy_of_file)}"
        for copy in copies[:LISTED]
    ]
    if len(copies) > LISTED:
        lines.append(f"  … and {len(copies) - LISTED:,} more; --json lists all of them")
    ids = " ".join(str(copy.id) for copy in copies[:LISTED])
    them = "it" if len(copies) == 1 else "them" if len(copies) <= LISTED else "these"
    return [*lines, f"`kvasir remove {_quoted(result)} {ids}` takes {them} out"]
