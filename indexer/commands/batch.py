"""`kvasir search --batch`, loaded only when it is asked for."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import click

from indexer.queries import open_queries
from retrieval.batch import answers
from retrieval.batch.journal import BatchState
from retrieval.batch.output import BatchOutput
from retrieval.batch.quality import MEASURES
from retrieval.search import Searcher
from retrieval.terminal import counted, list_faults, note, progress_bar


def run_batch(
    searcher: Searcher,
    batch: Path,
    out: Path,
    k: int,
    spaces: tuple[str, ...],
    classes: tuple[str, ...],
    query_class: str | None,
    as_json: bool,
) -> None:
    """Answer many queries into a file, going on where a stopped run was; leaves with 1 where pictures were bad.

    query_class: the class of the queries that have none of their own.
    """
    names = searcher.space_names(spaces or None)
    with open_queries(batch) as queries:
        asked = {
            "queries": str(queries.source),
            "number of queries": queries.total,
            "collection": str(searcher.collection.path),
            "state of the collection": [len(searcher.collection), int(searcher.collection.images.ids[-1:].sum())],
            "k": k,
            "spaces": names,
            "classes": list(classes),
            "query class": query_class,
        }
        with BatchOutput(out, asked, k) as output, _progress() as bar:
            task = bar.add_task("searching", total=queries.total, completed=output.state.done)
            if output.state.done:
                note(f"{output.state.done:,} of {queries.total:,} queries were answered before")
            remaining = (
                query if query.class_name is not None else replace(query, class_name=query_class)
                for query in islice(queries, output.state.done, None)
            )
            for answered in answers(searcher, remaining, k, names, classes or None):
                output.write(answered)
                bar.update(task, completed=output.state.done)
    state = output.state
    answer = {
        "out": str(out),
        "answered": state.done - len(state.rejected),
        "rejected": [{"query": name, "reason": reason} for name, reason in state.rejected],
        "quality": state.quality.to_dict(),
    }
    click.echo(json.dumps(answer, indent=2) if as_json else "\n".join(_lines(out, state)))
    list_faults("could not be used", [f"{name}: {reason}" for name, reason in state.rejected])
    if state.rejected:
        sys.exit(1 if len(state.rejected) < state.done else 2)


def _progress() -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    return progress_bar(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


def _lines(out: Path, state: BatchState) -> list[str]:
    answered = counted(state.done - len(state.rejected), "query", "queries")
    lines = [f"{out}: {answered} answered, {len(state.rejected):,} could not be used"]
    quality = state.quality.to_dict()
    k = quality["k"]
    if quality["queries"]:
        rows = [("mean over queries", quality["queries"], quality["micro"])]
        rows += [("mean over classes", len(quality["classes"]), quality["macro"])]
        rows += [(name, one["queries"], one) for name, one in quality["classes"].items()]
        width = max(len(name) for name, _, _ in rows)
        lines.append(f"{'':{width}}  {'queries':>7}" + "".join(f"  {f'{measure}@{k}':>13}" for measure in MEASURES))
        lines += [
            f"{name:{width}}  {count:>7,}" + "".join(f"  {means[measure]:>13.4f}" for measure in MEASURES)
            for name, count, means in rows
        ]
    if quality["nothing_relevant"]:
        count = sum(quality["nothing_relevant"].values())
        lines.append(
            f"{count:,} queries are of classes that the collection does not have: "
            + ", ".join(quality["nothing_relevant"])
        )
    return lines
