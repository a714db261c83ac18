"""The search pages: the form, the hits, one hit next to the query."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

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
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response as BaseResponse

from retrieval.class_words import UnknownWordsError
from retrieval.collection import Collection
from retrieval.errors import PictureError, QueryError
from retrieval.query import Part
from retrieval.reasons.overlay import boxes
from web.context import collection, searcher, state
from web.download import MEDIA_TYPES, hits_as_csv, hits_as_json, hits_as_zip, paced
from web.errors import BadOptionError, NoPictureError
from web.limits import rate_limited
from web.pages.comparison import distances_to, reason_spaces
from web.pages.figures import class_stylesheet
from web.pages.forms import (
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
from web.pages.results import SCORES, found, more_hits, parts_shown, shown_values
from web.pages.template_values import LOOKS, default_options, template_values, tip_id
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
)
from web.problems import status_of, wants_json
from web.responses import image_to_dict, images_to_dicts
from web.search import (
    MAX_PARTS,
    SearchOptions,
    embedding_turn,
    parsing_turn,
    reasons,
    require_pixels,
    search_classes,
)
from web.served_picture import reduced

blueprint = Blueprint("pages", __name__)
blueprint.app_context_processor(template_values)
blueprint.add_app_template_global(tip_id)

_HERE = re.compile(r"/(?![/\\])[^\x00-\x20\x7f]*")
"""An address of this server; browsers drop tabs and the like, and take a backslash for a slash."""
OF_EACH_CLASS = 4
"""Images of each class that stand side by side."""
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
        return _query_page(fields, options, str(error), vector), status_of(error)
    values: dict[str, Any] = {name: fields.getlist(name) for name in fields}
    return _led_on(url_for("pages.results", **values))


@blueprint.post("/search/among")
@rate_limited
def among() -> BaseResponse:
    """Remember the selected images of a map, and lead on to the form of a search among them."""
    return redirect(url_for("pages.query", among=cache_selection(form_ids(request.form.get("ids", "")))), 303)


@blueprint.get("/results")
@rate_limited
def results() -> str | tuple[str, int]:
    """The hits of a search; words that describe no class are told beside those of its pictures, or in the form."""
    page = page_search(filled_fields(request.args))
    try:
        return _results_page(page)
    except UnknownWordsError as error:
        pictures = page.without_words()
        if pictures is None:
            return _query_page(page.fields, page.options, str(error)), status_of(error)
        return _results_page(pictures, str(error)), status_of(error)


@blueprint.post("/results/parts")
@rate_limited
def add_parts() -> BaseResponse | tuple[str, int]:
    """Take further pictures of a search, cache them, and lead on to the address of its hits with them as parts."""
    with parsing_turn():
        fields = filled_fields(request.form)
    vector = fields.pop("vector", "").strip(), fields.pop("vector_space", "")
    page = page_search(fields)
    try:
        added = _given_parts(page.options, *vector, page.query.parts)
        if not added:
            raise NoPictureError("choose a picture to add, or give a vector, first")
        grown = page.with_parts(added)
        require_encoders(grown)
    except (PictureError, QueryError) as error:
        if wants_json():
            raise
        return _results_page(page, str(error), vector), status_of(error)
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
        pictures=parts_shown(page),
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
    hits, _ = found(page)
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
    hits, _ = found(page)
    at = hits.ids.index(hit_id) if hit_id in hits.ids else None
    with embedding_turn(page.query):
        distances = distances_to(page, hit_id)
    told = reasons(page.query, hit_id, reason_spaces(hits)) if agreement else None
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
        **shown_values(page, hits),
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


def _query_page(
    fields: MultiDict[str, str],
    options: SearchOptions | None = None,
    error: str | None = None,
    vector: tuple[str, str] | None = None,
) -> str:
    """The form, filled; vector: the numbers and the space that were given and are not taken."""
    opened = collection()
    picked = image_to_dict(opened, image_number(fields["image"])) if "image" in fields else None
    name = fields.get(AMONG)
    ids = None if name is None else selected_images(name)
    return render_template(
        "query.html",
        error=error,
        vector=vector,
        picked=picked,
        words=fields.get("text", ""),
        options=options or default_options(),
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


def _results_page(page: PageSearch, error: str | None = None, vector: tuple[str, str] | None = None) -> str:
    hits, copies = found(page)
    shown = shown_values(page, hits)
    shown |= {"copies": copies, "more": more_hits(hits, page), "error": error, "vector": vector}
    return render_template("results.html", search=page, **shown)


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
