"""`kvasir search`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from shlex import join

import click

from retrieval.arguments import LocalPath, is_collection, require_order, space_option
from retrieval.filters import NoSuchClassError
from retrieval.hits import Hits
from retrieval.search import open_collection
from retrieval.terminal import one_line


@click.command("search")
@click.argument("arguments", metavar="[IMAGE|ID] COLLECTION", nargs=-1, required=True)
@click.option(
    "--batch",
    type=LocalPath(),
    metavar="FOLDER|LIST|TREC",
    help="Many queries instead of one: a folder or zip of pictures, whose folders are their classes; a .csv of "
    "file[,class] or a text file of one file a line; or a .tsv or .trec of QUERY-ID, a tab, file.",
)
@click.option(
    "--out",
    type=LocalPath(dir_okay=False),
    help="Where --batch writes: .csv, .jsonl or .trec. The same command again goes on where a stopped one was.",
)
@click.option("-k", default=10, show_default=True, help="How many hits.")
@space_option("Spaces to search, separated by commas; several are fused.  [default: the first]")
@click.option("--class", "classes", multiple=True, help="Only images of this class; may be given several times.")
@click.option("--query-class", help="The query's class, for precision and recall.  [default: known for an ID]")
@click.option("--exclude-cluster", is_flag=True, help="Leave out near duplicates of the query, which must be an ID.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def command(
    arguments: tuple[str, ...],
    batch: Path | None,
    out: Path | None,
    k: int,
    spaces: tuple[str, ...],
    classes: tuple[str, ...],
    query_class: str | None,
    exclude_cluster: bool,
    as_json: bool,
) -> None:
    """Find the images of COLLECTION that are most similar to a picture file, or to one of its own images by ID.

    With --batch it answers many queries, and says how good the answers are where the queries have classes.

    Example:  kvasir search polyp.jpg kvasir.collection -k 5 --class polyps --class normal-cecum

    Example:  kvasir search --batch queries/ --out run.csv kvasir.collection
    """
    *query_part, place = arguments
    collection = LocalPath().convert(place, None, None)
    if batch is not None or out is not None:
        if batch is None or out is None or query_part or exclude_cluster:
            raise click.UsageError("--batch and --out come together, with COLLECTION and no other query")
        require_order("kvasir search --batch", collection, [batch], last=True)
        from indexer.commands.batch import run_batch

        searcher = open_collection(collection, "throughput")
        _require_class(query_class, searcher.collection.classes)
        run_batch(searcher, batch, out, k, spaces, classes, query_class, as_json)
        return
    if not query_part and not is_collection(collection):
        raise click.UsageError(f"COLLECTION is missing: `{join(['kvasir', 'search', place])} COLLECTION`")
    if len(query_part) != 1:
        raise click.UsageError("give a picture file or an ID, then COLLECTION; or --batch, --out and COLLECTION")
    (query,) = query_part
    require_order("kvasir search", collection, [query], last=True)
    # A whole number is an id, unless a file of that name lies here.
    by_id = query.isascii() and query.isdecimal() and not Path(query).exists()
    if exclude_cluster and not by_id:
        raise click.UsageError(f"--exclude-cluster needs an ID as query: the file {query} has no near duplicates known")
    searcher = open_collection(collection)
    _require_class(query_class, searcher.collection.classes)
    hits = searcher.search(
        int(query) if by_id else query,
        k,
        spaces=spaces or None,
        classes=classes or None,
        exclude_cluster=exclude_cluster,
        query_class=query_class,
    )
    click.echo(json.dumps(hits.to_dict(), indent=2, allow_nan=False) if as_json else _table(hits))


def _require_class(name: str | None, classes: Sequence[str]) -> None:
    """Raise NoSuchClassError where a person names a query's class that no image has, most likely by a slip."""
    if name is None or name in classes:
        return
    near = get_close_matches(name, classes, 1)
    meant = f" (did you mean {near[0]}?)" if near else ""
    raise NoSuchClassError(
        f"--query-class: no image is of the class '{name}'{meant}; the classes: {', '.join(classes) or 'none'}"
    )


def _table(hits: Hits) -> str:
    if not hits.hits:
        return "no hits: nothing was left to search"
    classes = [one_line(hit.class_name or "-") for hit in hits]
    names = max(map(len, classes))
    digits = max(2, *(len(str(hit.id)) for hit in hits))
    distances = ["distance", *("-" if hit.distance is None else f"{hit.distance:.4f}" for hit in hits)]
    wide = max(map(len, distances))
    shown = [f"{text:>{wide}}  " if len(hits.spaces) == 1 else "" for text in distances]
    lines = [f"rank  {'id':>{digits}}  {'class':<{names}}  score   {shown[0]}file"]
    for hit, class_name, distance in zip(hits, classes, shown[1:], strict=True):
        start = f"{hit.rank:>4}  {hit.id:>{digits}}  {class_name:<{names}}"
        lines.append(f"{start}  {hit.score:<6.4f}  {distance}{one_line(hit.file)}")
    counts = ", ".join(f"{count} {one_line(name or 'without class')}" for name, count in hits.class_counts.items())
    lines.append(f"{len(hits)} of {hits.searched:,} images, by {' + '.join(hits.spaces)}: {counts}")
    quality = hits.quality
    if quality is not None:
        line = f"query is {one_line(hits.query_class or '')}: precision@{quality.k} {quality.precision:.3f}"
        if quality.recall is None:
            line += ", recall undefined: nothing else of this class was searched"
        else:
            line += (
                f", recall@{quality.k} {quality.recall:.4f} "
                f"(at most {quality.recall_ceiling:.4f}: {quality.relevant:,} are relevant)"
            )
        lines.append(line)
    return "\n".join(lines)
