"""`kvasir compare`: which of two stored evaluations is better."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import click

from retrieval.arguments import LocalPath, space_option


@click.command()
@click.argument("runs", nargs=-1, required=True, type=LocalPath(exists=True, dir_okay=False))
@click.option("--measure", default="mAP", show_default=True, metavar="NAME", help="Such as mAP or precision@10.")
@space_option("Only these spaces, separated by commas; may be given several times.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of bootstrap and tests.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON to standard output.")
def command(runs: tuple[Path, ...], measure: str, spaces: tuple[str, ...], seed: int, as_json: bool) -> None:
    """Compare stored evaluations (`kvasir evaluate --json`) on the same queries, with intervals and paired tests.

    Example:  kvasir compare before.json after.json --space JCD

    Example:  kvasir compare report-1/evaluation.json report-2/evaluation.json --measure precision@10
    """
    from retrieval.evaluation.comparison import compare
    from retrieval.evaluation.stored import contenders_of

    found = [one for run in runs for one in contenders_of(run, measure, spaces)]
    names = [one.name for one, _ in found]
    # Reports all call their file evaluation.json; then their folders tell them apart.
    by_stem = len({run.stem for run in runs}) == len(set(runs))
    contenders = [
        replace(one, name=f"{one.name} ({run.stem if by_stem else run})") if names.count(one.name) > 1 else one
        for one, run in found
    ]
    comparison = compare(contenders, measure, seed=seed)
    if as_json:
        click.echo(json.dumps(asdict(comparison), indent=1, allow_nan=False))
        return
    from rich.console import Console

    from retrieval.report import print_comparison

    print_comparison(comparison, Console())
