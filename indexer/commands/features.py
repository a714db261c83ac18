"""`kvasir features`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shlex import join
from typing import Literal

import click

from indexer.datasets import Dataset, Item, open_dataset
from indexer.descriptor_spaces import descriptor_names
from indexer.errors import FeaturesError
from indexer.features import Key, key_of, write_features
from retrieval.arguments import LocalPath, is_collection, zip_encoding_option
from retrieval.cores import available_cores
from retrieval.descriptors import extract_all, warm_up
from retrieval.descriptors.variant import VARIANTS, Variant, parse_variant
from retrieval.disk import write_atomically
from retrieval.errors import RetrievalError
from retrieval.images import decode, rejection
from retrieval.terminal import counted, list_faults, note, progress_bar

_VARIANT = "lire-variant.txt"
"""File in a folder of features that states their variant."""


class OtherVariantError(FeaturesError):
    """A folder holds features of another variant of LIRE."""


class SharedNameError(FeaturesError):
    """Two pictures would have one features file."""


@click.command("features")
@click.argument("data", type=LocalPath())
@click.argument("out", type=LocalPath())
@click.option(
    "--variant",
    type=click.Choice([str(variant) for variant in VARIANTS]),
    default=str(VARIANTS[0]),
    show_default=True,
    help="Which LIRE to equal: the grey map of Java before or after 2017, and whether large pictures are shrunk first.",
)
@zip_encoding_option
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def command(data: Path, out: Path, variant: str, zip_encoding: str | None, as_json: bool) -> None:
    """Write the six LIRE descriptors of every picture of DATA in Kvasir's form, OUT/CLASS/NAME.features.

    A picture whose file exists is skipped, so a stopped run continues. OUT/lire-variant.txt states the variant, so
    that no run continues with another.

    Example:  kvasir features my-pictures my-features
    """
    if is_collection(data):
        raise click.UsageError(f"{data} is a collection; give the folder or zip of its pictures")
    if is_collection(out):
        raise click.UsageError(f"{out} is a collection; name a folder of its own for the features")
    if out.exists() and not (out / _VARIANT).exists() and (not data.exists() or (data / _VARIANT).exists()):
        why = "holds features" if data.exists() else "does not exist"
        raise click.UsageError(
            f"{data} {why}; DATA comes first, OUT second: `kvasir features {join([str(out), str(data)])}`"
        )
    rejected: list[tuple[str, str]] = []
    counts = {"written": 0, "already_there": 0}
    with open_dataset(data, zip_encoding=zip_encoding) as dataset:
        _record_variant(variant, out)
        warm_up()
        click.echo(f"{dataset.name}: {counted(len(dataset.items), 'picture')}, LIRE variant `{variant}`", err=True)
        for line in dataset.report.notes:
            note(line)
        results = _write_all(dataset, out, parse_variant(variant))
        with progress_bar() as bar:
            for item, done in bar.track(results, len(dataset.items), description="computing descriptors"):
                if isinstance(done, RetrievalError):
                    rejected.append((item.file, str(done)))
                else:
                    counts[done] += 1
    if as_json:
        faults = [{"file": file, "reason": reason} for file, reason in rejected]
        click.echo(json.dumps({"out": str(out), "variant": variant} | counts | {"rejected": faults}, indent=2))
    else:
        there = f", {counts['already_there']:,} were there already" if counts["already_there"] else ""
        failed = f", {len(rejected):,} could not be used" if rejected else ""
        click.echo(f"{out}: features of {counted(counts['written'], 'picture')} written{there}{failed}")
    list_faults("could not be used", [f"{file}: {reason}" for file, reason in rejected])
    if rejected:
        sys.exit(1 if any(counts.values()) else 2)


def _record_variant(variant: str, out: Path) -> None:
    """Write the variant into the folder. Raises OtherVariantError where it has another."""
    note = out / _VARIANT
    if note.exists() and (noted := note.read_text().strip()) != variant:
        raise OtherVariantError(
            f"{out} holds features of LIRE variant `{noted}`; write those of `{variant}` to another folder"
        )
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(note, f"{variant}\n".encode())


Done = Literal["written", "already_there"]


def _write_all(dataset: Dataset, out: Path, variant: Variant) -> Iterator[tuple[Item, Done | RetrievalError]]:
    names = descriptor_names("all")
    first: dict[Key, Item] = {}
    for item in dataset.items:
        first.setdefault(key_of(item), item)

    def write(item: Item) -> Done | RetrievalError:
        class_name, stem = key = key_of(item)
        if first[key] is not item:
            return SharedNameError(f"named as {first[key].file}; a .features file has the name of one picture")
        path = out / (class_name or "") / f"{stem}.features"
        if path.exists():
            return "already_there"
        try:
            vectors = extract_all(decode(dataset.read(item)).pixels(), names, variant)
        except Exception as error:
            return rejection(error)
        try:
            write_features(path, vectors)
        except FeaturesError as error:
            return error
        return "written"

    with ThreadPoolExecutor(available_cores()) as pool:
        yield from zip(dataset.items, pool.map(write, dataset.items), strict=True)
