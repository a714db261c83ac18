"""`kvasir index`."""

from __future__ import annotations

from pathlib import Path

import click

from indexer.commands.encoder_options import encoder_options
from indexer.commands.outcome import finish
from indexer.commands.progress import IndexingBar
from indexer.datasets import open_dataset
from indexer.described import descriptor_names
from indexer.features import open_features
from indexer.run import NOTHING_DONE, Run, run_dataset
from retrieval.arguments import LocalPath, require_order, split_names
from retrieval.collection import CollectionWriter
from retrieval.collection.manifest import NAME
from retrieval.encoders import DEFAULT, FORMS, EncoderOptions, parse_spec

_AS_NAMED = EncoderOptions()


@click.command("index")
@click.argument("data", type=LocalPath())
@click.argument("collection", type=LocalPath())
@click.option(
    "--features",
    type=LocalPath(),
    help="Folder or zip of shipped .features files: six more spaces, searched by LIRE's own distances.",
)
@click.option(
    "--encoder",
    "encoders",
    multiple=True,
    metavar="SPEC",
    help=f"{FORMS}; may be given several times.  [default: {DEFAULT}]",
)
@click.option(
    "--descriptors",
    multiple=True,
    metavar="all|NAMES",
    callback=split_names,
    help="Compute LIRE's descriptors from the pictures: all, or names separated by commas.",
)
@click.option(
    "--fit",
    type=click.Choice(["squash", "pad", "crop"]),
    help="How a frame that is not square meets a new encoder's input.  [default: squash]",
)
@encoder_options
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def command(
    data: Path,
    collection: Path,
    features: Path | None,
    encoders: tuple[str, ...],
    descriptors: tuple[str, ...],
    fit: str | None,
    options: EncoderOptions,
    as_json: bool,
) -> None:
    """Make or complete COLLECTION from DATA, a folder of class folders or a zip of one.

    Pictures are read where they lie; nothing is unpacked or copied. A run that was stopped goes on where it was, and a
    second run adds only what is new.

    Example:  kvasir index kvasir-dataset-v2.zip kvasir.collection --features kvasir-dataset-v2-features.zip
    """
    require_order("kvasir index", collection, [data], last=True)
    finish([_index(data, collection, features, encoders, ",".join(descriptors) or None, fit, options)], as_json)


def _index(
    data: Path,
    collection: Path,
    features: Path | None = None,
    encoders: tuple[str, ...] = (),
    descriptors: str | None = None,
    fit: str | None = None,
    options: EncoderOptions = _AS_NAMED,
) -> Run:
    """Index a data set into a collection, telling stderr what happens."""
    descriptor_names(descriptors)  # a slip of the pen is told before an encoder is loaded and a collection begun
    if not (collection / NAME).exists():
        for spec in encoders:
            parse_spec(spec)
    with open_dataset(data) as dataset, IndexingBar(len(dataset.items)) as bar:
        bar.announce(dataset)
        archive = open_features(features) if features is not None else None
        with CollectionWriter(collection, name=dataset.name, create=True) as writer:
            run = run_dataset(
                dataset,
                writer,
                archive,
                encoders,
                descriptors,
                fit,
                options=options,
                say=bar.say,
                on_progress=bar.advance,
            )
            run.whole = True
            if run.exit_status == NOTHING_DONE:
                writer.discard_if_nothing_stored()
            return run
