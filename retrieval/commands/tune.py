"""`kvasir tune`: the indexes of large spaces, built and tuned."""

from __future__ import annotations

from pathlib import Path

import click

from retrieval.arguments import FiniteRange, LocalPath, MemorySize, space_option
from retrieval.terminal import TaskBars, progress_bar


@click.command("tune")
@click.argument("collection", type=LocalPath())
@space_option("Spaces to build for.  [default: all]")
@click.option("--memory", type=MemorySize(), help="Memory that an index may take, such as 600M or 2G.")
@click.option(
    "--target-recall",
    type=FiniteRange(0.5, 1),
    help="Share of the true nearest images that a search is to return; 1 compares every image.  [default: 0.995]",
)
def command(collection: Path, spaces: tuple[str, ...], memory: int | None, target_recall: float | None) -> None:
    """Build the indexes of COLLECTION's spaces that are large enough to need one, and tune them on its own vectors.

    Which kind is built follows from the number of vectors, their dimension, the memory and the recall, which are
    remembered. Until it is built the earlier one serves, and where there is none every image is compared. A run that
    was stopped goes on where it was. A server builds what is missing or outdated by itself; one that runs already takes
    what is built here with the next write.

    Example:  kvasir tune kvasir.collection --memory 2G --target-recall 0.998
    """
    from retrieval.collection import Collection
    from retrieval.index.building import reported_to
    from retrieval.index.upkeep import build_missing, needs_index, remember_wanted

    opened = Collection.open(collection)
    chosen = [opened.manifest.space(name) for name in spaces] or list(opened.spaces)
    remember_wanted(opened, chosen, memory, target_recall)
    for space in chosen:
        if not needs_index(opened, space):
            click.echo(f"space {space.name}: every vector is compared, since they are few or a recall of 1 is wanted")
            continue
        with progress_bar(transient=True) as bar, reported_to(TaskBars(bar).advance):
            built = build_missing(opened, space, lambda line: click.echo(line, err=True))
        click.echo(f"space {space.name}: {built}")
