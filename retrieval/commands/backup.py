"""`kvasir backup`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from retrieval.arguments import LocalPath, require_order
from retrieval.backup import write_backup
from retrieval.terminal import counted


@click.command("backup")
@click.argument("collection", type=LocalPath())
@click.argument("file", type=LocalPath())
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def command(collection: Path, file: Path, as_json: bool) -> None:
    """Write COLLECTION into one FILE, with checksums, while it is served or written to.

    Pictures that lie outside of the collection's folder are not in it, and indexes are made again.

    Example:  kvasir backup kvasir.collection kvasir-2026-11-28.tar
    """
    require_order("kvasir backup", collection, [file], instead="give the file to write")
    done = write_backup(collection, file)
    if as_json:
        click.echo(json.dumps({"file": str(file)} | asdict(done)))
    else:
        click.echo(
            f"{file}: {counted(done.images, 'image')}, {counted(done.files, 'file')}, {done.size / 2**20:.1f} MiB"
        )
