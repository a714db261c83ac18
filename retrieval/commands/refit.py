"""`kvasir refit`: a learned space, or principal components, fitted again on all images."""

from __future__ import annotations

from pathlib import Path

import click

from retrieval.arguments import LocalPath, require_collection_first
from retrieval.terminal import TaskBars, progress_bar


@click.command("refit")
@click.argument("collection", type=LocalPath())
@click.argument("name")
def command(collection: Path, name: str) -> None:
    """Fit the learned space NAME of COLLECTION again, as its recipe says, on the images that are there now.

    All its vectors are made anew. Nothing is fitted again by itself: vectors of two fits cannot be compared.

    Example:  kvasir refit kvasir.collection tf_efficientnet_lite0-multi-pca
    """
    from retrieval.collection import CollectionWriter
    from retrieval.learn.training import refit
    from retrieval.spaces import open_space

    require_collection_first("kvasir refit", collection, name)
    with progress_bar(transient=True) as bar, CollectionWriter(collection) as writer:
        made = refit(writer, name, TaskBars(bar).advance)
        fitted = open_space(collection, made).fitted_images
    click.echo(f"space {made.name}: {made.dimension} numbers, fitted on {fitted or 0:,} images")
