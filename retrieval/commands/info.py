"""`kvasir info`."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import click

from retrieval.collection import Collection, Space
from retrieval.collection.vectors import vectors_path
from retrieval.index import compares_all
from retrieval.search import Searcher


@click.command("info")
@click.argument("collection", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(collection: Path, as_json: bool) -> None:
    """Show what COLLECTION holds and how each of its spaces was made.

    Example:  kvasir info kvasir.collection
    """
    facts = describe(Collection.open(collection))
    click.echo(json.dumps(facts, indent=2) if as_json else _text(facts))


def describe(collection: Collection) -> dict[str, Any]:
    """What a collection holds, as plain values."""
    images = collection.images
    counts = Counter(images.classes[label] if label >= 0 else None for label in images.labels.tolist())
    clusters = Counter(images.clusters.tolist())
    return {
        "path": str(collection.path),
        "name": collection.manifest.name,
        "created": collection.manifest.created,
        "format": collection.manifest.format,
        "images": len(images),
        "classes": {name: counts[name] for name in images.classes},
        "unlabelled": counts[None],
        "clusters_of_duplicates": sum(size > 1 for size in clusters.values()),
        "sources": [{"path": str(path), "kind": kind} for path, kind in images.source_paths],
        "spaces": [
            {
                "name": space.name,
                "kind": space.kind,
                "dimension": space.dimension,
                "distance": space.metric,
                "images": len(collection.positions(space.name)),
                "bytes": _size(vectors_path(collection.path, space)),
                "index": _index(collection, space),
                "recipe": space.recipe,
            }
            for space in collection.spaces
        ],
    }


def _index(collection: Collection, space: Space) -> str:
    """How a space is searched; where not every vector is compared, with the recall of that, measured now."""
    if compares_all(space.metric, len(collection.positions(space.name))):
        return "exact"
    _, index, _ = Searcher(collection).index(space.name)
    return f"{index.description}, recall@10 {index.recall_at(10):.3f}"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _text(facts: dict[str, Any]) -> str:
    lines = [f"{facts['name']}: {facts['images']:,} images in {facts['path']} (made {facts['created']})"]
    width = max((len(name) for name in facts["classes"]), default=0)
    lines += [f"  {name:<{width}}  {count:>7,}" for name, count in facts["classes"].items()]
    if facts["unlabelled"]:
        lines.append(f"  {'without class':<{width}}  {facts['unlabelled']:>7,}")
    if facts["clusters_of_duplicates"]:
        lines.append(f"{facts['clusters_of_duplicates']:,} clusters of duplicates")
    lines += [f"pictures: {source['kind']} {source['path']}" for source in facts["sources"]]
    for space in facts["spaces"]:
        lines.append(
            f"space {space['name']}: {space['images']:,} vectors of {space['dimension']} numbers, "
            f"{space['distance']} distance, {space['bytes'] / 1e6:.1f} MB, index: {space['index']}"
        )
        for key, value in space["recipe"].items():
            lines.append(f"  {key}: {', '.join(map(str, value)) if isinstance(value, list) else value}")
    return "\n".join(lines)
