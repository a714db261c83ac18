"""`kvasir features`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from indexer.datasets import Dataset, Item, open_dataset
from indexer.described import descriptor_names
from indexer.features import key_of, write_features
from retrieval.descriptors import extract_all, warm_up
from retrieval.descriptors.variant import VARIANTS, Variant, parse_variant
from retrieval.encoders.running import available_cores
from retrieval.errors import RetrievalError
from retrieval.images import decode


@click.command("features")
@click.argument("data", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--variant",
    type=click.Choice([str(variant) for variant in VARIANTS]),
    default=str(VARIANTS[0]),
    show_default=True,
    help="Which LIRE to equal: the grey map of Java before or after 2017, and whether large pictures are shrunk first.",
)
def command(data: Path, out: Path, variant: str) -> None:
    """Write the six LIRE descriptors of every picture of DATA in Kvasir's form, OUT/CLASS/NAME.features.

    A picture whose file is there already is left alone, so a run that was stopped goes on.

    Example:  kvasir features my-pictures my-features
    """
    from rich.console import Console
    from rich.progress import track

    warm_up(lambda: click.echo("compiling the descriptors, once after installation: about half a minute …", err=True))
    rejected = []
    written = 0
    with open_dataset(data) as dataset:
        click.echo(f"{dataset.name}: {len(dataset.items):,} pictures, LIRE variant `{variant}`", err=True)
        results = _write_all(dataset, out, parse_variant(variant))
        for item, reason in track(results, "describing", len(dataset.items), console=Console(stderr=True)):
            if reason is None:
                written += 1
            else:
                rejected.append((item.file, reason))
    click.echo(f"{out}: features of {written:,} pictures, {len(rejected):,} could not be used")
    for file, reason in rejected:
        click.echo(f"  {file}: {reason}", err=True)
    if rejected:
        sys.exit(1 if written else 2)


def _write_all(dataset: Dataset, out: Path, variant: Variant) -> Iterator[tuple[Item, str | None]]:
    names = descriptor_names("all")

    def write(item: Item) -> str | None:
        class_name, stem = key_of(item)
        path = out / (class_name or "") / f"{stem}.features"
        if path.exists():
            return None
        try:
            write_features(path, extract_all(decode(dataset.read(item)).pixels(), names, variant))
        except RetrievalError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(available_cores()) as pool:
        yield from zip(dataset.items, pool.map(write, dataset.items), strict=True)
