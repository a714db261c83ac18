"""What the pages show of a search: its hits, and of its query the parts, the marks and the copies in the collection."""

from __future__ import annotations

from typing import Any

from flask import url_for

from indexer.near_duplicates.uploads import Copies
from retrieval.embedder import EmbeddedQuery
from retrieval.fusion import METHODS
from retrieval.hits import Hits
from web.context import collection
from web.copies import copies_of
from web.pages.figures import HEIGHT, WIDTH, curves
from web.pages.forms import PagePart, PageSearch
from web.responses import image_links
from web.search import MAX_K, SearchOptions, search

SCORES = {
    "similarity": (
        "Similarity",
        "Similarity: 1 for equal pictures, smaller the less alike they are in the space that was searched.",
    ),
    "text similarity": (
        "Similarity to the words",
        "Cosine of the picture with the words, averaged with that to the query's pictures where it has some: larger is "
        "better. Words and pictures are never alike, so even the best stays far below 1: compare within one search.",
    ),
    "class similarity": (
        "Similarity to the classes",
        "Similarity to the mean of the pictures of the classes that the words describe, averaged with that to the "
        "query's pictures where it has some: 1 for a picture that equals it.",
    ),
    "balance": (
        "Balance",
        "Similarity to what is wanted less that to what is not, by the weights: larger is better. It is no similarity.",
    ),
    "re-ranked similarity": (
        "Re-ranked",
        "Score after re-ranking: larger is more similar, judged with the images around. Distances are as before it.",
    ),
    "fused ranks": (
        "Fused ranks",
        "Score of the ranks in all chosen spaces: 1 for an image that is first in every one. It is not a similarity.",
    ),
    "fused scores": (
        "Fused scores",
        "Score from the similarities in all chosen spaces, brought to one scale. It is not a similarity of one space.",
    ),
}
"""Name and explanation of each kind of score."""
_WITHOUT_SCALE = ("text similarity", "balance")
"""Kinds of scores whose bars are as long as their share of the largest, since no number is a perfect score."""
MAX_UNSEEN = 500
"""Images that an address may leave out as shown before."""


def shown_values(page: PageSearch, hits: Hits) -> dict[str, Any]:
    """What the templates of hits, and of one hit beside the query, show of a search. Raises NoSuchImageError."""
    score_name, score_text = SCORES[hits.score_kind]
    return {
        "score_name": score_name,
        "score_text": score_text,
        "full_bar": max([1e-9 if hits.score_kind in _WITHOUT_SCALE else 1.0, *(hit.score for hit in hits)]),
        "marks": (marks := _marks(page.options)),
        **_unseen(page.options, hits, marks),
        "fused_by": METHODS[hits.fusion].summands if hits.fusion else None,
        "hits": hits,
        "findings": hits.findings,
        "headline": _headline(hits),
        "thumbnail_of": lambda image_id: image_links()(image_id)["thumbnail"],
        "quality": hits.quality,
        "scene_notes": hits.scene_notes,
        "shares": [(name, count) for name, count in hits.class_counts.items()],
        "curves": curves(hits),
        "curve_size": (WIDTH, HEIGHT),
        "pictures": parts_shown(page),
        "options": page.options,
    }


def _marks(options: SearchOptions) -> list[dict[str, Any]]:
    """The marked images: whether each fits, and its thumbnail. Raises NoSuchImageError."""
    links, opened = image_links(), collection()
    marks = [(i, True) for i in options.relevant or ()] + [(i, False) for i in options.irrelevant or ()]
    for image_id, _ in marks:
        opened.position(image_id)
    return [{"image_id": i, "fits": fits, "thumbnail": links(i)["thumbnail"]} for i, fits in marks]


def _unseen(options: SearchOptions, hits: Hits, marks: list[dict[str, Any]]) -> dict[str, Any]:
    """Ids of what was shown or marked, which a search for new images leaves out, and how many an address is too short
    for: the farthest hits.
    """
    before = options.exclude_ids or ()
    ids = list(dict.fromkeys([*before, *(mark["image_id"] for mark in marks), *hits.ids]))
    most = max(MAX_UNSEEN, len(before))
    return {"unseen": ids[:most], "seen_again": max(0, len(ids) - most)}


def _headline(hits: Hits) -> str:
    """Which class most of the hits have, or which ones where several have equally many."""
    total, most = len(hits), max(hits.class_counts.values(), default=0)
    leaders = [name or "without a class" for name, count in hits.class_counts.items() if count == most]
    images = "most similar image" if total == 1 else f"{total} most similar images"
    if hits.class_counts.keys() <= {None}:
        return f"The {images}"
    if total == 1:
        return f"The {images} is {leaders[0]}"
    if len(leaders) > 1:
        return f"{' and '.join((', '.join(leaders[:-1]), leaders[-1]))}: {most} each of the {images}"
    return f"{'All' if most == total else f'{most} of the'} {images} {'is' if most == 1 else 'are'} {leaders[0]}"


def found(page: PageSearch) -> tuple[Hits, Copies | None]:
    """The hits, and the images that show an uploaded picture, left out with its near duplicates or its scene."""
    options = page.options.model_copy(update={"region": None})  # its first part has it
    uploads, copies = page.uploads, None
    if not uploads:
        return search(page.query, options), None
    whole = page.is_whole_picture

    def adjusted(embedded: EmbeddedQuery) -> SearchOptions:
        nonlocal copies
        each = [copies_of(name, data, embedded if whole else None) for name, data in uploads.items()]
        if known := [one for one in each if one is not None]:
            ids = sorted({image_id for one in known for image_id in one.ids})
            copies = Copies(tuple(ids), all(one.exact for one in known))
        if copies is None or not (options.exclude_cluster or options.exclude_scene):
            return options
        left_out = {*(options.exclude_ids or ()), *copies.ids}
        if options.exclude_scene:
            images = collection().images
            left_out |= {other for one in copies.ids for other in images.scene_of(one).tolist()}
        return options.model_copy(update={"exclude_ids": sorted(left_out)})

    hits = search(page.query, options, adjusted)
    return hits, copies


def more_hits(hits: Hits, page: PageSearch) -> int | None:
    """How many hits the next address shows; None where there are no more."""
    most = min(2 * page.options.k, MAX_K, hits.searched)
    return most if most > page.options.k == len(hits) else None


def parts_shown(page: PageSearch) -> list[dict[str, Any]]:
    """What shows of each part of a query: its picture or words, name, class, weight, and the address without it."""
    links, opened = image_links(), collection()
    shown: list[dict[str, Any]] = []
    for at, part in enumerate(page.parts):
        if part.text is not None:
            addresses = {"text": part.text}
        elif part.vector is not None:
            addresses = {"vector": f"A vector of {len(part.vector):,} numbers, {part.space}"}
        elif part.image_id is None:
            addresses = dict.fromkeys(("picture", "thumbnail"), url_for("pages.query_picture", name=part.upload))
        else:
            addresses = links(part.image_id)
        shown.append(
            {
                "image_id": part.image_id,
                "name": part.name,
                "called": _called(part, sum(one["image_id"] is None for one in shown) + 1),
                "class": None if part.image_id is None else opened.class_of(part.image_id),
                "weight": f"{part.weight:g}",
                "without": page.link_without(at),
                "region": page.region_of(at),
                **addresses,
            }
        )
    return shown


def _called(part: PagePart, number: int) -> str:
    """What a page calls a part of a query; number: of the parts so far that are no images of the collection."""
    if part.text is not None:
        return "the words"
    if part.image_id is not None:
        return f"image {part.image_id}"
    kind = "your picture" if part.vector is None else "your vector"
    return kind if number == 1 else f"{kind} {number}"
