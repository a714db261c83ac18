"""`kvasir duplicates`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from indexer.near_duplicates import Cluster, clusters
from retrieval.arguments import LocalPath
from retrieval.collection import Collection
from retrieval.terminal import counted, one_line


@click.command("duplicates")
@click.argument("collection", type=LocalPath())
@click.option("--json", "as_json", is_flag=True, help="Print the clusters as JSON.")
def command(collection: Path, as_json: bool) -> None:
    """List the pictures of COLLECTION that show the same: copies, and near duplicates such as crops and re-encodings.

    They are detected when pictures are indexed or added. Those that lie in several classes come first: at least one of
    their labels is wrong or doubtful.

    Example:  kvasir duplicates kvasir.collection
    """
    listed = clusters(Collection.open(collection))
    if as_json:
        click.echo(json.dumps([cluster.to_dict() for cluster in listed], indent=2))
        return
    for cluster in listed:
        mark = f"  IN SEVERAL CLASSES: {', '.join(cluster.classes)}" if cluster.spans_classes else ""
        click.echo(f"cluster {cluster.id}, {len(cluster.ids)} images{mark}")
        for image_id, file in zip(cluster.ids, cluster.files, strict=True):
            click.echo(f"  {image_id:>7}  {one_line(file)}")
    click.echo(summary(listed))


def summary(listed: list[Cluster]) -> str:
    """The clusters of a collection in one line."""
    if not listed:
        return "near duplicates: none"
    images = sum(len(cluster.ids) for cluster in listed)
    spanning = sum(cluster.spans_classes for cluster in listed)
    return f"near duplicates: {counted(len(listed), 'cluster')} of {images:,} images; {spanning:,} in several classes"
