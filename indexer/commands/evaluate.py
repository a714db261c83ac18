"""`kvasir evaluate`: measure retrieval in a collection."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from retrieval.arguments import (
    FiniteRange,
    LocalPath,
    NumberOrPath,
    engine_option,
    fuse_option,
    map_option,
    space_option,
)
from retrieval.evaluation.generalisation import Standing
from retrieval.evaluation.options import EvaluationOptions, MeasureOptions
from retrieval.learn.methods import AUTO
from retrieval.learn.methods import METHODS as METHODS_OF_LEARNING
from retrieval.rerank import METHODS as RERANKERS
from retrieval.terminal import TaskBars, note, progress_bar


@click.command()
@click.argument("collection", type=LocalPath(exists=True, file_okay=False))
@space_option("Only these spaces, separated by commas; may be given several times.")
@fuse_option()
@click.option(
    "--protocol",
    type=click.Choice(["leave-one-out", "leave-cluster-out", "leave-scene-out", "hold-out", "k-fold"]),
    default=EvaluationOptions.protocol,
    show_default=True,
    help="What each query is searched in.",
)
@click.option(
    "--split",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Instead of a protocol: a CSV file `file,split`, or an official one of HyperKvasir.",
)
@click.option(
    "--test-share",
    type=FiniteRange(0, 1, True, True),
    default=EvaluationOptions.test_share,
    show_default=True,
    help="Of hold-out.",
)
@click.option(
    "--folds", type=click.IntRange(min=2), default=EvaluationOptions.folds, show_default=True, help="Of k-fold."
)
@click.option(
    "--k",
    "ks",
    multiple=True,
    type=click.IntRange(min=1),
    default=MeasureOptions.ks,
    show_default=True,
    metavar="K",
    help="May be given several times.",
)
@click.option(
    "--vote-k",
    type=click.IntRange(min=1),
    default=MeasureOptions.vote_k,
    show_default=True,
    help="Neighbours that elect a class.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=0),
    default=MeasureOptions.samples,
    show_default=True,
    help="Of the bootstrap; 0 for no intervals.",
)
@click.option(
    "--seed",
    default=MeasureOptions.seed,
    show_default=True,
    type=click.IntRange(min=0),
    help="Of splits, bootstrap and tests.",
)
@click.option(
    "--rerank",
    multiple=True,
    type=click.Choice(list(RERANKERS)),
    help="Also each space of embeddings with its nearest pictures ranked anew. May be given several times.",
)
@click.option(
    "--learn",
    multiple=True,
    metavar="METHOD|SPACE",
    help="Also learn within each round of k-fold, hold-out or a split, so that the queries stay unseen: by a method "
    f"({', '.join([AUTO, *METHODS_OF_LEARNING])}), or as a learned space was. May be given several times.",
)
@space_option("Learn from these frozen spaces, separated by commas.  [default: the first]", "--from", name="learn_from")
@click.option(
    "--queries",
    "query_sources",
    type=NumberOrPath(),
    multiple=True,
    metavar="N|TABLE|FOLDER",
    help="A number: so many images query, drawn from each class by its share.  [default: all; 5,000 of more than "
    "20,000 images] A .csv with a column `id`, as the page Map gives of a selection: only these images query. A folder "
    "of class folders or a zip: also search by these pictures of other sources. One of each may be given.",
)
@map_option
@click.option("--common", is_flag=True, help="Leave images out that lack a vector in a space, so that all compare.")
@click.option(
    "--taught",
    is_flag=True,
    help="Count queries that a space was learned from as well, which are left out where every class has others.",
)
@click.option("--feedback", is_flag=True, help="Also simulate users who mark hits as fitting or not, in each space.")
@click.option("--speed", is_flag=True, help="Also time queries: decoding, embedding, searching.")
@engine_option
@click.option("--json", "as_json", is_flag=True, help="Write JSON to standard output, every query's figures included.")
@click.option("--full", is_flag=True, help="Print the tables of every space, not only the ranking of all.")
@click.option("--report", type=click.Path(file_okay=False, path_type=Path), help="Write a report into this folder.")
@click.option("--keep", is_flag=True, help="Store it in the collection, for the page Evaluation of `kvasir serve`.")
def command(
    collection: Path,
    spaces: tuple[str, ...],
    fusions: tuple[str, ...],
    protocol: str,
    split: Path | None,
    test_share: float,
    folds: int,
    ks: tuple[int, ...],
    vote_k: int,
    samples: int,
    seed: int,
    rerank: tuple[str, ...],
    learn: tuple[str, ...],
    learn_from: tuple[str, ...],
    query_sources: tuple[int | Path, ...],
    class_maps: tuple[str, ...],
    common: bool,
    taught: bool,
    feedback: bool,
    speed: bool,
    engine: str | None,
    as_json: bool,
    full: bool,
    report: Path | None,
    keep: bool,
) -> None:
    """Measure retrieval: every image of a class queries the others.

    Prints all spaces in the order of their mAP and which differences are significant; classes, confusions and votes of
    each are in --full, --report and --json.

    Example:  kvasir evaluate kvasir.collection --report report

    Example:  kvasir evaluate kvasir.collection --space JCD --space Tamura --fuse JCD=2+Tamura
    """
    from rich.console import Console

    from indexer.datasets.labels import parse_class_map
    from indexer.transfer_queries import with_queries
    from retrieval.collection import Collection
    from retrieval.disk import require_writable
    from retrieval.evaluation.collection import (
        evaluate_collection,
        evaluate_transfer,
        protocol_of,
        transfer_figure,
    )
    from retrieval.evaluation.options import Fusion
    from retrieval.evaluation.protocols import PROTOCOLS
    from retrieval.evaluation.query_set import load_query_set
    from retrieval.index.engines import connect
    from retrieval.report.store import StoredEvaluation, is_stored, remove_unfinished, store_evaluation

    count = next((one for one in query_sources if isinstance(one, int)), None)
    paths = [one for one in query_sources if isinstance(one, Path)]
    table = next((path for path in paths if path.suffix.lower() == ".csv"), None)
    queries = next((path for path in paths if path.suffix.lower() != ".csv"), None)
    if report is not None:
        from retrieval.report.folder import prepare_folder

        prepare_folder(report)
    if learn and protocol in PROTOCOLS and split is None:
        protocol = "k-fold"  # what is learned must not have seen its queries
    fused = tuple(Fusion.parse(text) for text in fusions)
    measures = MeasureOptions(tuple(sorted(set(ks))), vote_k, samples, seed)
    opened = Collection.open(collection)
    query_ids = None if table is None else load_query_set(table, opened.images.ids.tolist())
    options = EvaluationOptions(
        spaces,
        protocol,
        test_share,
        folds,
        split,
        measures,
        speed,
        fused,
        common,
        learn,
        learn_from,
        rerank,
        count,
        feedback,
        taught,
        query_ids,
    )
    class_map = parse_class_map(class_maps, opened.classes)
    if keep:
        require_writable(opened.path)
    notes: list[str] = []  # shown once the bars are gone
    with progress_bar(transient=True) as bar:
        advance = TaskBars(bar).advance
        searched_by = None if engine is None else connect(engine)
        result = evaluate_collection(opened, opened.manifest.name, options, advance, searched_by)
        figures = dict(result.figures)
        transfer: dict[str, Standing] = {}
        if queries is not None:
            # As in the protocol: what parts the images leaves a scene whole.
            by_scene = result.spaces[0].protocol not in ("leave-one-out", "leave-cluster-out")
            with with_queries(opened, queries, class_map, notes.append, by_scene) as (grown, searched):
                transfer = evaluate_transfer(grown, options, searched, advance, result.spaces)
                for method in learn:
                    figures[method] = [*figures[method], transfer_figure(grown, method, options, searched, advance)]
        result = replace(result, figures=figures, transfer=transfer)
        first = result.spaces[0]
        request = {
            "spaces": [space.space for space in result.spaces],
            "protocol": first.protocol,
            "sentence": first.protocol_sentence,
            "k": list(first.ks),
            "vote_k": vote_k,
            "samples": samples,
            "seed": seed,
            "speed": speed,
        }
        if query_ids is not None:
            request["query_ids"] = sorted(query_ids)
        further = {
            "learn": list(learn),
            "from": list(learn_from),
            "taught": taught,
            "feedback": feedback,
            "pictures": queries and queries.name,
            "renamed": class_map and dict(class_map.names),
        }
        request |= {name: value for name, value in further.items() if value}
        if searched_by is not None:
            request["engine"] = searched_by.address
            there = ", ".join(space.name for space in opened.spaces if searched_by.serves(space)) or "no space"
            notes.append(f"{searched_by.address} searched {there}; all else compared every image here")
        store = keep and not is_stored(opened, request)
        if keep:
            remove_unfinished(opened.path)
        if report is not None or store:
            from retrieval.report.build import build_report

            document = build_report(result, opened, partial(advance, "report"))
        if report is not None:
            from retrieval.report.folder import write_report

            write_report(result, document, opened, protocol_of(opened, options), report)
        if store:
            store_evaluation(opened, StoredEvaluation.by_command(request), result, document)
    for line in notes:
        note(line)
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=1, allow_nan=False))
        return
    from retrieval.report import print_evaluation

    print_evaluation(result, Console(), full=full)
    if report is not None:
        click.echo(f"Report: {report / 'index.html'}")
    elif not full and len(result.spaces) > 1:
        note("classes, confusions and votes of each space: --full, --report FOLDER or --json")
