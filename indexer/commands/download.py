"""`kvasir download`: the official archives, with their terms."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from shlex import join

import click

from indexer.datasets.official import KVASIR_ARCHIVES, KVASIR_CITATION, KVASIR_SITE, KVASIR_TERMS
from indexer.download import Downloaded, download
from indexer.errors import DownloadError
from retrieval.terminal import progress_bar


@click.command(epilog="Example: kvasir download v2 --features data/")
@click.argument("arguments", nargs=-1, required=True, metavar="[v1|v2] DIR")
@click.option("--features", is_flag=True, help="Also fetch the shipped features (4.7 or 9.3 MB).")
@click.option("--base-url", default=KVASIR_SITE, show_default=True, help="Where the archives are.")
@click.option("--json", "as_json", is_flag=True, help="Print the files as JSON.")
def command(arguments: tuple[str, ...], features: bool, base_url: str, as_json: bool) -> None:
    """Fetch Kvasir v1 (1.2 GB) or v2 (2.3 GB, the default) into the folder DIR.

    A download that broke off continues where it stopped; a file that exists is not fetched again.
    """
    version, directory = arguments if len(arguments) == 2 else ("v2", arguments[0])
    if directory in KVASIR_ARCHIVES and version not in KVASIR_ARCHIVES:
        raise click.UsageError(f"the version comes first: `{join(['kvasir', 'download', directory, version])}`")
    if len(arguments) > 2 or version not in KVASIR_ARCHIVES:
        raise click.UsageError("expected [v1|v2] DIR")
    if directory in KVASIR_ARCHIVES:
        raise click.UsageError(f"expected [v1|v2] DIR: DIR is missing (./{directory} for a folder of that name)")
    click.echo(f"{KVASIR_TERMS}\nPapers must cite: {KVASIR_CITATION}", err=True)
    archives = KVASIR_ARCHIVES[version][: 2 if features else 1]
    urls = [f"{base_url.rstrip('/')}/{archive}" for archive in archives]
    done, fault = _download(urls, Path(directory))
    if as_json:
        files = [{"path": str(d.path), "bytes": d.bytes, "sha256": d.sha256} for d in done]
        click.echo(json.dumps(files, indent=2))
    else:
        for file in done:
            there = " (was there)" if file.existed else ""
            click.echo(f"{file.path}  {file.bytes:,} bytes  sha256 {file.sha256}{there}")
    if fault is not None:
        if not done:
            raise fault
        click.echo(f"kvasir: {fault}", err=True)
        sys.exit(1)


def _download(urls: list[str], directory: Path) -> tuple[list[Downloaded], DownloadError | None]:
    """Download with a progress bar on stderr; the files that are complete, and the error that ended it, if any."""
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    done: list[Downloaded] = []
    with progress_bar(*columns, TimeRemainingColumn()) as bars:
        tasks = {}

        def show(name: str, have: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total, completed=have)
            bars.update(tasks[name], completed=have, total=total)

        try:
            for file in download(urls, directory, on_progress=show):
                done.append(file)  # noqa: PERF402  # the files before a fault
        except DownloadError as error:
            return done, error
    return done, None
