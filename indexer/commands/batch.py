"""`kvasir search --batch`."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import click

from indexer.datasets.labels import ClassMap
from indexer.queries import Queries
from retrieval.batch import search_in_batches
from retrieval.batch.journal import BatchState
from retrieval.batch.output import BatchOutput
from retrieval.batch.quality import MEASURES
from retrieval.fusion import DEFAULT_METHOD
from retrieval.search import Searcher
from retrieval.terminal import counted, display_width, list_faults, note, one_line, padded, progress_bar


@dataclass(frozen=True)
class BatchOptions:
    """How the queries of a batch are searched.

    query_class: of the queries that have no class. class_map: what the queries' classes count as.
    """

    k: int
    spaces: list[str]
    weights: list[float] | None
    fusion: str
    classes: tuple[str, ...]
    query_class: str | None
    class_map: ClassMap
    rerank: str | None = None
    min_chance: float | None = None


def run_batch(searcher: Searcher, queries: Queries, out: Path, options: BatchOptions, as_json: bool) -> None:
    """Search for many queries into a file, continuing a stopped run; exits with 1 where pictures could not be used."""
    for line in queries.notes:
        note(line)
    changes = options.class_map.changes(sorted(queries.classes))
    for new in dict.fromkeys(changes.values()):
        old = ", ".join(one_line(name) for name, other in changes.items() if other == new)
        note(f"queries of class {old} are counted as {one_line(new or 'without class')}")
    collection = searcher.collection
    parameters = {
        "queries": str(queries.source),
        "number of queries": queries.total,
        "collection": str(collection.path),
        "state of the collection": [len(collection), int(collection.images.ids[-1:].sum())],
        "k": options.k,
        "spaces": options.spaces,
        "classes": list(options.classes),
        "query class": options.query_class,
    }
    # Only where it matters, so that a run of an earlier version continues.
    if options.weights is not None:
        parameters["weights"] = options.weights
    if len(options.spaces) > 1 and options.fusion != DEFAULT_METHOD:
        parameters["fusion"] = options.fusion
    if changes:
        parameters["class map"] = changes
    parameters |= {
        name: value
        for name, value in (("rerank", options.rerank), ("min chance", options.min_chance))
        if value is not None
    }
    with BatchOutput(out, parameters, options.k) as output, _progress() as bar:
        task = bar.add_task("searching", total=queries.total, completed=output.state.done)
        if output.state.done:
            note(f"{output.state.done:,} of {queries.total:,} queries were done before")
        remaining = (
            replace(
                query,
                class_name=options.query_class
                if query.class_name is None
                else changes.get(query.class_name, query.class_name),
            )
            for query in islice(queries, output.state.done, None)
        )
        batches = search_in_batches(
            searcher,
            remaining,
            options.k,
            options.spaces,
            options.classes or None,
            options.weights,
            options.fusion,
            options.rerank,
            options.min_chance,
        )
        try:
            for batch in batches:
                output.write(batch)
                bar.update(task, completed=output.state.done)
        except KeyboardInterrupt:
            if output.state.done:
                note(f"stopped after {output.state.done:,} of {queries.total:,} queries; the same command continues")
            raise
    state = output.state
    result = {
        "out": str(out),
        "searched": state.done - len(state.rejected),
        "rejected": [{"query": name, "reason": reason} for name, reason in state.rejected],
        "class_map": changes,
        "quality": state.quality.to_dict(),
    }
    click.echo(json.dumps(result, indent=2) if as_json else "\n".join(_lines(out, state)))
    list_faults("could not be used", [f"{name}: {reason}" for name, reason in state.rejected])
    if state.rejected:
        sys.exit(1 if len(state.rejected) < state.done else 2)


def _progress() -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    return progress_bar(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


def _lines(out: Path, state: BatchState) -> list[str]:
    searched = counted(state.done - len(state.rejected), "query", "queries")
    lines = [f"{out}: {searched} searched, {len(state.rejected):,} could not be used"]
    quality = state.quality.to_dict()
    k = quality["k"]
    if quality["queries"]:
        rows = [("mean over queries", quality["queries"], quality["micro"])]
        rows += [("mean over classes", len(quality["classes"]), quality["macro"])]
        rows += [(one_line(name), figures["queries"], figures) for name, figures in quality["classes"].items()]
        width = max(display_width(name) for name, _, _ in rows)
        lines.append(f"{'':{width}}  {'queries':>7}" + "".join(f"  {f'{measure}@{k}':>13}" for measure in MEASURES))
        lines += [
            f"{padded(name, width)}  {count:>7,}" + "".join(f"  {means[measure]:>13.4f}" for measure in MEASURES)
            for name, count, means in rows
        ]
    if quality["nothing_relevant"]:
        count = sum(quality["nothing_relevant"].values())
        of = ", ".join(map(one_line, quality["nothing_relevant"]))
        lines.append(f"{count:,} queries have no figures, since no image searched is of their class: {of}")
    return lines
