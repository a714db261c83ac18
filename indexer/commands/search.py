"""`kvasir search`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from shlex import join

import click

from indexer.commands.query_parts import (
    IMAGE_FORM,
    TEXT_FORM,
    VECTOR_FORM,
    image_ids,
    image_part,
    text_part,
    vector_part,
)
from retrieval.arguments import (
    FiniteRange,
    LocalPath,
    engine_option,
    is_collection,
    map_option,
    require_order,
    space_option,
    zip_encoding_option,
)
from retrieval.feedback import Feedback
from retrieval.filters import NoSuchClassError
from retrieval.fusion import DEFAULT_METHOD, METHODS
from retrieval.hits import Hits
from retrieval.large_pictures import RUN_PIXELS, LargePictures
from retrieval.names import nfc
from retrieval.query import Query
from retrieval.rerank import METHODS as RERANKERS
from retrieval.search import Searcher, open_collection
from retrieval.search_options import SearchOptions
from retrieval.terminal import display_width, note, one_line, padded

_HITS = 10
_OF_EACH_CLASS = 4


@click.command("search")
@click.argument("arguments", metavar="[FILE|ID] COLLECTION", nargs=-1, required=True)
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar=IMAGE_FORM,
    help="A part of the query: a picture or an image of the collection, the region of it that counts, in fractions of "
    "its width and height, and how much it counts, 1 where it is not given. May be given several times; FILE|ID before "
    "COLLECTION is a part too.",
)
@click.option(
    "--vector",
    "vectors",
    multiple=True,
    metavar=VECTOR_FORM,
    help="A part of the query: a vector of SPACE or, without it, of the space that is searched.",
)
@click.option(
    "--text",
    "texts",
    multiple=True,
    metavar=TEXT_FORM,
    help="A part of the query: words. A space without a text encoder is searched by the classes that they describe.",
)
@click.option(
    "--batch",
    type=LocalPath(),
    metavar="FOLDER|LIST|TREC",
    help="Many queries instead of one: a folder or zip of pictures, whose folders are their classes; a .csv of "
    "file[,class], or with a column `text` of words, or a text file of one file a line; or a .tsv or .trec of "
    "QUERY-ID, a tab, file[, a tab, class].",
)
@click.option(
    "--out",
    type=LocalPath(dir_okay=False),
    help="Where --batch writes: .csv, .jsonl or .trec. The same command again continues a stopped one.",
)
@click.option(
    "-k", type=int, help=f"How many hits.  [default: {_HITS}, or with --each-class {_OF_EACH_CLASS} of each class]"
)
@space_option(
    "Spaces to search, separated by commas; several are fused.  [default: what retrieves best by the latest "
    "evaluation that is stored, or else the first]"
)
@click.option(
    "--weight",
    "weights",
    multiple=True,
    metavar="SPACE=NUMBER",
    help="How much a space counts against the others, 1 where it is not given; several separated by commas.",
)
@click.option(
    "--fusion",
    type=click.Choice(tuple(METHODS)),
    default=DEFAULT_METHOD,
    show_default=True,
    help="How several spaces are fused: by ranks, by standardised scores, or by scores between their bounds.",
)
@click.option(
    "--rerank", type=click.Choice(tuple(RERANKERS)), help="Rank the nearest 1,000 pictures of one space anew."
)
@click.option(
    "--mmr",
    type=FiniteRange(0, 1),
    metavar="NUMBER",
    help="Rank by maximal marginal relevance: 1 by similarity alone, less prefers what is unlike the hits before it; "
    "0.7 is --rerank mmr.",
)
@click.option("--class", "classes", multiple=True, help="Only images of this class; may be given several times.")
@click.option(
    "--min-chance",
    type=FiniteRange(0, 1),
    help="Only hits that show the query's finding with this chance at least; needs `kvasir calibrate`.",
)
@click.option("--query-class", help="The query's class, for precision and recall.  [default: known for an ID]")
@click.option(
    "--exclude-cluster", is_flag=True, help="Leave out near duplicates of the images of the query that are given by ID."
)
@click.option(
    "--exclude-scene",
    is_flag=True,
    help="Leave out these and other frames of their place in the same examination, as `kvasir scenes` finds them.",
)
@click.option(
    "--like",
    multiple=True,
    metavar="ID,..",
    callback=image_ids,
    help="Hits of an earlier search that fit: the query moves towards them. Several separated by commas.",
)
@click.option("--unlike", multiple=True, metavar="ID,..", callback=image_ids, help="Hits that do not: it moves away.")
@click.option("--exclude", multiple=True, metavar="ID,..", callback=image_ids, help="Images to leave out.")
@click.option("--fold", is_flag=True, help="Fold near duplicates of a hit into it, so that all hits differ.")
@click.option(
    "--each-class", is_flag=True, help="The nearest images of each class, to see what a picture may be taken for."
)
@engine_option
@map_option
@zip_encoding_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    arguments: tuple[str, ...],
    images: tuple[str, ...],
    vectors: tuple[str, ...],
    texts: tuple[str, ...],
    batch: Path | None,
    out: Path | None,
    k: int | None,
    spaces: tuple[str, ...],
    weights: tuple[str, ...],
    fusion: str,
    rerank: str | None,
    mmr: float | None,
    classes: tuple[str, ...],
    min_chance: float | None,
    query_class: str | None,
    exclude_cluster: bool,
    exclude_scene: bool,
    like: tuple[int, ...],
    unlike: tuple[int, ...],
    exclude: tuple[int, ...],
    fold: bool,
    each_class: bool,
    engine: str | None,
    class_maps: tuple[str, ...],
    zip_encoding: str | None,
    as_json: bool,
) -> None:
    """Find the images of COLLECTION that are most similar to a picture file, or to one of its own images by ID.

    Several parts are searched for together: an image's distance is the weighted mean of its distances to them, and a
    negative weight pushes images like its part away. With --batch it searches for many queries and reports precision
    and recall where the queries have classes.

    Example:  kvasir search polyp.jpg kvasir.collection -k 5 --class polyps --class normal-cecum

    Example:  kvasir search kvasir.collection --image 5 --image polyp.jpg@0.2,0.2,0.5,0.5=0.5

    Example:  kvasir search 5 kvasir.collection --like 12,40 --unlike 7 --exclude 12,40,7

    Example:  kvasir search kvasir.collection --text "polyp on a stalk"

    Example:  kvasir search --batch queries/ --out run.csv kvasir.collection
    """
    *query_part, place = arguments
    if mmr is not None:
        if rerank is not None:
            raise click.UsageError("--mmr is a way of re-ranking; leave --rerank out")
        rerank = f"mmr:{round(mmr, 4):g}"  # never with an exponent
    collection = LocalPath().convert(place, None, None)
    if batch is not None or out is not None:
        other = any((query_part, images, vectors, texts, exclude_cluster, exclude_scene))
        other = other or any((like, unlike, exclude, fold, each_class))
        if batch is None or out is None or other:
            raise click.UsageError("--batch and --out come together, with COLLECTION and no other query")
        require_order("kvasir search --batch", collection, [batch], last=True, options=["--out", out])
        from indexer.commands.batch import BatchOptions, run_batch
        from indexer.datasets.labels import map_to_collection, parse_class_map
        from indexer.queries import open_queries

        large = LargePictures(least_pixels=RUN_PIXELS)
        searcher = open_collection(collection, "throughput", large=large, engine=engine)
        if not spaces and not weights and rerank is None:
            spaces, weights, fusion = _best_spaces(searcher, fusion)
        class_map = map_to_collection(parse_class_map(class_maps), searcher.collection.classes)
        options = BatchOptions(
            k=_HITS if k is None else k,
            spaces=searcher.space_names(spaces or None),
            weights=_weights(weights, searcher, spaces),
            fusion=fusion,
            classes=classes,
            query_class=_class_of_query(query_class, class_maps, searcher.collection.classes),
            class_map=class_map,
            rerank=rerank,
            min_chance=min_chance,
        )
        with open_queries(batch, zip_encoding) as queries:
            run_batch(searcher, queries, out, options, as_json)
        return
    if len(query_part) > 1:
        raise click.UsageError("give one picture file or ID, then COLLECTION; further ones by --image")
    written = [*query_part, *images]
    if not written and not vectors and not texts:
        if not is_collection(collection):
            raise click.UsageError(f"COLLECTION is missing: `{join(['kvasir', 'search', place])} COLLECTION`")
        raise click.UsageError("give a picture file or an ID, then COLLECTION; or --image, --vector, --text or --batch")
    require_order("kvasir search", collection, query_part, last=True)
    query = Query((*map(image_part, written), *map(vector_part, vectors), *map(text_part, texts)))
    if exclude_cluster and not query.image_ids:
        raise click.UsageError("--exclude-cluster needs an ID in the query: a file has no known near duplicates")
    if exclude_scene and not query.image_ids:
        raise click.UsageError("--exclude-scene needs an ID in the query: the scene of a file is not known")
    searcher = open_collection(collection, engine=engine)
    by_text = query.has_text and searcher.text_spaces()
    if not spaces and not weights and rerank is None and not query.spaces and not by_text:
        pictures = any(part.picture is not None or part.region is not None for part in query.parts)
        spaces, weights, fusion = _best_spaces(searcher, fusion, pictures)
    how: SearchOptions = {
        "spaces": spaces or None,
        "weights": _weights(weights, searcher, spaces or query.spaces),
        "fusion": fusion,
        "rerank": rerank,
        "classes": classes or None,
        "exclude_cluster": exclude_cluster,
        "exclude_scene": exclude_scene,
        "query_class": _class_of_query(query_class, class_maps, searcher.collection.classes),
        "min_chance": min_chance,
        "fold": fold,
        "feedback": Feedback(like, unlike, exclude),
    }
    if each_class:
        nearest = searcher.nearest_of_classes(query, _OF_EACH_CLASS if k is None else k, **how)
        found = [{"class_name": name, "hits": hits.to_dict()} for name, hits in nearest.items()]
        tables = "\n\n".join(_table(replace(hits, quality=None)) for hits in nearest.values())
        click.echo(json.dumps({"classes": found}, indent=2, allow_nan=False) if as_json else tables)
        return
    hits = searcher.search(query, _HITS if k is None else k, **how)
    click.echo(json.dumps(hits.to_dict(), indent=2, allow_nan=False) if as_json else _table(hits))


def _best_spaces(
    searcher: Searcher, fusion: str, pictures: bool = True
) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """Spaces, weights as `--weight` takes them, and fusion of what retrieves best, with a word; else of the first.

    pictures: whether the query has some that must be embedded, for which every space needs an encoder.
    """
    from retrieval.report.best import best_of

    best = best_of(searcher.collection)
    if best is None or (pictures and not all(searcher.space(name).embeds_pictures for name in best.spaces)):
        return (), (), fusion
    note(f"searched in {one_line(best.name)}, which {best}; --space chooses another")
    pairs = zip(best.spaces, best.weights or (), strict=False)
    return best.spaces, tuple(f"{name}={weight:g}" for name, weight in pairs), best.fusion


def _class_of_query(name: str | None, class_maps: Sequence[str], classes: Sequence[str]) -> str | None:
    """The collection's class of a query, with a note where its name differs.

    Raises NoSuchClassError where no image has the class, most likely by a slip.
    """
    if name is None and not class_maps:
        return None
    from indexer.datasets.labels import map_to_collection, parse_class_map  # one search in few has a class

    class_map = map_to_collection(parse_class_map(class_maps), classes)
    if name is None:
        return None
    mapped = class_map.get(nfc(name))
    if mapped is not None and mapped not in classes:
        near = get_close_matches(mapped, classes, 1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        raise NoSuchClassError(
            f"--query-class: no image is of the class '{mapped}'{meant}; the classes: {', '.join(classes) or 'none'}"
        )
    if mapped != nfc(name):
        note(f"the query's class {name} is counted as {mapped or 'no class'}")
    return mapped


def _weights(values: Sequence[str], searcher: Searcher, spaces: Sequence[str]) -> list[float] | None:
    """The weight of each space that is searched, in their order; None where none is given."""
    if not values:
        return None
    names = searcher.space_names(spaces or None)
    weights = dict.fromkeys(names, 1.0)
    for value in (part.strip() for given in values for part in given.split(",")):
        name, sign, number = value.rpartition("=")
        if not sign:
            raise click.UsageError(f"--weight {value}: expected SPACE=NUMBER, such as {names[0]}=2")
        try:
            weight = float(number)
        except ValueError:
            weight = 0.0
        if not 0 < weight < float("inf"):
            raise click.UsageError(f"--weight {value}: a weight is a positive number")
        (space,) = searcher.space_names([name])
        if space not in weights:
            raise click.UsageError(f"--weight {value}: {space} is not searched; name it by --space as well")
        weights[space] = weight
    return list(weights.values())


def _table(hits: Hits) -> str:
    if not hits.hits:
        return "\n".join(["no hits: nothing was left to search", *_findings(hits)])
    columns = [
        ("rank", [str(hit.rank) for hit in hits], ">"),
        ("id", [str(hit.id) for hit in hits], ">"),
        ("class", [one_line(hit.class_name or "-") for hit in hits], "<"),
        (hits.score_kind, [f"{hit.score:.4f}" for hit in hits], ">"),
        *_distances(hits),
        *_chances(hits),
        *_scenes(hits),
        *_duplicates(hits),
        ("file", [one_line(hit.file) for hit in hits], "<"),
    ]
    widths = [max(display_width(heading), *map(display_width, cells)) for heading, cells, _ in columns]
    rows = zip(*([heading, *cells] for heading, cells, _ in columns), strict=True)
    sides = [side for _, _, side in columns]
    lines = ["  ".join(map(padded, row, widths, sides)).rstrip() for row in rows]
    counts = ", ".join(f"{count} {one_line(name or 'without class')}" for name, count in hits.class_counts.items())
    fused = f", fused by {hits.fusion}" if hits.fusion else ""
    lines.append(f"{len(hits)} of {hits.searched:,} images, by {' + '.join(hits.spaces)}{fused}: {counts}")
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
    return "\n".join(lines + _findings(hits))


def _findings(hits: Hits) -> list[str]:
    """Lines on texts that were matched to classes, a strange picture, and classes of the query by words or chances."""
    notes = [f"note: {one_line(str(match))}" for match in hits.text_matches]
    notes += [] if hits.novelty is None else [f"note: {one_line(str(hits.novelty))}"]
    if hits.zero_shot is not None:
        shares = ", ".join(f"{one_line(name)} {share:.2f}" for name, share in hits.zero_shot.items())
        notes.append(f"classes by words alone: {shares}")
    return notes + ([] if hits.findings is None else [f"findings {one_line(str(hits.findings))}"])


def _chances(hits: Hits) -> list[tuple[str, list[str], str]]:
    """The column of chances, where they are calibrated."""
    if hits.findings is None:
        return []
    return [("chance", ["-" if hit.chance is None else f"{hit.chance:.2f}" for hit in hits], ">")]


def _scenes(hits: Hits) -> list[tuple[str, list[str], str]]:
    """The column of hits that show the query's or each other's scene, where there are any."""
    notes = hits.scene_notes
    return [("scene", [notes.get(hit.id, "-") for hit in hits], "<")] if notes else []


def _duplicates(hits: Hits) -> list[tuple[str, list[str], str]]:
    """The column of near duplicates that were folded into hits, where there are any."""
    if not any(hit.near_duplicates for hit in hits):
        return []
    return [("near duplicates", [", ".join(map(str, hit.near_duplicates)) or "-" for hit in hits], "<")]


def _distances(hits: Hits) -> list[tuple[str, list[str], str]]:
    """The column of distances, where one space was searched."""
    if len(hits.spaces) > 1:
        return []
    return [("distance", ["-" if hit.distance is None else f"{hit.distance:.4f}" for hit in hits], ">")]
