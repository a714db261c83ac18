"""`kvasir restore`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from retrieval.arguments import LocalPath, require_order
from retrieval.backup import restore_backup
from retrieval.terminal import counted


@click.command("restore")
@click.argument("file", type=LocalPath())
@click.argument("collection", type=LocalPath())
@click.option("--replace", is_flag=True, help="Delete the collection that is there; a running server sees the new one.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def command(file: Path, collection: Path, replace: bool, as_json: bool) -> None:
    """Put the backup FILE in the place of COLLECTION, in one step, after its checksums were compared.

    Example:  kvasir restore kvasir-2026-11-28.tar kvasir.collection --replace
    """
    require_order("kvasir restore", collection, [file], last=True, instead="give the backup file first")
    done = restore_backup(file, collection, replace=replace)
    if as_json:
        click.echo(json.dumps({"collection": str(collection)} | asdict(done)))
    else:
        click.echo(f"{collection}: {counted(done.images, 'image')}, {counted(done.files, 'file')} restored")
