"""`kvasir index --vectors`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from indexer.vector_file import open_vectors
from indexer.vector_import import CreateSpace, Import, VectorsFitError, import_vectors, named_space
from indexer.vector_table import read_vector_table
from retrieval.collection import CollectionWriter, SpaceDefinition
from retrieval.collection.manifest import SPACE_NAME
from retrieval.encoders import EncoderOptions, Fit, Recipe, parse_spec
from retrieval.export import exported_name, exported_recipe
from retrieval.sources.address import expanded
from retrieval.spaces import encoder
from retrieval.terminal import counted, note, one_line, progress_bar


def run_import(
    vectors: Path | None,
    table: Path | None,
    collection: Path | None,
    create: CreateSpace | None,
    others: Mapping[str, Any],
    as_json: bool,
) -> None:
    """Import vectors into a collection. others: options that mean nothing here, with their values."""
    if vectors is None or table is None:
        raise click.UsageError("give both --vectors FILE.npy and --table FILE.csv")
    if collection is None:
        raise click.UsageError("Missing argument 'COLLECTION'.")
    if given := [name for name, value in others.items() if value]:
        raise click.UsageError(f"{given[0]} means nothing with --vectors, whose images have no pictures")
    create = create or named_space(_space_name(vectors))
    array, rows = open_vectors(vectors), read_vector_table(table)
    origin = expanded(vectors).absolute(), expanded(table).absolute()
    name = exported_name(expanded(vectors))
    with progress_bar() as bar, CollectionWriter(collection, name=name, create=True) as writer:
        task = bar.add_task("importing", total=2 * len(array))  # each row is checked, then stored
        done = import_vectors(
            writer, array, rows, create, origin=origin, on_progress=lambda count: bar.advance(task, count)
        )
    if as_json:
        click.echo(json.dumps(done.to_dict(), indent=2))
        return
    click.echo(_summary(done))
    from retrieval.index.upkeep import unbuilt  # loads FAISS

    for line in [*done.notes, *unbuilt(collection)]:
        note(one_line(line))


def space_to_import(
    vectors: Path | None, spaces: tuple[str, ...], encoders: tuple[str, ...], fit: Fit | None, options: EncoderOptions
) -> CreateSpace | None:
    """What makes the space that options name; None where they name none. Raises UsageError where they name several."""
    if len(spaces) + len(encoders) > 1:
        raise click.UsageError("--vectors are of one space: give one --space or one --encoder")
    if encoders:
        recipe = {} if vectors is None else exported_recipe(expanded(vectors))
        return lambda writer, dimension: _encoder_space(writer, encoders[0], fit, options, recipe)
    return named_space(spaces[0]) if spaces else None


def _encoder_space(
    writer: CollectionWriter, spec: str, fit: Fit | None, options: EncoderOptions, exported: Mapping[str, Any]
) -> SpaceDefinition:
    """The space of an encoder. exported: the recipe that made the vectors, where they are of an export."""
    known = exported if exported.get("spec") == parse_spec(spec).text else {}
    if options.features == "auto":
        options = replace(options, features=known.get("features", "last"))
    new = encoder.definition_of(writer.manifest, spec, options.features) is None
    definition = encoder.create(writer, spec, fit or known.get("fit"), bool(known.get("full_size")), options)
    made, ours = known.get("weights"), Recipe.from_dict(definition.recipe).weights
    if made not in (None, ours):
        if new:
            writer.withdraw_space(definition.name)
        raise VectorsFitError(f"the vectors were exported from {spec} of other weights: SHA-256 {made}, here {ours}")
    return definition


def _space_name(vectors: Path) -> str:
    """A space's name from that of a file."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", vectors.stem).lstrip("._-")[:100]
    return name if SPACE_NAME.fullmatch(name) else "vectors"


def _summary(done: Import) -> str:
    words = [f"{done.added:,} added"]
    words += [f"{done.completed:,} completed"] if done.completed else []
    words += [f"{done.unchanged:,} unchanged"] if done.unchanged else []
    lines = [f"{done.collection}: space {done.space}: {', '.join(words)} in {done.seconds:.1f} s"]
    if done.scaled:
        lines.append(f"{counted(done.scaled, 'vector')} scaled to unit length")
    if done.clusters:
        lines.append(f"{counted(done.clusters, 'cluster')} of near duplicates from the table")
    return "\n".join(lines)
