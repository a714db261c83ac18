"""`kvasir scenes`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from indexer.scenes import Scene, scenes, update_scenes
from retrieval.arguments import LocalPath
from retrieval.collection import Collection, CollectionWriter
from retrieval.terminal import TaskBars, counted, one_line, progress_bar


@click.command("scenes")
@click.argument("collection", type=LocalPath())
@click.option("--list", "only_list", is_flag=True, help="List the scenes that are known and compare nothing.")
@click.option("--again", is_flag=True, help="Forget them first, and compare all pictures.")
@click.option("--json", "as_json", is_flag=True, help="Print the scenes as JSON.")
def command(collection: Path, only_list: bool, again: bool, as_json: bool) -> None:
    """Find and list the pictures of COLLECTION that show one place in one examination, from another angle or later.

    They are no near duplicates, but no independent pictures either: splits and folds keep them together, and `kvasir
    evaluate` says what they bring. Local features of each picture are compared with those of its 30 nearest, in about
    0.06 s of processor time a picture. Once that is done, pictures that are added are compared as well.

    Example:  kvasir scenes kvasir.collection
    """
    if only_list and again:
        raise click.UsageError("--list compares nothing, so it cannot go with --again")
    if not only_list:
        with progress_bar() as bar, CollectionWriter(collection) as writer:
            if again:
                writer.forget_scenes()
            bars = TaskBars(bar)
            update_scenes(writer, on_progress=lambda done, total: bars.advance("comparing pictures", done, total))
    listed = scenes(Collection.open(collection))
    if as_json:
        click.echo(json.dumps([scene.to_dict() for scene in listed], indent=2))
        return
    for scene in listed:
        click.echo(f"scene {scene.id}, {len(scene.ids)} images")
        for image_id, file in zip(scene.ids, scene.files, strict=True):
            click.echo(f"  {image_id:>7}  {one_line(file)}")
    click.echo(summary(listed))


def summary(listed: list[Scene]) -> str:
    """The scenes of a collection in one line."""
    if not listed:
        return "scenes: none of more than one picture"
    return f"scenes: {len(listed):,} of {counted(sum(len(scene.ids) for scene in listed), 'image')}"
