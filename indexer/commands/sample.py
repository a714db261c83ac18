"""`kvasir sample`: drawn pictures to try everything on."""

from __future__ import annotations

from pathlib import Path

import click

from indexer.sample import make_sample
from retrieval.arguments import LocalPath


@click.command(epilog="Example: kvasir sample build/sample")
@click.argument("directory", metavar="DIR", type=LocalPath(file_okay=False))
@click.option("--per-class", default=24, show_default=True, type=click.IntRange(min=1), help="Pictures a class.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Which pictures.")
def command(directory: Path, per_class: int, seed: int) -> None:
    """Draw a small sample of Kvasir's eight classes into the folder DIR.

    The pictures are drawn, they are not endoscopy: for trying the commands where Kvasir cannot be had.
    """
    paths = make_sample(directory, per_class, seed)
    click.echo(f"{directory}: {len(paths)} pictures of 8 classes, drawn by a program; this is not endoscopy")
