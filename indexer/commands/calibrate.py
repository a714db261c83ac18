"""`kvasir calibrate`: what scores mean, as chances."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from retrieval.arguments import LocalPath, fuse_option, map_option, space_option
from retrieval.terminal import TaskBars, note, one_line, progress_bar

if TYPE_CHECKING:
    from retrieval.collection import Collection
    from retrieval.evaluation.chances import ChanceFigures, ClassChances
    from retrieval.evaluation.protocols import Protocol


@click.command("calibrate")
@click.argument("collection", type=LocalPath(exists=True, file_okay=False))
@space_option("Only these spaces, separated by commas; may be given several times.  [default: all that are compared]")
@fuse_option()
@click.option(
    "--queries",
    type=LocalPath(exists=True),
    help="Also say how chances hold for these pictures of other sources, a folder of class folders or a zip.",
)
@map_option
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of the folds.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def command(
    collection: Path,
    spaces: tuple[str, ...],
    fusions: tuple[str, ...],
    queries: Path | None,
    class_maps: tuple[str, ...],
    seed: int,
    as_json: bool,
) -> None:
    """Fit the chance that a hit shows the query's finding, for spaces and fusions of COLLECTION, and store it.

    Searches then give each hit its chance, and the classes that cover the query's in 90 % of cases. Learned spaces are
    learned again in five folds, so that no picture is judged by a space that it taught. A picture that is like none of
    the collection is then reported as such.

    Example:  kvasir calibrate kvasir.collection --fuse JCD+Tamura
    """
    from indexer.datasets.labels import parse_class_map
    from indexer.transfer_queries import with_queries
    from retrieval.collection import Collection
    from retrieval.disk import require_writable
    from retrieval.evaluation.calibrated import calibrate, transfer_figures
    from retrieval.evaluation.options import Fusion
    from retrieval.learn.calibration_store import calibrated_name, store_calibration

    opened = Collection.open(collection)
    require_writable(opened.path)
    chosen = [opened.manifest.space(name).name for name in spaces]
    if not spaces:
        chosen = [space.name for space in opened.manifest.compared]
    contenders = [Fusion((name,), (1.0,)) for name in dict.fromkeys(chosen)]
    for fusion in map(Fusion.parse, fusions):
        names = tuple(opened.manifest.space(name).name for name in fusion.spaces)
        contenders.append(Fusion(names, fusion.weights, fusion.method))
    results: list[dict[str, Any]] = []
    notes: list[str] = []  # shown once the bars are gone
    with progress_bar(transient=True) as bar, ExitStack() as stack:
        advance = TaskBars(bar).advance
        moved = None
        if queries is not None:
            class_map = parse_class_map(class_maps, opened.classes)
            moved = stack.enter_context(with_queries(opened, queries, class_map, notes.append, by_scene=True))
        detectors = _detectors(opened, chosen or [opened.spaces[0].name], moved, queries, as_json)
        for contender in contenders:
            made, figures = calibrate(opened, contender, seed, advance)
            transfer = None if moved is None else transfer_figures(made, moved[0], contender, moved[1])
            name = calibrated_name(contender.spaces, contender.weights, contender.method)
            plain = [None if values is None else values.to_dict() for values in (figures, transfer)]
            store_calibration(opened, name, contender.spaces, made, plain[0] or {}, plain[1])
            results.append({"name": name, "figures": plain[0], "transfer": plain[1]})
            if not as_json:
                for line in _lines(name, figures, transfer, queries):
                    click.echo(line)
    for line in notes:
        note(line)
    if as_json:
        click.echo(json.dumps({"calibrations": results, "detectors": detectors}, indent=2))


def _detectors(
    opened: Collection,
    spaces: Sequence[str],
    moved: tuple[Collection, Protocol] | None,
    queries: Path | None,
    quiet: bool,
) -> list[dict[str, Any]]:
    """Fit and store the detector of strange pictures in the frozen space of embeddings behind each of these."""
    from retrieval.index.cosine import Cosine
    from retrieval.learn.novelty import LEAST, fit_detector, store_detector
    from retrieval.spaces import metric_of, open_space

    frozen: dict[str, None] = {}
    for name in spaces:
        space = open_space(opened.path, opened.manifest.space(name))
        frozen[(space.sources or (space,))[0].name] = None
    made = []
    for name in frozen:
        ids, vectors = opened.vectors(name)
        if not isinstance(metric_of(opened.manifest.space(name)), Cosine) or len(ids) < LEAST:
            continue
        positions = opened.positions(name)
        detector = fit_detector(name, vectors, opened.images.labels[positions], opened.images.scenes[positions])
        if moved is not None and queries is not None:
            grown, protocol = moved
            of_queries = grown.rows(name).take(grown.images.ids[protocol.rounds[0].queries])
            detector = replace(detector, rates={**detector.rates, queries.name: detector.rates_of(of_queries)})
        store_detector(opened, detector)
        made.append({"space": name, "rates": detector.rates})
        if not quiet:
            for of, rates in detector.rates.items():
                click.echo(
                    f"{one_line(name)}: of {one_line(of)} {rates['foreign']:.1%} are told as another kind of picture, "
                    f"{rates['unlike']:.1%} as perhaps unlike anything here"
                )
    return made


def _lines(name: str, figures: ChanceFigures, transfer: ChanceFigures | None, queries: Path | None) -> Sequence[str]:
    lines = [f"{one_line(name)}: {figures.sentence()}", *_per_class(figures)]
    if transfer is not None and queries is not None:
        lines += [f"  {one_line(queries.name)}: {transfer.sentence()}", *_per_class(transfer)]
    return lines


def _per_class(figures: ChanceFigures) -> list[str]:
    lines = [f"    {one_line(name)}: {_of_class(one)}" for name, one in figures.per_class.items()]
    return lines if figures.few is None else [*lines, f"    classes of few pictures together: {_of_class(figures.few)}"]


def _of_class(figures: ClassChances) -> str:
    few = f" ({figures.queries:,} pictures are too few to judge by)" if figures.few else ""
    of_hits = "" if figures.error_of_hits is None else f", of hits of this class {figures.error_of_hits:.3f}"
    return f"calibration error {figures.error:.3f}{few}{of_hits}"
