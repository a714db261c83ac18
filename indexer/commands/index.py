"""`kvasir index`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import get_args

import click

from indexer.commands.encoder_options import encoder_options
from indexer.commands.import_vectors import run_import, space_to_import
from indexer.commands.outcome import finish
from indexer.commands.progress import IndexingBar
from indexer.datasets import open_dataset
from indexer.datasets.labels import class_notes, parse_class_map
from indexer.datasets.official import KVASIR_CLASSES
from indexer.descriptor_spaces import descriptor_names
from indexer.features import open_features
from indexer.ray_cluster import ray_cluster
from indexer.run import NOTHING_DONE, run_dataset
from retrieval.arguments import (
    LocalPath,
    PicturesPath,
    is_collection,
    map_option,
    require_order,
    split_names,
    zip_encoding_option,
)
from retrieval.collection import Collection, CollectionWriter
from retrieval.encoders import DEFAULT, FORMS, EncoderOptions, Fit, parse_spec
from retrieval.encoders.precision import AUTO, PRECISIONS
from retrieval.spaces import KINDS, kind_named


@click.command("index")
@click.argument("data", type=PicturesPath(), required=False, metavar="DATA")
@click.argument("collection", type=LocalPath(), required=False, metavar="COLLECTION")
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
    "--space",
    "spaces",
    multiple=True,
    metavar="KIND:SPEC",
    help=f"A space of any kind ({', '.join(KINDS)}), such as descriptor:JCD; may be given several times. With "
    "--vectors the space that they are of, NAME for one of its own.  [default there: the .npy file's name]",
)
@click.option(
    "--vectors",
    type=LocalPath(),
    metavar="FILE.npy",
    help="Make images of embeddings instead of DATA, without pictures; --encoder says which encoder made them.",
)
@click.option(
    "--table",
    type=LocalPath(),
    metavar="FILE.csv",
    help="What each row of --vectors is of: columns file and, optionally, class, cluster, scene and id, as "
    "`kvasir export` writes them.",
)
@click.option(
    "--fit",
    type=click.Choice(get_args(Fit)),
    help="How a frame that is not square meets a new encoder's input; field: the part that the endoscope lights.  "
    "[default: field]",
)
@click.option(
    "--precision",
    type=click.Choice([*PRECISIONS, AUTO]),
    default="f32",
    show_default=True,
    help="In which new encoders run, here and for every query: bf16 needs a processor that has it, int8 the extra "
    "[int8]; auto takes the fastest that keeps mAP within 0.003 on a sample of the pictures.",
)
@encoder_options
@click.option(
    "--labels",
    type=LocalPath(exists=True, dir_okay=False),
    metavar="FILE.csv",
    help="Take the classes from a table of file and class instead of from the folders.",
)
@map_option
@zip_encoding_option
@click.option(
    "--ray",
    metavar="ADDRESS|local",
    help="Embed on the machines of a Ray cluster, of which this is one (extra [ray]): HOST:PORT or auto; local starts "
    "one on this machine.",
)
@click.option(
    "--shards",
    metavar="LOCATION",
    help="With --ray, where workers store what is embedded: a folder or address that every node reaches.  [default: in "
    "COLLECTION]",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="With --ray, how many processes on each machine share its cores.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def command(
    data: Path | None,
    collection: Path | None,
    features: Path | None,
    encoders: tuple[str, ...],
    descriptors: tuple[str, ...],
    spaces: tuple[str, ...],
    vectors: Path | None,
    table: Path | None,
    fit: str | None,
    options: EncoderOptions,
    precision: str,
    labels: Path | None,
    class_maps: tuple[str, ...],
    zip_encoding: str | None,
    ray: str | None,
    shards: str | None,
    workers: int,
    as_json: bool,
) -> None:
    """Make or complete COLLECTION from DATA, a folder of class folders or a zip of one.

    Pictures are read where they lie; nothing is unpacked or copied. A stopped run continues where it was, and a second
    run adds only what is new. DATA may be the address of a folder as well: s3://bucket/folder with s3fs installed,
    or any other that fsspec lists.

    Example:  kvasir index kvasir-dataset-v2.zip kvasir.collection --features kvasir-dataset-v2-features.zip

    Example:  kvasir index --vectors embeddings.npy --table embeddings.csv other.collection
    """
    chosen_fit: Fit | None = next((name for name in get_args(Fit) if name == fit), None)
    if vectors is not None or table is not None:
        others = {
            "DATA": data if collection is not None else None,
            "--features": features,
            "--descriptors": descriptors,
            "--labels": labels,
            "--map": class_maps,
            "--zip-encoding": zip_encoding,
            "--ray": ray,
            "--shards": shards,
        }
        create = space_to_import(vectors, spaces, encoders, chosen_fit, options)
        run_import(vectors, table, collection or data, create, others, as_json)
        return
    if data is None or collection is None:
        raise click.UsageError("give DATA and COLLECTION, or --vectors FILE.npy --table FILE.csv COLLECTION")
    require_order("kvasir index", collection, [data], last=True)
    if ray is None and shards is not None:
        raise click.UsageError("--shards goes with --ray")
    chosen = ",".join(descriptors) or None
    descriptor_names(chosen)  # a misspelled name fails before an encoder is loaded
    for text in spaces:
        kind_named(text.partition(":")[0])
    stored: tuple[str, ...] = ()
    if is_collection(collection):
        stored = Collection.open(collection).classes
    else:
        for spec in encoders:
            parse_spec(spec)
    class_map = parse_class_map(class_maps, stored or KVASIR_CLASSES)
    with open_dataset(data, zip_encoding=zip_encoding, labels=labels, class_map=class_map) as dataset:
        archive = open_features(features, zip_encoding) if features is not None else None
        with (
            IndexingBar(len(dataset.items)) as bar,
            CollectionWriter(collection, name=dataset.name, create=True) as writer,
            ray_cluster(ray, shards, workers=workers, say=bar.say) if ray is not None else nullcontext() as cluster,
        ):
            bar.announce(dataset, [*class_notes(dataset.classes, stored), *(archive.notes if archive else ())])
            run = run_dataset(
                dataset,
                writer,
                archive,
                encoders,
                chosen,
                fit,
                options=options,
                precision=precision,
                spaces=spaces,
                whole=True,
                say=bar.say,
                on_progress=bar.advance,
                machines=cluster,
            )
            if run.exit_status == NOTHING_DONE:
                writer.discard_if_nothing_stored()
    finish([run], as_json)
