"""`kvasir export`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from retrieval.arguments import LocalPath, require_order, space_option
from retrieval.collection import Collection
from retrieval.export import export
from retrieval.terminal import counted, one_line, progress_bar


@click.command("export")
@click.argument("collection", type=LocalPath())
@click.argument("out", type=LocalPath())
@space_option("Spaces to export: names, separated by commas or by repeating the option.  [default: all]")
@click.option(
    "--parquet/--no-parquet",
    default=None,
    help="Write a Parquet file of table and vectors as well.  [default: where pyarrow is installed]",
)
@click.option("--overwrite", is_flag=True, help="Replace OUT even where it is not an earlier export.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def command(
    collection: Path, out: Path, spaces: tuple[str, ...], parquet: bool | None, overwrite: bool, as_json: bool
) -> None:
    """Write the vectors of COLLECTION into the folder OUT: SPACE.npy and SPACE.csv for each space.

    The table has the id, file, class, cluster and scene of each row of the vectors; a space that some images lack
    has the rows of the others. `kvasir index --vectors` makes a collection of them again. An earlier export is
    replaced.

    Example:  kvasir export kvasir.collection vectors --space tf_efficientnet_lite0
    """
    require_order("kvasir export", collection, [out], instead="name a folder of its own for the vectors")
    opened = Collection.open(collection)
    rows = sum(len(opened.ids(name)) for name in spaces or [space.name for space in opened.spaces])
    with progress_bar() as bar:
        task = bar.add_task("exporting", total=rows)
        done = export(
            opened,
            out,
            spaces,
            parquet=parquet,
            overwrite=overwrite,
            on_progress=lambda count: bar.advance(task, count),
        )
    if as_json:
        click.echo(json.dumps(done.to_dict(), indent=2))
        return
    click.echo(f"{one_line(str(done.folder))}: {counted(len(done.spaces), 'space')} of {one_line(done.collection)}")
    for space in done.spaces:
        also = f", {space.parquet}" if space.parquet else ""
        click.echo(
            f"  {space.vectors}, {space.table}{also}: {counted(space.images, 'vector')} of {space.dimension} numbers, "
            f"{space.metric} distance"
        )
