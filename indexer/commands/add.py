"""`kvasir add`."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import click

from indexer.commands.running import finish, run_index, shown
from indexer.datasets import chosen_pictures
from retrieval.collection import CollectionWriter


@click.command("add")
@click.argument("collection", type=click.Path(path_type=Path))
@click.argument("paths", type=click.Path(path_type=Path, exists=True), nargs=-1, required=True)
@click.option("--class", "class_name", help="The class of what is added.  [default: folders' names; none for files]")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON, a document a path.")
def command(collection: Path, paths: tuple[Path, ...], class_name: str | None, as_json: bool) -> None:
    """Add pictures, folders or zips to COLLECTION, described in every space that it has.

    Example:  kvasir add kvasir.collection new/polyp1.jpg new/polyp2.jpg --class polyps
    """
    if class_name is not None and not class_name.strip():
        raise click.UsageError("--class is empty; leave it out for pictures without a class")
    runs = []
    files: dict[Path, dict[str, str | None]] = defaultdict(dict)
    for path in paths:
        if path.is_dir() or path.suffix.lower() == ".zip":
            runs.append(run_index(path, collection, class_name=class_name, create=False))
        else:
            place = path.absolute()
            files[place.parent][place.name] = class_name
    if files:
        with CollectionWriter(collection) as writer:
            runs += [shown(chosen_pictures(folder, classes), writer) for folder, classes in files.items()]
    finish(runs, as_json)
