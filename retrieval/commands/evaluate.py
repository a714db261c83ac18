"""`kvasir evaluate`: measure retrieval in a collection."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from retrieval.collection import Collection, Space
    from retrieval.evaluation import Evaluation, Protocol, SpaceResult
    from retrieval.evaluation.speed import Speed


@dataclass(frozen=True)
class Choices:
    """What the user chose: spaces (all where none), protocol with its settings, k, votes, bootstrap samples, seed."""

    spaces: tuple[str, ...] = ()
    protocol: str = "leave-cluster-out"
    test_share: float = 0.2
    folds: int = 5
    split: Path | None = None
    ks: tuple[int, ...] = ()
    vote_k: int = 5
    samples: int = 1000
    seed: int = 0
    speed: bool = False


@click.command()
@click.argument("collection", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--space", "spaces", multiple=True, metavar="NAME", help="Only this space; may be given several times.")
@click.option(
    "--protocol",
    type=click.Choice(["leave-one-out", "leave-cluster-out", "hold-out", "k-fold"]),
    default="leave-cluster-out",
    show_default=True,
    help="What each query is searched in.",
)
@click.option(
    "--split",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Instead of a protocol: a CSV file `file,split`, or an official one of HyperKvasir.",
)
@click.option(
    "--test-share", type=click.FloatRange(0, 1, True, True), default=0.2, show_default=True, help="Of hold-out."
)
@click.option("--folds", type=click.IntRange(min=2), default=5, show_default=True, help="Of k-fold.")
@click.option("--k", "ks", multiple=True, type=click.IntRange(min=1), metavar="K", help="Default: 1, 5, 10 and 20.")
@click.option(
    "--vote-k", type=click.IntRange(min=1), default=5, show_default=True, help="Neighbours that elect a class."
)
@click.option(
    "--samples",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="Of the bootstrap; 0 for no intervals.",
)
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of splits, bootstrap and tests."
)
@click.option("--speed", is_flag=True, help="Also time queries: decoding, embedding, searching.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON to standard output, every query's figures included.")
@click.option("--report", type=click.Path(file_okay=False, path_type=Path), help="Write a report into this folder.")
def command(
    collection: Path,
    spaces: tuple[str, ...],
    protocol: str,
    split: Path | None,
    test_share: float,
    folds: int,
    ks: tuple[int, ...],
    vote_k: int,
    samples: int,
    seed: int,
    speed: bool,
    as_json: bool,
    report: Path | None,
) -> None:
    """Measure retrieval: every image of a class queries the others.

    Example:  kvasir evaluate kvasir.collection --report report
    """
    from retrieval.collection import Collection

    choices = Choices(spaces, protocol, test_share, folds, split, ks, vote_k, samples, seed, speed)
    with Collection.open(collection) as opened:
        result = evaluate_collection(opened, collection.name, choices)
        if report is not None:
            from retrieval.report.writing import write_report

            write_report(result, opened, protocol_of(opened, choices), report)
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=1, allow_nan=False))
        return
    from rich.console import Console

    from retrieval.report import print_evaluation

    print_evaluation(result, Console())
    if report is not None:
        click.echo(f"Report: {report / 'index.html'}")


def evaluate_collection(opened: Collection, name: str, choices: Choices) -> Evaluation:
    """Evaluate spaces of an open collection as chosen, with a progress bar on stderr."""
    from rich.console import Console
    from rich.progress import Progress

    from retrieval.evaluation import KS, Evaluation, evaluate_space, protocol_named
    from retrieval.index import metric_named

    definitions = [opened.manifest.space(space) for space in choices.spaces] or list(opened.spaces)
    protocol = protocol_of(opened, choices)
    with Progress(console=Console(stderr=True), transient=True) as bar:

        def measured(space: Space, protocol: Protocol, samples: int) -> SpaceResult:
            ids, vectors = opened.vectors(space.name)
            positions = opened.positions(space.name)
            task = bar.add_task(space.name, total=len(ids))
            return evaluate_space(
                vectors,
                metric_named(space.metric),
                opened.images.labels[positions],
                opened.classes,
                opened.images.clusters[positions],
                ids,
                [opened.images.files[position] for position in positions],
                protocol.restricted_to(positions),
                space.name,
                tuple(sorted(set(choices.ks))) or KS,
                choices.vote_k,
                samples,
                choices.seed,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )

        results = tuple(measured(space, protocol, choices.samples) for space in definitions)
        beside: tuple[SpaceResult, ...] = ()
        clusters = opened.images.clusters
        if protocol.name == "leave-cluster-out" and len(set(clusters.tolist())) < len(clusters):
            one_out = protocol_named("leave-one-out", clusters)
            beside = tuple(measured(space, one_out, 0) for space in definitions)
    speeds: tuple[Speed, ...] = ()
    if choices.speed:
        from retrieval.evaluation.speed import measure_speed
        from retrieval.search import Searcher

        searcher = Searcher(opened)
        speeds = tuple(measure_speed(searcher, space.name) for space in definitions)
    return Evaluation(name, results, choices.seed, speeds, beside)


def protocol_of(opened: Collection, choices: Choices) -> Protocol:
    """The chosen protocol for all images of a collection, so that every space is measured on the same split."""
    from retrieval.evaluation import hold_out, k_fold, protocol_named, split_from_file

    images = opened.images
    if choices.split is not None:
        return split_from_file(choices.split, images.files)
    if choices.protocol == "hold-out":
        return hold_out(images.labels, images.clusters, choices.test_share, choices.seed)
    if choices.protocol == "k-fold":
        return k_fold(images.labels, images.clusters, choices.folds, choices.seed)
    return protocol_named(choices.protocol, images.clusters)
