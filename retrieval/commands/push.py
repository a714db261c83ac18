"""`kvasir push`: a collection's vectors in a vector engine elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from retrieval.arguments import LocalPath, space_option
from retrieval.terminal import TaskBars, counted, note, progress_bar


@click.command("push")
@click.argument("collection", type=LocalPath())
@click.argument("address")
@space_option("Spaces to push.  [default: all that the engine can search]")
@click.option(
    "--index",
    "kind",
    type=click.Choice(["FLAT", "IVF_FLAT", "IVF_SQ8", "HNSW"]),
    help="Kind of index.  [default: the one that is there, or else FLAT up to 50,000 images and HNSW beyond]",
)
@click.option("--rebuild", is_flag=True, help="Write all of it anew, where `kvasir verify --engine` finds it wrong.")
def command(collection: Path, address: str, spaces: tuple[str, ...], kind: str | None, rebuild: bool) -> None:
    """Bring the vectors of COLLECTION to a vector engine, or what has changed in them since the last time.

    ADDRESS is milvus://HOST:PORT, milvus+tls://HOST:PORT, or milvus:///FILE.db for milvus-lite; USER:PASSWORD or an API
    key is read from KVASIR_MILVUS_TOKEN. Searches, evaluations and servers use it by --engine ADDRESS. A push that was
    stopped goes on with the next, and until it ends searches see the index as it was. The collection stays the truth:
    what changes in it after a push is compared locally until the next.

    Example:  kvasir push kvasir.collection milvus://localhost:19530
    """
    from retrieval.collection import Collection
    from retrieval.index.engines import connect

    engine = connect(address)
    opened = Collection.open(collection)
    chosen = [opened.manifest.space(name) for name in spaces] or list(opened.spaces)
    served = [space for space in chosen if engine.serves(space)]
    if local := [space.name for space in chosen if space not in served]:
        note(f"{', '.join(local)}: by distances that {engine.address} lacks, so they stay local")
    try:
        for space in served:
            with progress_bar(transient=True) as bar:
                pushed = engine.push(opened, space, kind, TaskBars(bar).advance, rebuild)
            done = f"{counted(pushed.written, 'image')} written, {pushed.removed:,} removed"
            click.echo(f"space {space.name}: {done}, {pushed.images:,} there; {pushed.index}")
    finally:
        engine.close()
