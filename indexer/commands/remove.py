"""`kvasir remove`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from shlex import quote

import click

from indexer.gone import absence
from retrieval.arguments import ImageId, LocalPath
from retrieval.collection import Collection, CollectionWriter, SourceGoneError
from retrieval.terminal import counted, one_line


@click.command("remove")
@click.argument("collection", type=LocalPath())
@click.argument("ids", type=ImageId(), nargs=-1, metavar="[ID]...")
@click.option("--gone", is_flag=True, help="Remove every image whose picture is no longer in its folder or zip.")
@click.option(
    "--source",
    "sources",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Remove every image of this folder or zip, whether or not it is still there; may be given several times.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def command(collection: Path, ids: tuple[int, ...], gone: bool, sources: tuple[Path, ...], as_json: bool) -> None:
    """Remove images from COLLECTION by id. Other ids stay as they are; the pictures' files are not touched.

    Of a folder or zip that cannot be opened, or is empty, --gone removes nothing: it may only not be mounted now.

    Example:  kvasir remove kvasir.collection 17 4711
    """
    if not ids and not gone and not sources:
        raise click.UsageError("give ids of images, --gone or --source")
    with CollectionWriter(collection) as writer:
        held = Collection.open(collection)
        known = set(held.images.ids.tolist())
        wanted = set(ids) | _of_sources(held, sources)
        closed: dict[Path, str] = {}
        for image_id in known - wanted if gone else ():
            why = absence(held, image_id)
            if isinstance(why, SourceGoneError):
                closed[held.source_of(image_id)] = str(why)
            elif why is not None:
                wanted.add(image_id)
        unknown = sorted(wanted - known)
        removed = writer.remove(sorted(wanted & known))
    if as_json:
        not_opened = [{"path": str(path), "reason": closed[path]} for path in sorted(closed)]
        facts = {"removed": sorted(wanted & known), "unknown": unknown, "sources_not_opened": not_opened}
        click.echo(json.dumps(facts))
    else:
        click.echo(f"{held.path}: {removed:,} removed, {counted(len(known) - removed, 'image')} left")
    for image_id in unknown:
        click.echo(f"no image {image_id}", err=True)
    for path in sorted(closed):
        remedy = f"or take its images out with `kvasir remove {quote(str(held.path))} --source {quote(str(path))}`"
        click.echo(one_line(f"nothing removed of what may be there still: {closed[path]}, {remedy}"), err=True)
    if unknown or closed:
        sys.exit(1 if removed or closed else 2)


def _of_sources(held: Collection, sources: tuple[Path, ...]) -> set[int]:
    wanted: set[int] = set()
    for source in sources:
        path = source.expanduser()
        found = {i for i in held.images.ids.tolist() if held.source_of(i) in (path.absolute(), path.resolve())}
        if not found:
            raise click.UsageError(f"no image was indexed in {source}; `kvasir info` lists the folders and zips")
        wanted |= found
    return wanted
