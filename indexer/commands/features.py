"""`kvasir features`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from indexer.datasets import Dataset, Item, open_dataset
from indexer.described import descriptor_names
from indexer.errors import FeaturesError
from indexer.features import Key, key_of, write_features
from retrieval.descriptors import extract_all, warm_up
from retrieval.descriptors.variant import VARIANTS, Variant, parse_variant
from retrieval.encoders.running import available_cores
from retrieval.errors import RetrievalError
from retrieval.images import decode


class OtherVariantError(FeaturesError):
    """A folder holds features of another variant of LIRE."""


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

    A picture whose file is there already is left alone, so a run that was stopped goes on. OUT/lire-variant.txt keeps
    the variant, so that no run goes on with another.

    Example:  kvasir features my-pictures my-features
    """
    from rich.console import Console
    from rich.progress import track

    warm_up(lambda: click.echo("compiling the descriptors, once after installation: about half a minute …", err=True))
    rejected = []
    written = 0
    with open_dataset(data) as dataset:
        _keep_to(variant, out)
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


def _keep_to(variant: str, out: Path) -> None:
    """Note the variant in the folder. Raises OtherVariantError where another is noted."""
    note = out / "lire-variant.txt"
    if note.exists() and (noted := note.read_text().strip()) != variant:
        raise OtherVariantError(
            f"{out} holds features of LIRE variant `{noted}`; write those of `{variant}` to another folder"
        )
    out.mkdir(parents=True, exist_ok=True)
    note.write_text(f"{variant}\n")


def _write_all(dataset: Dataset, out: Path, variant: Variant) -> Iterator[tuple[Item, str | None]]:
    names = descriptor_names("all")
    first: dict[Key, Item] = {}
    for item in dataset.items:
        first.setdefault(key_of(item), item)

    def write(item: Item) -> str | None:
        class_name, stem = key = key_of(item)
        if first[key] is not item:
            return f"named as {first[key].file}; a .features file has the name of one picture"
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
