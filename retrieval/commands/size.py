"""`kvasir size`: what collections of other sizes take."""

from __future__ import annotations

import json

import click

from retrieval.arguments import MemorySize


@click.command("size")
@click.option("--images", type=click.IntRange(1), multiple=True, help="How many images; may be given several times.")
@click.option(
    "--dim", "dimension", type=click.IntRange(1, 100_000), default=256, show_default=True, help="Numbers of a vector."
)
@click.option("--memory", type=MemorySize(), help="Memory that there is, such as 2G: marks what does not fit.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(images: tuple[int, ...], dimension: int, memory: int | None, as_json: bool) -> None:
    """Memory, disk, build time and query time by engine, for collections from 100,000 images to 100 million.

    Computed from constants that were measured on two cores; what was measured as a whole stands apart.

    Example:  kvasir size --images 4700000 --dim 1280 --memory 16G
    """
    from retrieval.index.costs import PICTURE_BYTES
    from retrieval.index.sizing import MEASURED, estimates

    made = estimates(images or (10**5, 10**6, 10**7, 10**8), dimension, memory)
    if as_json:
        measured = [row.to_dict() for row in MEASURED]
        click.echo(json.dumps({"computed": [row.to_dict() for row in made], "measured": measured}, indent=2))
        return
    click.echo(
        f"computed for one space of {dimension} numbers, two cores to build, one to search; memory without pages of "
        f"vectors that the system caches, disk without pictures: each has {PICTURE_BYTES / 1000:.1f} kB more"
    )
    for row in made:
        click.echo(f"  {row}")
    click.echo("measured, two cores of an AMD EPYC (Zen 4)")
    for row in MEASURED:
        click.echo(f"  {row}")
