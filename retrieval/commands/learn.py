"""`kvasir learn`: a space that is learned from the classes of a collection."""

from __future__ import annotations

from pathlib import Path

import click

from retrieval.arguments import FiniteRange, LocalPath, require_collection_first, space_option, views_option
from retrieval.learn.methods import METHODS
from retrieval.learn.model import LearnOptions
from retrieval.terminal import TaskBars, progress_bar


@click.command("learn")
@click.argument("collection", type=LocalPath())
@click.argument("name")
@space_option("Learn from these frozen spaces, separated by commas.  [default: the first]", "--from")
@click.option(
    "--method",
    type=click.Choice(list(METHODS)),
    help="How to learn.  [default: the best by cross-validation; pca learns from no class]",
)
@click.option(
    "--train",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Learn from the training part of this split file alone.",
)
@views_option(
    default=None,
    note="  [default: none where the encoders see the field of view alone, else central]",
)
@click.option(
    "--dimension",
    type=click.IntRange(min=2),
    default=LearnOptions.dimension,
    show_default=True,
    help="Principal components that are learned from.",
)
@click.option(
    "--unlearned",
    type=FiniteRange(0, 1, max_open=True),
    help="Share of the unlearned space, which keeps classes apart that were not learned.  [default: by left-out "
    "classes]",
)
@click.option(
    "--marks",
    type=click.Choice(["keep", "remove"]),
    help="Keep in the unlearned share what tells the device's marks within a class, or remove it.  [default: remove, "
    "where images of a class have different marks]",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=LearnOptions.seeds,
    show_default=True,
    help="Fits of networks that are averaged.",
)
@click.option("--seed", type=click.IntRange(min=0), default=LearnOptions.seed, show_default=True)
def command(
    collection: Path,
    name: str,
    spaces: tuple[str, ...],
    method: str | None,
    train: Path | None,
    views: str | None,
    dimension: int,
    unlearned: float | None,
    marks: str | None,
    seeds: int,
    seed: int,
) -> None:
    """Learn a space NAME from the frozen spaces of COLLECTION and the classes of its images.

    New images and queries pass through it as through any space. Vectors of augmented views are stored, so that a second
    run takes seconds.

    Example:  kvasir learn kvasir.collection findings
    """
    from retrieval.collection import CollectionWriter
    from retrieval.learn.training import learn
    from retrieval.spaces.learned import validation_sentence

    require_collection_first("kvasir learn", collection, name)
    if marks == "remove" and method == "pca":
        raise click.UsageError("--marks remove learns from classes, and --method pca learns from none")
    with progress_bar(transient=True) as bar, CollectionWriter(collection) as writer:
        unmarked = None if marks is None else marks == "remove"
        options = LearnOptions(dimension=dimension, unlearned=unlearned, seed=seed, seeds=seeds, unmarked=unmarked)
        made = learn(writer, name, spaces, method, train, views, options, TaskBars(bar).advance)
    recipe = made.recipe
    click.echo(
        f"space {made.name}: {made.dimension} numbers, learned by {recipe['method']} from {recipe['images']:,} images "
        f"of {len(recipe['classes'])} classes in {', '.join(recipe['sources'])}"
    )
    for tried, figures in recipe["validation"].items():
        click.echo(f"  {tried}: {validation_sentence(figures)}")
