"""`kvasir map`: the images of a space in two dimensions."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from retrieval.arguments import LocalPath, space_option
from retrieval.terminal import TaskBars, progress_bar


@click.command("map")
@click.argument("collection", type=LocalPath())
@space_option("Spaces to lay out.  [default: all that are compared]")
@click.option("--again", is_flag=True, help="Also those whose map is of today's images.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the layout.")
def command(collection: Path, spaces: tuple[str, ...], again: bool, seed: int) -> None:
    """Lay out the images of COLLECTION's spaces in two dimensions, for the page Map and the report.

    Images that are near in a space are drawn near (UMAP by its own distance); trustworthiness, 1 at best, says how far
    that holds. Of more than 20,000 images a sample is laid out.

    Example:  kvasir map kvasir.collection --space JCD
    """
    from retrieval.collection import Collection
    from retrieval.disk import require_writable
    from retrieval.space_map.store import load_map, make_map, store_map

    opened = Collection.open(collection)
    names = [opened.manifest.space(name).name for name in spaces] or [space.name for space in opened.manifest.compared]
    for name in names:
        made = None if again else load_map(opened, name)
        kept = made is not None and not made.outdated and made.facts.seed == seed
        if made is None or not kept:
            require_writable(opened.path)
            with progress_bar(transient=True) as bar:
                made = make_map(opened, name, seed, partial(TaskBars(bar).advance, name))
            store_map(collection, made)
        trusted = made.facts.trustworthiness
        told = "too few for a trustworthiness" if trusted is None else f"trustworthiness {trusted:.3f}"
        sampled = f" of {made.facts.images:,}" if made.facts.images > len(made.ids) else ""
        click.echo(f"space {name}: {len(made.ids):,}{sampled} images, {told}{', as it was stored' if kept else ''}")
