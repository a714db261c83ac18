"""`kvasir remove`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from shlex import quote

import click
import numpy as np

from indexer.missing import missing_picture
from indexer.uploads import remove_images
from retrieval.arguments import ImageId, LocalPath
from retrieval.collection import Collection, CollectionWriter, SourceGoneError
from retrieval.collection.reading import DamagedRowError
from retrieval.sources.address import expanded
from retrieval.terminal import counted, one_line


@click.command("remove")
@click.argument("collection", type=LocalPath())
@click.argument("ids", type=ImageId(), nargs=-1, metavar="[ID]...")
@click.option("--missing", is_flag=True, help="Remove every image whose picture is no longer in its folder or zip.")
@click.option("--gone", "missing", is_flag=True, hidden=True)  # its earlier name
@click.option(
    "--source",
    "sources",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Remove every image of this folder or zip, whether or not it is still there; may be given several times.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def command(collection: Path, ids: tuple[int, ...], missing: bool, sources: tuple[Path, ...], as_json: bool) -> None:
    """Remove images from COLLECTION by id. Other ids stay as they are.

    Files stay where they were indexed; those of pictures that came over REST lie in the collection, and are deleted.

    Of a folder or zip that cannot be opened, or is empty, --missing removes nothing: it may only not be mounted now.

    Example:  kvasir remove kvasir.collection 17 4711
    """
    if not ids and not missing and not sources:
        raise click.UsageError("give ids of images, --missing or --source")
    with CollectionWriter(collection) as writer:
        opened = _opened(collection)
        wanted = set(ids) | _of_sources(opened, sources)
        closed: dict[Path, str] = {}
        for image_id in opened.images.ids.tolist() if missing else ():
            error = None if image_id in wanted else missing_picture(opened, image_id)
            if isinstance(error, SourceGoneError):
                closed[opened.source_of(image_id)] = str(error)
            elif error is not None:
                wanted.add(image_id)
        known = sorted(image_id for image_id in wanted if opened.images.position(image_id) is not None)
        unknown = sorted(wanted.difference(known))
        removed = remove_images(writer, known)
    if as_json:
        not_opened = [{"path": str(path), "reason": closed[path]} for path in sorted(closed)]
        facts = {"removed": known, "unknown": unknown, "sources_not_opened": not_opened}
        click.echo(json.dumps(facts))
    else:
        click.echo(f"{opened.path}: {removed:,} removed, {counted(len(opened) - removed, 'image')} left")
    for image_id in unknown:
        click.echo(f"no image {image_id}", err=True)
    for path in sorted(closed):
        remedy = f"or take its images out with `kvasir remove {quote(str(opened.path))} --source {quote(str(path))}`"
        click.echo(one_line(f"nothing removed of what may be there still: {closed[path]}, {remedy}"), err=True)
    if unknown or closed:
        sys.exit(1 if removed or closed else 2)


def _opened(path: Path) -> Collection:
    """The collection, also where rows of its catalog are damaged: removing them is the remedy."""
    try:
        return Collection.open(path)
    except DamagedRowError:
        return Collection.open(path, damaged_rows=True)


def _of_sources(opened: Collection, sources: tuple[Path, ...]) -> set[int]:
    wanted: set[int] = set()
    images = opened.images
    for source in sources:
        path = expanded(source)
        places = [at for at, (place, _) in enumerate(images.source_paths) if place in (path.absolute(), path.resolve())]
        of_source = set(images.ids[np.isin(images.sources, places)].tolist())
        if not of_source:
            raise click.UsageError(f"no image was indexed in {source}; `kvasir info` lists the folders and zips")
        wanted |= of_source
    return wanted
