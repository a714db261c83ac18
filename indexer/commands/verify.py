"""`kvasir verify`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from shlex import quote

import click

from indexer.repair import Repair, repair
from indexer.verification import Finding, check, check_engine, rows_without_digest
from retrieval.arguments import LocalPath
from retrieval.collection import Collection
from retrieval.collection.reading import stored_count
from retrieval.index.engines import Engine, connect
from retrieval.terminal import LISTED, counted, list_faults, note, progress_bar


@click.command("verify")
@click.argument("collection", type=LocalPath())
@click.option("--repair", "mend", is_flag=True, help="Make anew what can be made from pictures and catalog.")
@click.option("--quick", is_flag=True, help="Do not read the pictures and compare their SHA-256.")
@click.option("--engine", metavar="ADDRESS", help="Compare what `kvasir push` has brought to a vector engine as well.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(collection: Path, mend: bool, quick: bool, engine: str | None, as_json: bool) -> None:
    """Check COLLECTION: catalog, vectors, encoders, indexes and pictures against each other.

    With --engine every vector there is compared too; with --quick their checksums alone.

    Exit status 0: sound, or repaired; 1: something is wrong and is listed; 2: it cannot be opened at all.

    Example:  kvasir verify kvasir.collection --repair
    """
    compared = None if engine is None else connect(engine)
    findings = _checked(collection, quick, compared)
    mendable = any(finding.repairable for finding in findings)
    unchecked = rows_without_digest(collection)
    repaired = repair(collection, findings) if mend and (mendable or unchecked) else None
    left = findings if repaired is None else _checked(collection, quick, compared)
    if as_json:
        outcome = repaired or Repair()
        facts = {
            "rows_without_checksum": unchecked,
            "findings": [asdict(finding) | {"path": str(finding.path or "")} for finding in findings],
            "repairs": outcome.done,
            "renumbered": [{"id": old, "new_id": new, "file": file} for old, new, file in outcome.renumbered],
            "failed": [{"file": file, "reason": reason} for file, reason in outcome.failed],
            "warnings": outcome.warnings,
            "left": [finding.message for finding in left],
        }
        click.echo(json.dumps(facts, indent=2))
    else:
        for finding in findings:
            click.echo(finding.message)
        if unchecked and not mend:
            click.echo(
                f"{counted(unchecked, 'row')} of the catalog have no checksum, since an older version wrote them: "
                f"`kvasir verify --repair {quote(str(collection))}` adds them to what the rows say now"
            )
        if repaired is not None:
            _print(repaired, left)
        elif mendable:
            click.echo(f"`kvasir verify --repair {quote(str(collection))}` mends what can be repaired")
        if not left:
            opened = Collection.open(collection)
            count = f"{counted(len(opened), 'image')} in {counted(len(opened.spaces), 'space')}"
            click.echo(f"{opened.path}: sound ({count})")
    sys.exit(1 if left else 0)


def _print(repaired: Repair, left: list[Finding]) -> None:
    """Print what was repaired on stdout, and on stderr what could not be, why, and the remaining faults."""
    for line in repaired.done:
        click.echo(f"repaired: {line}")
    for old, new, file in repaired.renumbered[:LISTED]:
        click.echo(f"  image {old} is now image {new}, since its picture is another: {file}")
    if len(repaired.renumbered) > LISTED:
        click.echo(f"  … and {len(repaired.renumbered) - LISTED:,} more; --json lists all of them")
    for line in repaired.warnings:
        note(line)
    list_faults("could not be made anew", [f"{file}: {reason}" for file, reason in repaired.failed])
    for finding in left:
        click.echo(f"still wrong: {finding.message}")


def _checked(collection: Path, quick: bool, engine: Engine | None) -> list[Finding]:
    """Check with a bar on stderr, since reading every picture takes its time."""
    if quick:
        findings = check(collection, pictures=False)
    else:
        total = stored_count(collection)
        with progress_bar(transient=True) as bar:
            task = bar.add_task("reading pictures", total=total)
            findings = check(collection, on_progress=lambda done: bar.update(task, completed=done))
    return findings if engine is None else [*findings, *check_engine(collection, engine, vectors=not quick)]
