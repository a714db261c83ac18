"""`kvasir compare`: which of several stored evaluations is better."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from retrieval.arguments import LocalPath, space_option


@click.command()
@click.argument("evaluations", nargs=-1, required=True, type=LocalPath(exists=True, dir_okay=False))
@click.option("--measure", default="mAP", show_default=True, metavar="NAME", help="Such as mAP or precision@10.")
@space_option("Only these spaces, separated by commas; may be given several times.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of bootstrap and tests.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON to standard output.")
def command(evaluations: tuple[Path, ...], measure: str, spaces: tuple[str, ...], seed: int, as_json: bool) -> None:
    """Compare stored evaluations (`kvasir evaluate --json`) on the same queries, with intervals and paired tests.

    Example:  kvasir compare before.json after.json --space JCD

    Example:  kvasir compare report-1/evaluation.json report-2/evaluation.json --measure precision@10
    """
    from retrieval.evaluation.comparison import compare
    from retrieval.evaluation.store import load_contenders

    loaded = [load_contenders(evaluation, measure, spaces) for evaluation in evaluations]
    names = [contender.name for contenders in loaded for contender in contenders]
    contenders = [
        replace(contender, name=f"{contender.name} ({label})") if names.count(contender.name) > 1 else contender
        for label, contenders in zip(_labels(evaluations), loaded, strict=True)
        for contender in contenders
    ]
    comparison = compare(contenders, measure, seed=seed)
    if as_json:
        click.echo(json.dumps(comparison.to_dict(), indent=1, allow_nan=False))
        return
    from rich.console import Console

    from retrieval.report import print_comparison

    print_comparison(comparison, Console())


def _labels(evaluations: Sequence[Path]) -> list[str]:
    """A distinct label of each file: its name or, where two have the same, its path, numbered where that repeats."""
    # Reports all call their file evaluation.json; their folders tell them apart.
    distinct = len({path.stem for path in evaluations}) == len(set(evaluations))
    labels = [path.stem if distinct else str(path) for path in evaluations]
    return [
        f"{label}, {labels[:at].count(label) + 1}" if labels.count(label) > 1 else label
        for at, label in enumerate(labels)
    ]
