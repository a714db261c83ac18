"""`kvasir info`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from retrieval.arguments import LocalPath
from retrieval.collection import Collection, SpaceDefinition
from retrieval.collection.facts import facts_of
from retrieval.collection.vectors import vectors_path
from retrieval.index import is_exact, open_index
from retrieval.spaces import metric_of
from retrieval.spaces.encoder import FITS
from retrieval.terminal import counted, display_width, one_line, padded


@click.command("info")
@click.argument("collection", type=LocalPath())
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(collection: Path, as_json: bool) -> None:
    """Show what COLLECTION holds and how each of its spaces was made.

    Example:  kvasir info kvasir.collection
    """
    facts = describe(Collection.open(collection))
    click.echo(json.dumps(facts, indent=2) if as_json else _text(facts))


def describe(collection: Collection) -> dict[str, Any]:
    """What a collection holds and where, and how each space is searched, as plain values."""
    images = collection.images
    facts = facts_of(collection)
    facts["spaces"] = [
        stated | {"bytes": _size(vectors_path(collection.path, space)), "index": _index(collection, space)}
        for stated, space in zip(facts["spaces"], collection.spaces, strict=True)
    ]
    sources = [
        {"path": str(path), "kind": kind}
        for number, (path, kind) in enumerate(images.source_paths)
        if number in images.sources  # one that all images were removed of stays in the catalog
    ]
    return {"path": str(collection.path), "format": collection.manifest.format, "sources": sources} | facts


def _index(collection: Collection, space: SpaceDefinition) -> str:
    """How a space is searched; where not every vector is compared, with the recall of that, measured now."""
    metric = metric_of(space)
    if is_exact(metric, len(collection.ids(space.name))):
        return "exact"
    index = open_index(collection, space.name, metric)
    return f"{index.description}, recall@10 {index.recall_at(10):.3f}"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _text(facts: dict[str, Any]) -> str:
    lines = [f"{facts['name']}: {counted(facts['images'], 'image')} in {facts['path']} (made {facts['created']})"]
    classes = {one_line(name): count for name, count in facts["classes"].items()}
    width = max(map(display_width, classes), default=0)
    lines += [f"  {padded(name, width)}  {count:>7,}" for name, count in classes.items()]
    if facts["unlabelled"]:
        lines.append(f"  {'without class':<{width}}  {facts['unlabelled']:>7,}")
    if facts["clusters_of_duplicates"]:
        lines.append(f"{counted(facts['clusters_of_duplicates'], 'cluster')} of duplicates")
    lines += [f"pictures: {source['kind']} {one_line(source['path'])}" for source in facts["sources"]]
    made: dict[str, list[str]] = {}  # the descriptors of one archive are all made alike, and that is said once
    for space in facts["spaces"]:
        lines.append(
            f"space {space['name']}: {counted(space['images'], 'vector')} of {space['dimension']} numbers, "
            f"{space['distance']} distance, {space['bytes'] / 1e6:.1f} MB, index: {space['index']}"
        )
        if space["kind"] == "encoder":
            lines += [f"  {line}" for line in _encoder(space["recipe"])]
        elif space["kind"] == "learned":
            lines += [f"  {line}" for line in _learned(space["recipe"])]
        else:
            lines += [f"  {line}" for line in _descriptor(space["recipe"])]
            made.setdefault(_origin(space["recipe"]), []).append(space["name"])
    return "\n".join(lines + [f"{', '.join(names)}: {how}" for how, names in made.items()])


def _learned(recipe: dict[str, Any]) -> list[str]:
    shares = ", ".join(
        f"{share:.0%} {'unlearned' if part == 'base' else part}" for part, share in recipe["shares"].items()
    )
    split = f", training part of {recipe['split']}" if recipe["split"] else ""
    lines = [
        f"learned by {recipe['method']} ({shares}) on {', '.join(recipe['sources'])}, seed {recipe['seed']}",
        f"from {recipe['images']:,} images of {len(recipe['classes'])} classes{split}, views: {recipe['views']}",
    ]
    lines += [
        f"{method}: P@1 {figures['precision@1']:.3f}, mAP {figures['mAP']:.3f} by cross-validation over clusters"
        for method, figures in recipe["validation"].items()
    ]
    return [*lines, f"model SHA-256 {recipe['model']}"]


def _encoder(recipe: dict[str, Any]) -> list[str]:
    width, height = recipe["size"]
    fit = FITS[recipe["fit"]]
    decoded = "decoded at full size" if recipe.get("full_size") else "decoded no larger than that needs"
    mean, std = (" ".join(f"{value:.4g}" for value in recipe[key]) for key in ("mean", "std"))
    lines = [
        f"encoder {recipe['spec']}, by {recipe['library']}",
        f"weights SHA-256 {recipe['weights']}",
        f"frames {fit} {width}x{height} ({recipe['interpolation']}), JPEG {decoded}; mean {mean}, std {std}",
    ]
    return lines + ([f"converted SHA-256 {recipe['converted']}"] if "converted" in recipe else ["runs on PyTorch"])


def _descriptor(recipe: dict[str, Any]) -> list[str]:
    line = f"LIRE variant {recipe['variant']}"
    if agreement := recipe.get("agreement"):
        ours = recipe["variant"].partition(" ")[0]  # "legacy (assumed)" where none agrees
        best, *others = sorted(agreement.items(), key=lambda pair: (pair[0] != ours, -pair[1]))
        rest = ", ".join(f"{name} {share:.2%}" for name, share in others)
        line += f"; {best[0]} gives {best[1]:.2%} of the shipped values" + (f" ({rest})" if rest else "")
    return [line] + ([f"warning: {recipe['warning']}"] if "warning" in recipe else [])


def _origin(recipe: dict[str, Any]) -> str:
    if recipe["origin"] == "computed":
        return "computed from the pictures"
    compared = f", compared with {recipe['compared_pictures']} pictures" if "compared_pictures" in recipe else ""
    return f"shipped in {recipe['origin']}{compared}"
