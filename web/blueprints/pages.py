"""The search pages: the form, the hits, one hit next to the query."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import cache
from typing import Any
from urllib.parse import urlencode

import numpy as np
from flask import (
    Blueprint,
    Response,
    jsonify,
    make_response,
    redirect,
    render_template,
    request,
    stream_with_context,
    url_for,
)
from numpy.typing import NDArray
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response as BaseResponse

from indexer.near_duplicates.uploads import Copies
from retrieval.collection import Collection, Manifest, SpaceDefinition, SpaceNameError
from retrieval.embedder import EmbeddedQuery
from retrieval.errors import PictureError, QueryError
from retrieval.fusion import METHODS
from retrieval.hits import Hits
from retrieval.learn.calibration_store import stored_calibrations
from retrieval.query import Part
from retrieval.reasons.overlay import boxes
from retrieval.report.best import best_of
from retrieval.rerank import METHODS as RERANKERS
from retrieval.spaces import Space, embedding_spaces
from web.access import may_read
from web.context import collection, searcher, state
from web.copies import copies_of
from web.download import MEDIA_TYPES, hits_as_csv, hits_as_json, hits_as_zip, paced
from web.errors import BadOptionError, NoPictureError
from web.figures import HEIGHT, WIDTH, class_stylesheet, colour_number, curves
from web.forms import (
    AMONG,
    PagePart,
    PageSearch,
    cache_selection,
    filled_fields,
    form_ids,
    image_number,
    page_search,
    require_encoders,
    require_region,
    require_rerankable,
    search_options,
    selected_images,
    vector_part,
)
from web.limits import rate_limited
from web.pictures import (
    PREVIEW,
    cache_query,
    cached_query,
    checked,
    chosen_pictures,
    draw_once,
    drawn,
    not_modified,
    picture_response,
    require_picture,
    version_of,
)
from web.problems import status_of, wants_json
from web.responses import image_links, image_to_dict, images_to_dicts, without_folders
from web.search import (
    MAX_K,
    MAX_PARTS,
    SearchOptions,
    embedding_turn,
    parsing_turn,
    reasons,
    require_pixels,
    search,
    search_classes,
)
from web.served_picture import reduced

blueprint = Blueprint("pages", __name__)

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
_HERE = re.compile(r"/(?![/\\])[^\x00-\x20\x7f]*")
"""An address of this server; browsers drop tabs and the like, and take a backslash for a slash."""
LOOKS = ("light", "dark")
DEFAULT_K = 12
"""Hits of a search that states no number of its own."""
OF_EACH_CLASS = 4
"""Images of each class that stand side by side."""
MAX_UNSEEN = 500
"""Images that an address may leave out as shown before."""
SUGGESTED = 18
"""Images of the collection that the first page offers as a start."""


@blueprint.get("/")
def query() -> str:
    """The form of a search."""
    return _query_page(filled_fields(request.args))


@blueprint.post("/search")
@rate_limited
def submit() -> BaseResponse | tuple[str, int]:
    """Take pictures and a vector, cache them, and lead on to the address of their hits."""
    with parsing_turn():
        fields = filled_fields(request.form)
    vector = fields.pop("vector", "").strip(), fields.pop("vector_space", "")
    options = None
    try:
        options = search_options(fields)
        given = _given_parts(options, *vector)
        if any(isinstance(part.picture, bytes) for part in given):
            fields.pop("image", None)
        if given and "image" not in fields:
            fields["upload"] = str(given.pop(0).name)
        if given:
            fields["more"] = ",".join(str(part.name) for part in given)
        if not {"image", "upload", "text"}.intersection(fields):
            raise NoPictureError("choose a picture first, describe one in words, or pick one from the collection")
        chosen = page_search(fields, options)
        require_region(chosen)
        require_encoders(chosen)
        require_rerankable(chosen)
    except (PictureError, QueryError) as error:
        if wants_json():
            raise
        return _query_page(fields, options, str(error)), status_of(error)
    values: dict[str, Any] = {name: fields.getlist(name) for name in fields}
    return _led_on(url_for("pages.results", **values))


@blueprint.post("/search/among")
@rate_limited
def among() -> BaseResponse:
    """Remember the selected images of a map, and lead on to the form of a search among them."""
    return redirect(url_for("pages.query", among=cache_selection(form_ids(request.form.get("ids", "")))), 303)


@blueprint.get("/results")
@rate_limited
def results() -> str:
    """The hits of a search."""
    return _results_page(page_search(filled_fields(request.args)))


@blueprint.post("/results/parts")
@rate_limited
def add_parts() -> BaseResponse | tuple[str, int]:
    """Take further pictures of a search, cache them, and lead on to the address of its hits with them as parts."""
    with parsing_turn():
        fields = filled_fields(request.form)
    numbers, space = fields.pop("vector", "").strip(), fields.pop("vector_space", "")
    page = page_search(fields)
    try:
        added = _given_parts(page.options, numbers, space, page.query.parts)
        if not added:
            raise NoPictureError("choose a picture to add, or give a vector, first")
        grown = page.with_parts(added)
        require_encoders(grown)
    except (PictureError, QueryError) as error:
        if wants_json():
            raise
        return _results_page(page, str(error)), status_of(error)
    return _led_on(grown.address())


@blueprint.get("/results/classes")
@rate_limited
def classes() -> str:
    """The nearest images of each class side by side, as a teacher shows what may be taken for what."""
    page = page_search(filled_fields(request.args))
    options = page.options.model_copy(update={"region": None, "k": min(page.options.k, OF_EACH_CLASS)})
    nearest = search_classes(page.query, options)
    score_kind = next((hits.score_kind for hits in nearest.values()), "similarity")
    return render_template(
        "classes.html",
        search=page,
        nearest=nearest,
        options=page.options,
        pictures=_pictures(page),
        score_name=SCORES[score_kind][0],
        score_text=SCORES[score_kind][1],
    )


@blueprint.get("/results/hits.<kind>")
@rate_limited
def download(kind: str) -> Response:
    """The hits of a search as a file: csv, json, or a zip with the pictures."""
    if kind not in MEDIA_TYPES:
        raise BadOptionError(f"hits are downloaded as {', '.join(MEDIA_TYPES)}, not as '{kind[:20]}'")
    page = page_search(filled_fields(request.args))
    hits, _ = _hits(page)
    k, queries = page.options.k, [part.picture for part in page.parts if part.picture is not None]
    headers = {"Content-Disposition": f"attachment; filename=hits.{kind}"}
    if kind != "zip":
        body = hits_as_csv(hits) if kind == "csv" else hits_as_json(hits, k)
        return Response(body, mimetype=MEDIA_TYPES[kind], headers=headers)
    with ExitStack() as turn:
        turn.enter_context(state().downloads.slot())
        parts = paced(hits_as_zip(hits, k, queries), request.environ.get("gunicorn.socket"))
        response = Response(stream_with_context(parts), mimetype=MEDIA_TYPES[kind], headers=headers)
        response.call_on_close(turn.pop_all().close)
    return response


@blueprint.get("/answer")
def earlier_address() -> BaseResponse:
    """Links that were kept lead on: /results was /answer."""
    values: dict[str, Any] = {name: request.args.getlist(name) for name in request.args}
    return redirect(url_for("pages.results", **values), 308)


@blueprint.get("/compare")
@rate_limited
def compare() -> str:
    """One hit next to the query, with its distance in every space."""
    fields = filled_fields(request.args)
    hit_id = image_number(fields.pop("hit", ""))
    agreement = fields.pop("agreement", None) is not None
    page = page_search(fields)
    agreement &= page.first.text is None and page.first.vector is None  # which have no places
    image = image_to_dict(collection(), hit_id)
    hits, _ = _hits(page)
    at = hits.ids.index(hit_id) if hit_id in hits.ids else None
    with embedding_turn(page.query):
        distances = _distances(page, hit_id)
    told = reasons(page.query, hit_id, _reason_spaces(hits)) if agreement else None
    return render_template(
        "compare.html",
        search=page,
        reasons=told,
        agreement=None if told is None else next(iter(told.agreements.values()), None),
        boxes=boxes,
        kept={"agreement": 1} if agreement else {},
        image=image,
        hit=None if at is None else hits[at],
        before=hits.ids[at - 1] if at else None,
        after=hits.ids[at + 1] if at is not None and at + 1 < len(hits) else None,
        distances=distances,
        similarities={
            name: float(searcher().metric(name).scores(np.array(distance)))
            for name, distance in distances.items()
            if distance is not None
        },
        **_shown(page, hits),
    )


@blueprint.get("/queries/<name>.jpg")
def query_picture(name: str) -> Response:
    """An uploaded query as the page shows it; nothing of its metadata is left."""
    if response := not_modified("query", name):
        return response
    limit = state().settings.max_pixels
    _, data = draw_once("query", name, lambda: (name, drawn(reduced, cached_query(name), PREVIEW, limit)))
    return picture_response(data, "image/jpeg", "query", name)


@blueprint.get("/classes.css")
def classes_css() -> Response:
    """The classes' colours."""
    return Response(class_stylesheet(), mimetype="text/css")


@blueprint.post("/theme")
def theme() -> BaseResponse:
    """Choose the dark or the light look, or the system's again; for browsers without JavaScript as well."""
    back = request.form.get("back", "")
    if not _HERE.fullmatch(back):
        back = url_for("pages.query")
    response = redirect(back, 303)
    look, path = request.form.get("to"), request.script_root or "/"
    if look in LOOKS:
        response.set_cookie("theme", look, max_age=31_536_000, path=path, samesite="Strict", httponly=True)
    else:
        response.delete_cookie("theme", path=path, samesite="Strict", httponly=True)
    return response


@blueprint.app_context_processor
def common() -> dict[str, Any]:
    """What every template may use: of the collection nothing, not even its name, where reading needs a key."""
    chosen = request.cookies.get("theme")
    theme = {"theme": chosen if chosen in LOOKS else None}  # without a choice the system's look is followed
    if not may_read():
        return theme
    opened = collection()
    return theme | {
        "collection": opened,
        "best": best_of(opened),
        "sentence_of": lambda name: searcher().space(name).sentence,
        "details_of": lambda name: without_folders(_details(searcher().space(name))),
        "link_by_default": _link_by_default(),
        "class_of": opened.class_of,
        "colour_of": lambda name: _colour_of(opened, name),
        "settings": state().settings,
        "offered_spaces": lambda: _offered_spaces(opened.manifest),
        "spelled_spaces": lambda options: _spelled_spaces(opened.manifest, options),
        "ordered_weights": lambda options: _ordered_weights(opened.manifest, options),
        "offered_chances": _offered_chances,
        "rerankers": tuple(RERANKERS),
        "offered_rerankers": _offered_rerankers,
        "rerankable": lambda: bool(embedding_spaces(opened.manifest)),
        "calibrations": lambda: [calibration.name for calibration in stored_calibrations(opened)],
        "takes_pictures": any(searcher().space(space.name).embeds_pictures for space in opened.spaces),
        "text_spaces": searcher().text_spaces(),
        "takes_words": bool(opened.classes or searcher().text_spaces()),
        "fusions": {method.name: method.summands for method in METHODS.values()},
        "version_of": lambda image_id: version_of(opened, image_id),
    }


_tips = itertools.count()


@blueprint.app_template_global()
def tip_id() -> str:
    """An id for an explanation, another one each time."""
    return f"tip-{next(_tips)}"


def _default_options() -> SearchOptions:
    """What a search begins with: the spaces that retrieve best, where that was measured and they can be searched."""
    takes_pictures = any(searcher().space(space.name).embeds_pictures for space in collection().spaces)
    return SearchOptions.model_validate(_default_values(takes_pictures))


def _default_fields() -> dict[str, Any]:
    """The same as an address states it."""
    values = _default_values(pictures=False)
    return values | ({"weights": ",".join(map(str, values["weights"]))} if "weights" in values else {})


def _link_by_default() -> Callable[[int], str]:
    """A function from an image id to the address of what a search by it begins with."""

    @cache
    def parts() -> tuple[str, str]:
        return url_for("pages.results"), urlencode(_default_fields(), doseq=True, safe=",")

    def link(image_id: int) -> str:
        path, fields = parts()
        return f"{path}?image={image_id}&{fields}"

    return link


def _default_values(pictures: bool) -> dict[str, Any]:
    """pictures: whether the query may be one from outside, for which every space needs an encoder."""
    best = best_of(collection())
    if best is None or (pictures and not all(searcher().space(name).embeds_pictures for name in best.spaces)):
        return {"k": DEFAULT_K, "fold": "true"}
    weights = {} if best.weights is None else {"weights": list(best.weights)}
    fusion = {"fusion": best.fusion} if len(best.spaces) > 1 else {}
    return {"k": DEFAULT_K, "fold": "true", "spaces": list(best.spaces)} | weights | fusion


def _details(space: Space) -> list[str]:
    """How a space was made, in lines for a person; of a recipe that lacks a field, its fields as they are."""
    try:
        return [*space.details, *([f"its vectors are {space.origin}"] if space.origin else [])]
    except KeyError:
        return [f"{name.replace('_', ' ')}: {value}" for name, value in space.definition.recipe.items()]


def _offered_spaces(manifest: Manifest) -> list[SpaceDefinition]:
    """The default space, the others, and last those that another space replaces."""
    compared = manifest.compared
    return sorted(manifest.spaces, key=lambda space: (space not in compared, space != manifest.default))


def _spelled_spaces(manifest: Manifest, options: SearchOptions | None) -> list[str]:
    """The names of the spaces that are searched, as the collection spells them; unknown ones are left out."""
    if options is None or options.spaces is None:
        return [] if manifest.default is None else [manifest.default.name]
    names = []
    for name in options.spaces:
        with suppress(SpaceNameError):
            names.append(manifest.space(name).name)
    return names


def _ordered_weights(manifest: Manifest, options: SearchOptions) -> list[str]:
    """The weights of the spaces in the order in which the form offers these, which is the order that it sends."""
    names, weights = (
        _spelled_spaces(manifest, options),
        [f"{weight!r}".removesuffix(".0") for weight in options.weights or ()],
    )
    if len(names) != len(weights):
        return weights
    of_space = dict(zip(names, weights, strict=True))
    return [of_space[space.name] for space in _offered_spaces(manifest) if space.name in of_space]


def _offered_chances(options: SearchOptions | None) -> list[float]:
    """The least chances to choose from, with the one that is chosen."""
    chosen = None if options is None else options.min_chance
    return sorted({0.5, 0.8, 0.9, 0.95} | (set() if chosen is None else {chosen}))


def _offered_rerankers(options: SearchOptions | None) -> list[str]:
    """The ways of re-ranking to choose from, with the one that is chosen, such as `mmr:0.5`."""
    chosen = None if options is None else options.rerank
    return list(dict.fromkeys([*RERANKERS, *([chosen] if chosen else [])]))


def _colour_of(opened: Collection, name: str | None) -> int:
    return colour_number(opened.classes.index(name)) if name in opened.classes else -1


def _query_page(fields: MultiDict[str, str], options: SearchOptions | None = None, error: str | None = None) -> str:
    opened = collection()
    picked = image_to_dict(opened, image_number(fields["image"])) if "image" in fields else None
    name = fields.get(AMONG)
    ids = None if name is None else selected_images(name)
    return render_template(
        "query.html",
        error=error,
        picked=picked,
        words=fields.get("text", ""),
        options=options or _default_options(),
        suggested=_suggested(opened, ids),
        among=None if ids is None else {"name": name, "ids": ids},
    )


def _led_on(address: str) -> BaseResponse:
    """To the hits of a form; a script goes there itself."""
    if wants_json():
        return make_response(jsonify({"location": address}), 201, {"Location": address})
    return redirect(address, 303)


def _given_parts(options: SearchOptions, numbers: str, space: str, known: Sequence[Part] = ()) -> list[PagePart]:
    """The pictures and the vector that a form gives, beside the parts that a query has; cached once all pictures fit.

    Raises BadOptionError, VectorError, BatchTooLargeError, a PictureError.
    """
    pictures = [checked(data) for data in chosen_pictures("picture")]
    if (count := len(known) + len(pictures) + bool(numbers)) > MAX_PARTS:
        raise BadOptionError(f"a query has at most {MAX_PARTS} parts, not {count}")
    if pictures:
        with state().decodings.slot():
            for data in pictures:
                require_picture(data)
            require_pixels([*known, *(Part(picture=data) for data in pictures)])
    vectors = [vector_part(numbers, space, options)] if numbers else []
    return [*(PagePart(data, upload=cache_query(data)) for data in pictures), *vectors]


def _results_page(page: PageSearch, error: str | None = None) -> str:
    hits, copies = _hits(page)
    shown = _shown(page, hits)
    return render_template("results.html", search=page, copies=copies, more=_more(hits, page), error=error, **shown)


def _suggested(opened: Collection, among: list[int] | None = None) -> list[dict[str, Any]]:
    """Some images from every class in turn, the same ones each time; among: of these alone."""
    ids, labels = opened.images.ids, opened.images.labels
    if among is not None:
        selected = np.isin(ids, among)
        ids, labels = ids[selected], labels[selected]
    classes = [ids[labels == label].tolist() for label in np.unique(labels)]
    rounds = -(-SUGGESTED // max(len(classes), 1))
    # Spread over its class; of a class with fewer images than rounds, each once.
    order = [
        members[len(members) * turn // min(rounds, len(members))]
        for turn in range(rounds)
        for members in classes
        if turn < len(members)
    ]
    return images_to_dicts(opened, order[:SUGGESTED])


def _shown(page: PageSearch, hits: Hits) -> dict[str, Any]:
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
        "pictures": _pictures(page),
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


def _hits(page: PageSearch) -> tuple[Hits, Copies | None]:
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


def _more(hits: Hits, page: PageSearch) -> int | None:
    """How many hits the next address shows; None where there are no more."""
    most = min(2 * page.options.k, MAX_K, hits.searched)
    return most if most > page.options.k == len(hits) else None


def _pictures(page: PageSearch) -> list[dict[str, Any]]:
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


def _distances(page: PageSearch, hit_id: int) -> dict[str, float | None]:
    """From the query to one image, in every space of the collection: the weighted mean over the query's parts."""
    engine = searcher()
    names = [space.name for space in engine.collection.spaces]
    of_hit = _stored_vectors(engine.collection, hit_id, names)
    known = set(of_hit)
    for part in page.query.parts:
        if part.text is not None:
            known &= set(engine.spaces_of_text(part.text))
        elif part.vector is not None:
            known &= {part.space}
        elif part.image_id is not None and part.region is None:
            known &= set(_stored_vectors(engine.collection, part.image_id, names))
        else:
            known &= {name for name in names if engine.space(name).embeds_pictures}
    distances: dict[str, float | None] = dict.fromkeys(names)
    if known:  # all at once, so that a picture is not decoded for each space
        of_query = engine.embed(page.query, [name for name in names if name in known]).vectors
        for name, made in of_query.items():
            each = engine.metric(name).distances(made.vectors, of_hit[name][None])[:, 0]
            distance = float(made.weights @ each / made.positive)
            distances[name] = distance if made.is_signed else max(0.0, distance)
    return distances


def _reason_spaces(hits: Hits) -> list[str]:
    """The first space of embeddings that was searched, or that the collection has, and every descriptor."""
    opened = collection()
    embeddings = embedding_spaces(opened.manifest)
    compared = [space.name for space in opened.manifest.compared]
    first = [name for name in (*hits.spaces, *compared) if name in embeddings][:1]
    return first + [space.name for space in opened.spaces if searcher().space(space.name).shipped is not None]


def _stored_vectors(opened: Collection, image_id: int, names: list[str]) -> dict[str, NDArray[Any]]:
    """An image's vectors, in the spaces where it has one."""
    return {name: vector for name in names if (vector := opened.vector(name, image_id)) is not None}
