"""`kvasir evaluate`: measure retrieval in a collection."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from retrieval.collection import Collection
    from retrieval.evaluation import Evaluation


@click.command()
@click.argument("collection", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--space", "spaces", multiple=True, metavar="NAME", help="Only this space; may be given several times.")
@click.option(
    "--protocol",
    type=click.Choice(["leave-one-out", "leave-cluster-out"]),
    default="leave-cluster-out",
    show_default=True,
    help="What each query is searched in.",
)
@click.option("--k", "ks", multiple=True, type=click.IntRange(min=1), metavar="K", help="Default: 1, 5, 10 and 20.")
@click.option(
    "--vote-k",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Neighbours that vote on a class.",
)
@click.option("--json", "as_json", is_flag=True, help="Write JSON to standard output, every query's figures included.")
def command(
    collection: Path, spaces: tuple[str, ...], protocol: str, ks: tuple[int, ...], vote_k: int, as_json: bool
) -> None:
    r"""Measure retrieval: every image of a class queries the others.

    \b
    Example: kvasir evaluate kvasir-v2.collection --space JCD --protocol leave-one-out
    """
    from retrieval.collection import Collection

    with Collection.open(collection) as opened:
        result = evaluate_collection(opened, collection.name, spaces, protocol, ks, vote_k)
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=1, allow_nan=False))
        return
    from rich.console import Console

    from retrieval.report import print_evaluation

    print_evaluation(result, Console())


def evaluate_collection(
    opened: Collection, name: str, spaces: tuple[str, ...], protocol: str, ks: tuple[int, ...], vote_k: int
) -> Evaluation:
    """Evaluate some spaces of an open collection, all where none is named, with a progress bar on stderr."""
    from rich.console import Console
    from rich.progress import Progress

    from retrieval.evaluation import KS, Evaluation, evaluate_space
    from retrieval.index import metric_named

    definitions = [opened.manifest.space(space) for space in spaces] or opened.spaces
    results = []
    with Progress(console=Console(stderr=True), transient=True) as bar:
        for space in definitions:
            ids, vectors = opened.vectors(space.name)
            positions = opened.positions(space.name)
            task = bar.add_task(space.name, total=len(ids))
            results.append(
                evaluate_space(
                    vectors,
                    metric_named(space.metric),
                    opened.images.labels[positions],
                    opened.classes,
                    opened.images.clusters[positions],
                    ids,
                    [opened.images.files[position] for position in positions],
                    protocol,
                    space.name,
                    tuple(sorted(set(ks))) or KS,
                    vote_k,
                    progress=lambda done, total, task=task: bar.update(task, completed=done, total=total),  # type: ignore[misc]
                )
            )
    return Evaluation(name, tuple(results))
