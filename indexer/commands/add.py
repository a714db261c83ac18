"""`kvasir add`."""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import click

from indexer.commands.outcome import finish
from indexer.commands.progress import IndexingBar
from indexer.datasets import Dataset, chosen_pictures, open_dataset
from indexer.datasets.labels import ClassMap, class_notes, parse_class_map
from indexer.errors import DatasetError
from indexer.run import run_dataset
from retrieval.arguments import LocalPath, map_option, require_order, zip_encoding_option
from retrieval.collection import Collection, CollectionWriter
from retrieval.errors import SourceError
from retrieval.names import nfc


@click.command("add")
@click.argument("collection", type=LocalPath())
@click.argument("paths", type=LocalPath(), nargs=-1, required=True)
@click.option(
    "--class", "class_name", help="The class of what is added.  [default: folders' names; for a file its class so far]"
)
@map_option
@zip_encoding_option
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON, a document a path.")
def command(
    collection: Path,
    paths: tuple[Path, ...],
    class_name: str | None,
    class_maps: tuple[str, ...],
    zip_encoding: str | None,
    as_json: bool,
) -> None:
    """Add pictures, folders or zips to COLLECTION, embedded in every space that it has.

    The id of each new image is printed, and what it is a copy or near duplicate of. What cannot be opened is listed at
    the end, and the others are added.

    Example:  kvasir add kvasir.collection new/polyp1.jpg new/polyp2.jpg --class polyps
    """
    if class_name is not None:
        class_name = class_name.strip()
        if not class_name:
            raise click.UsageError("--class is empty; leave it out for pictures without a class")
        if not class_name.isprintable():
            raise click.UsageError(f"--class {class_name!r} has characters that cannot be printed")
    require_order("kvasir add", collection, paths)
    stored = Collection.open(collection).classes
    class_map = parse_class_map(class_maps, stored)
    if class_name is not None:
        class_name = nfc(class_name) if class_map is None else class_map.get(nfc(class_name))
    whole: list[Dataset] = []
    files: dict[Path, dict[str, str | None]] = defaultdict(dict)
    refused: list[tuple[str, str]] = []
    runs = []
    with ExitStack() as opened, CollectionWriter(collection) as writer:
        for path in paths:
            try:
                if not path.exists():
                    refused.append((str(path), "no such file, folder or zip"))
                elif path.is_file() and path.suffix.lower() != ".zip":
                    place = path.absolute()
                    files[place.parent][place.name] = class_name
                else:
                    whole.append(opened.enter_context(_open(path, zip_encoding, class_map, class_name)))
            except (SourceError, DatasetError) as error:
                refused.append((str(path), str(error).removeprefix(f"{path.resolve()}: ")))
        for folder, classes in files.items() if class_name is None else ():
            known = writer.known(writer.source(folder.resolve(), "folder"), list(classes))
            classes.update({file: known[file].class_name for file in classes if file in known})
        datasets = whole + [chosen_pictures(folder, classes) for folder, classes in files.items()]
        with IndexingBar(sum(len(dataset.items) for dataset in datasets)) as bar:
            for number, dataset in enumerate(datasets):
                if number < len(whole):
                    bar.announce(dataset)
                for line in class_notes(dataset.classes, stored):
                    bar.say(f"  {line}")
                tell = bar.say if number == 0 else lambda line: None  # the spaces are the same for all
                is_whole = number < len(whole)
                runs.append(run_dataset(dataset, writer, whole=is_whole, say=tell, on_progress=bar.advance))
    finish(runs, as_json, refused, list_images=True)


def _open(path: Path, zip_encoding: str | None, class_map: ClassMap | None, class_name: str | None) -> Dataset:
    """A folder or zip whose pictures are all of one class, where it is given."""
    dataset = open_dataset(path, zip_encoding=zip_encoding, class_map=class_map)
    if class_name is None:
        return dataset
    items = tuple(replace(item, class_name=class_name) for item in dataset.items)
    return replace(dataset, items=items, classes=(class_name,))
