"""`kvasir remove`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from indexer.gone import is_gone
from retrieval.collection import Collection, CollectionWriter
from retrieval.terminal import counted


@click.command("remove")
@click.argument("collection", type=click.Path(path_type=Path))
@click.argument("ids", type=int, nargs=-1, metavar="[ID]...")
@click.option("--gone", is_flag=True, help="Remove every image whose picture is no longer where it was indexed.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def command(collection: Path, ids: tuple[int, ...], gone: bool, as_json: bool) -> None:
    """Remove images from COLLECTION by id. Other ids stay as they are; the pictures' files are not touched.

    Example:  kvasir remove kvasir.collection 17 4711
    """
    if not ids and not gone:
        raise click.UsageError("give ids of images, or --gone")
    with CollectionWriter(collection) as writer:
        held = Collection.open(collection)
        known = set(held.images.ids.tolist())
        wanted = set(ids) | ({i for i in known if is_gone(held, i)} if gone else set())
        unknown = sorted(wanted - known)
        removed = writer.remove(sorted(wanted & known))
    if as_json:
        click.echo(json.dumps({"removed": sorted(wanted & known), "unknown": unknown}))
    else:
        click.echo(f"{held.path}: {removed:,} removed, {counted(len(known) - removed, 'image')} left")
    for image_id in unknown:
        click.echo(f"no image {image_id}", err=True)
    if unknown:
        sys.exit(1 if removed else 2)
