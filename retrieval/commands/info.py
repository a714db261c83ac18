"""`kvasir info`."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from retrieval.arguments import LocalPath
from retrieval.collection import Collection, SpaceDefinition
from retrieval.collection.facts import facts_of
from retrieval.collection.vectors import vectors_path
from retrieval.index import is_exact
from retrieval.index.protocol import EXACT
from retrieval.learn.calibration_store import stored_calibrations
from retrieval.learn.sources import outgrown
from retrieval.reasons.store import stored_outcomes
from retrieval.sources import has_pictures
from retrieval.spaces import Space, metric_of, open_space
from retrieval.terminal import counted, display_width, one_line, padded


@click.command("info")
@click.argument("collection", type=LocalPath())
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(collection: Path, as_json: bool) -> None:
    """Show what COLLECTION holds and how each of its spaces was made.

    Example:  kvasir info kvasir.collection
    """
    opened = Collection.open(collection)
    facts = facts_in_full(opened)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        click.echo(_text(facts, [open_space(opened.path, definition) for definition in opened.spaces]))
        for line in outgrown(opened):
            click.echo(line)
        for calibration in stored_calibrations(opened):
            outdated = f"; the collection has changed since, `kvasir calibrate {opened.path}` fits it again"
            click.echo(
                f"chances of {calibration.name}: calibration error {calibration.figures['error']:.3f} over "
                f"{calibration.figures['queries']:,} queries{outdated if calibration.outdated else ''}"
            )
        for line in _outcomes(opened):
            click.echo(line)


def _outcomes(collection: Collection) -> list[str]:
    """A line for each space whose reasons were tested."""
    return [
        f"agreement in {one_line(outcome.space)}: {outcome} (SHA-256 {outcome.digest[:16]})"
        + ("; the collection has changed since" if outcome.outdated else "")
        for outcome in stored_outcomes(collection)
    ]


def facts_in_full(collection: Collection) -> dict[str, Any]:
    """What a collection holds and where, and how each space is searched, as plain values."""
    images = collection.images
    facts = facts_of(collection)
    facts["spaces"] = [
        stated
        | {"bytes": _size(vectors_path(collection.path, space)), "index": _index(collection, space)}
        | {"tuning": _tuning(collection, space)}
        for stated, space in zip(facts["spaces"], collection.spaces, strict=True)
    ]
    sources = [
        {"path": str(path), "kind": kind}
        for number, (path, kind) in enumerate(images.source_paths)
        if number in images.sources  # one that all images were removed of stays in the catalog
    ]
    facts["calibrations"] = [
        {
            "name": calibration.name,
            "figures": calibration.figures,
            "transfer": calibration.transfer,
            "outdated": calibration.outdated,
        }
        for calibration in stored_calibrations(collection)
    ]
    facts["reasons"] = [outcome.to_dict() for outcome in stored_outcomes(collection)]
    return {"path": str(collection.path), "format": collection.manifest.format, "sources": sources} | facts


def _index(collection: Collection, space: SpaceDefinition) -> str:
    """How a space is searched; where not every vector is compared, with the recall and time that were measured."""
    if is_exact(metric_of(space), len(collection.ids(space.name))):
        return EXACT
    from retrieval.index.upkeep import index_sentence  # loads FAISS, which few collections need

    return index_sentence(collection, space, f"`kvasir tune {collection.path}` or a server has built one")


def _tuning(collection: Collection, space: SpaceDefinition) -> dict[str, Any] | None:
    """How the stored index of a large space is searched, as it was measured; else None."""
    if is_exact(metric_of(space), len(collection.ids(space.name))):
        return None
    from retrieval.index.upkeep import index_facts  # loads FAISS, which few collections need

    return index_facts(collection, space)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _bytes(count: int) -> str:
    """A size in the unit that shows it: `812 B`, `6.7 kB`, `45.1 MB`."""
    for unit, size in (("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count} B"


def _source(kind: str, path: str) -> str:
    """Where pictures are, or that there are none."""
    return f"pictures: {kind} {one_line(path)}" if has_pictures(kind) else "pictures: none; imported vectors alone"


def _text(facts: dict[str, Any], spaces: Sequence[Space]) -> str:
    lines = [f"{facts['name']}: {counted(facts['images'], 'image')} in {facts['path']} (made {facts['created']})"]
    classes = {one_line(name): count for name, count in facts["classes"].items()}
    if facts["unlabelled"]:
        classes["without class"] = facts["unlabelled"]
    width = max(map(display_width, classes), default=0)
    lines += [f"  {padded(name, width)}  {count:>7,}" for name, count in classes.items()]
    if facts["clusters_of_duplicates"]:
        lines.append(f"{counted(facts['clusters_of_duplicates'], 'cluster')} of near duplicates")
    if facts["scenes"]:
        lines.append(f"{counted(facts['scenes'], 'scene')} of several clusters")
    marks = {name: count for name, count in facts["marks"].items() if count and name != "unknown"}
    if marks:
        lines.append(f"marks of the device: {', '.join(f'{name} {count:,}' for name, count in marks.items())}")
    if marks and facts["marks"].get("unknown"):
        lines.append(f"  not known of {counted(facts['marks']['unknown'], 'image')}; `kvasir index` looks for them")
    lines += [_source(source["kind"], source["path"]) for source in facts["sources"]]
    origins: defaultdict[str, list[str]] = defaultdict(list)  # shared by the descriptors of one archive
    for space, stated in zip(spaces, facts["spaces"], strict=True):
        lines.append(
            f"space {space.name}: {counted(stated['images'], 'vector')} of {stated['dimension']} numbers, "
            f"{stated['distance']} distance, {_bytes(stated['bytes'])}, index: {stated['index']}"
        )
        lines += [f"  {line}" for line in space.details]
        if space.origin is not None:
            origins[space.origin].append(space.name)
    return "\n".join(lines + [f"{', '.join(names)}: {origin}" for origin, names in origins.items()])
