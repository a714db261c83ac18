"""`kvasir verify`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from indexer.verification import Finding, check, repair
from retrieval.collection import Collection


@click.command("verify")
@click.argument("collection", type=click.Path(path_type=Path))
@click.option("--repair", "mend", is_flag=True, help="Make anew what can be made from pictures and catalog.")
@click.option("--quick", is_flag=True, help="Do not read the pictures and compare their SHA-256.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(collection: Path, mend: bool, quick: bool, as_json: bool) -> None:
    """Check COLLECTION: catalog, vectors, encoders, indexes and pictures against each other.

    Exit status 0: sound, or mended; 1: something is wrong and was told; 2: it cannot be opened at all.

    Example:  kvasir verify kvasir.collection --repair
    """
    findings = _checked(collection, quick)
    done = repair(collection, findings) if mend and any(finding.repairable for finding in findings) else []
    left = _checked(collection, quick) if done else findings
    if as_json:
        facts = {
            "findings": [asdict(finding) | {"path": str(finding.path or "")} for finding in findings],
            "repairs": done,
            "left": [finding.message for finding in left],
        }
        click.echo(json.dumps(facts, indent=2))
    else:
        for finding in findings:
            click.echo(finding.message)
        for line in done:
            click.echo(f"repaired: {line}")
        if left and any(finding.repairable for finding in left) and not mend:
            click.echo(f"`kvasir verify --repair {collection}` mends what can be mended")
        if not left:
            held = Collection.open(collection)
            click.echo(f"{held.path}: sound ({len(held):,} images in {len(held.spaces)} spaces)")
    sys.exit(1 if left else 0)


def _checked(collection: Path, quick: bool) -> list[Finding]:
    """Check with a bar on stderr, since reading every picture takes its time."""
    if quick:
        return check(collection, pictures=False)
    from rich.console import Console
    from rich.progress import Progress

    total = len(Collection.open(collection))
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading pictures", total=total)
        return check(collection, on_progress=lambda done: bar.update(task, completed=done))
