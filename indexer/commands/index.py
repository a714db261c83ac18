"""`kvasir index`."""

from __future__ import annotations

from pathlib import Path

import click

from indexer.commands.running import finish, run_index
from retrieval.arguments import LocalPath, require_order, split_names


@click.command("index")
@click.argument("data", type=LocalPath())
@click.argument("collection", type=LocalPath())
@click.option(
    "--features",
    type=LocalPath(),
    help="Folder or zip of shipped .features files: six more spaces, searched by LIRE's own distances.",
)
@click.option(
    "--encoder",
    "encoders",
    multiple=True,
    metavar="SPEC",
    help="timm:NAME[/FILE], open_clip:ARCH/TAG, open_clip:ARCH/FILE, open_clip:local-dir:DIR or "
    "open_clip:hf-hub:ORG/NAME; may be given several times.  [default: timm:tf_efficientnet_lite0]",
)
@click.option(
    "--descriptors",
    multiple=True,
    metavar="all|NAMES",
    callback=split_names,
    help="Compute LIRE's descriptors from the pictures: all, or names separated by commas.",
)
@click.option(
    "--fit",
    type=click.Choice(["squash", "pad", "crop"]),
    help="How a frame that is not square meets a new encoder's input.  [default: squash]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def command(
    data: Path,
    collection: Path,
    features: Path | None,
    encoders: tuple[str, ...],
    descriptors: tuple[str, ...],
    fit: str | None,
    as_json: bool,
) -> None:
    """Make or complete COLLECTION from DATA, a folder of class folders or a zip of one.

    Pictures are read where they lie; nothing is unpacked or copied. A run that was stopped goes on where it was, and a
    second run adds only what is new.

    Example:  kvasir index kvasir-dataset-v2.zip kvasir.collection --features kvasir-dataset-v2-features.zip
    """
    require_order("kvasir index", collection, [data], last=True)
    finish([run_index(data, collection, features, encoders, ",".join(descriptors) or None, fit)], as_json)
