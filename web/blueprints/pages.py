"""The pages: ask, see the answer, compare."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
from flask import Blueprint, Response, jsonify, make_response, redirect, render_template, request, url_for
from numpy.typing import NDArray
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response as BaseResponse

from retrieval.collection import Collection
from retrieval.errors import PictureError, QueryError
from retrieval.hits import Hits
from retrieval.search import Searcher
from web.asking import Asking, asking_of, filled, image_id_of, options_of, require_region
from web.blueprints.images import unchanged
from web.curves import HEIGHT, WIDTH, curves
from web.described import described
from web.kept_queries import keep_query, kept_query
from web.palette import colour_number, stylesheet
from web.pictures import PREVIEW, drawn_once, small
from web.problems import status_of, wants_json
from web.question import NoPictureError, SearchOptions, require_picture, search
from web.rate import limited
from web.state import state

blueprint = Blueprint("pages", __name__)

SCORE = "Similarity: 1 for equal pictures, smaller the less alike they are in the space that was searched."
FUSED_SCORE = "Similarity from the ranks in all chosen spaces: 1 for an image that is first in every one."
_HERE = re.compile(r"/(?![/\\])[^\x00-\x20\x7f]*")
"""An address of this server; browsers drop tabs and the like, and take a backslash for a slash."""
SUGGESTED = 18
"""Images of the collection that the first page offers as a start."""


@blueprint.get("/")
def query() -> str:
    """The page that asks for a picture."""
    return _query_page(filled(request.args))


@blueprint.post("/search")
@limited
def submit() -> BaseResponse | tuple[str, int]:
    """Take a picture, keep it for a while, and lead on to the address of its answer."""
    fields = filled(request.form)
    files = [data for file in request.files.getlist("picture") if (data := file.read())]
    options = None
    try:
        options = options_of(fields)
        if files:
            require_picture(files[0])
            fields["upload"] = keep_query(state().uploads, files[0])
            fields.pop("image", None)
        elif "image" not in fields and "upload" not in fields:
            raise NoPictureError("choose a picture first, or pick one from the collection")
        require_region(asking_of(fields))
    except (PictureError, QueryError) as error:
        if wants_json():
            raise
        return _query_page(fields, options, str(error)), status_of(error)
    values: dict[str, Any] = {name: fields.getlist(name) for name in fields}
    place = url_for("pages.answer", **values)
    if wants_json():
        return make_response(jsonify({"location": place}), 201, {"Location": place})
    return redirect(place, 303)


@blueprint.get("/answer")
@limited
def answer() -> str | tuple[str, int]:
    """The hits of a query."""
    asking = asking_of(filled(request.args))
    hits = search(asking.asked, asking.options)
    return render_template("answer.html", asking=asking, **_shown(asking, hits))


@blueprint.get("/compare")
@limited
def compare() -> str:
    """One hit beside the query, with its distance in every space."""
    fields = filled(request.args)
    hit_id = image_id_of(fields.pop("hit", ""))
    asking = asking_of(fields)
    searcher = state().live.searcher
    collection = searcher.collection
    image = described(collection, collection.position(hit_id))
    hits = search(asking.asked, asking.options)
    at = hits.ids.index(hit_id) if hit_id in hits.ids else None
    with state().gate.enter():
        distances = _distances(searcher, asking, hit_id)
    return render_template(
        "compare.html",
        asking=asking,
        image=image,
        hit=None if at is None else hits[at],
        before=hits.ids[at - 1] if at else None,
        after=hits.ids[at + 1] if at is not None and at + 1 < len(hits) else None,
        distances=distances,
        similarities={
            name: float(searcher.metric(name).scores(np.array(distance)))
            for name, distance in distances.items()
            if distance is not None
        },
        **_shown(asking, hits),
    )


@blueprint.get("/queries/<name>.jpg")
def query_picture(name: str) -> Response:
    """An uploaded query as the page shows it; nothing of its metadata is left."""
    held = state()
    if response := unchanged(f"query-{name}"):
        return response
    limit = held.settings.max_pixels
    data = drawn_once(held, f"query-{name}", lambda: small(kept_query(held.uploads, name), PREVIEW, limit))
    response = Response(data, mimetype="image/jpeg")
    response.set_etag(f"{held.live.version}-query-{name}")
    return response


@blueprint.get("/classes.css")
def classes_css() -> Response:
    """The classes' colours."""
    return Response(stylesheet(), mimetype="text/css")


@blueprint.post("/theme")
def theme() -> BaseResponse:
    """Switch between the dark and the light look, for browsers without JavaScript as well."""
    back = request.form.get("back", "/")
    if not _HERE.fullmatch(back):
        back = "/"
    response = redirect(back, 303)
    look = "light" if request.form.get("to") == "light" else "dark"
    response.set_cookie("theme", look, max_age=31_536_000, samesite="Strict", httponly=True)
    return response


@blueprint.app_context_processor
def common() -> dict[str, Any]:
    """What every template may use."""
    collection = state().live.searcher.collection
    return {
        "collection": collection,
        "theme": "light" if request.cookies.get("theme") == "light" else "dark",
        "colour_of": lambda name: _colour_of(collection, name),
        "settings": state().settings,
        "version": state().live.version,
    }


_tips = itertools.count()


@blueprint.app_template_global()
def tip_id() -> str:
    """An id for an explanation, another one each time."""
    return f"tip-{next(_tips)}"


def _colour_of(collection: Collection, name: str | None) -> int:
    return colour_number(collection.classes.index(name)) if name in collection.classes else -1


def _query_page(fields: MultiDict[str, str], options: SearchOptions | None = None, error: str | None = None) -> str:
    collection = state().live.searcher.collection
    picked = None
    if "image" in fields:
        picked = described(collection, collection.position(image_id_of(fields["image"])))
    return render_template(
        "query.html", error=error, picked=picked, options=options, suggested=_suggested(collection), asking=None
    )


def _suggested(collection: Collection) -> list[dict[str, Any]]:
    """Some images from every class in turn, the same ones each time."""
    labels = collection.images.labels
    groups = [np.flatnonzero(labels == label).tolist() for label in np.unique(labels)]
    turns = -(-SUGGESTED // max(len(groups), 1))
    # Spread over its class; of a class with fewer images than turns, each once.
    order = [
        group[len(group) * turn // min(turns, len(group))]
        for turn in range(turns)
        for group in groups
        if turn < len(group)
    ]
    return [described(collection, position) for position in order[:SUGGESTED]]


def _shown(asking: Asking, hits: Hits) -> dict[str, Any]:
    quality = hits.quality
    fused = len(hits.spaces) > 1
    return {
        "score_text": FUSED_SCORE if fused else SCORE,
        "hits": hits,
        "headline": _headline(hits),
        "quality": quality,
        "shares": [(name, count) for name, count in hits.class_counts.items()],
        "curves": curves(hits),
        "curve_size": (WIDTH, HEIGHT),
        "query_picture": _picture_of(asking),
        "options": asking.options,
    }


def _headline(hits: Hits) -> str:
    """Which class most of the hits have, or which ones where several have equally many."""
    total, most = len(hits), max(hits.class_counts.values(), default=0)
    leaders = [name or "no class" for name, count in hits.class_counts.items() if count == most]
    if hits.class_counts.keys() <= {None}:
        return f"{total} similar image{'' if total == 1 else 's'}"
    if len(leaders) > 1:
        return f"{', '.join(leaders[:-1])} and {leaders[-1]}, {most} of {total} each"
    if total == 1:
        return leaders[0]
    return f"{'All' if most == total else f'{most} of'} {total}: {leaders[0]}"


def _picture_of(asking: Asking) -> str:
    if asking.upload is not None:
        return url_for("pages.query_picture", name=asking.upload)
    return url_for("images.picture", image_id=asking.image_id, v=state().live.version)


def _distances(searcher: Searcher, asking: Asking, hit_id: int) -> dict[str, float | None]:
    """From the query to one image, in every space of the collection."""
    names, asked = [space.name for space in searcher.collection.spaces], asking.asked
    region = tuple(asking.options.region) if asking.options.region else None
    of_hit = _stored(searcher.collection, hit_id, names)
    if isinstance(asked, int) and region is None:
        of_query = _stored(searcher.collection, asked, names)
    else:  # all at once, so that the picture is not decoded for each space
        of_query = searcher.vectors_of(asked, list(of_hit), region)  # type: ignore[arg-type]
    found: dict[str, float | None] = dict.fromkeys(names)
    for name in of_hit.keys() & of_query.keys():
        distance = searcher.metric(name).distances(of_query[name][None], of_hit[name][None])[0, 0]
        found[name] = max(0.0, float(distance))
    return found


def _stored(collection: Collection, image_id: int, names: list[str]) -> dict[str, NDArray[Any]]:
    """An image's vectors, in the spaces where it has one."""
    return {name: vector for name in names if (vector := collection.vector(name, image_id)) is not None}
