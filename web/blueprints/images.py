"""/api/v1/images: the collection's images, their pictures and neighbours; adding and removing them."""

from __future__ import annotations

import unicodedata
from typing import Annotated

from flask import Response, jsonify, request
from flask_openapi3 import APIBlueprint, Tag
from pydantic import AfterValidator, ConfigDict, Field

from web import answers
from web.access import WRITING, writing
from web.answers import replies
from web.blueprints.search import answer
from web.bodies import picture_body
from web.described import described, positions_of
from web.fields import Fields
from web.pictures import THUMBNAIL, drawn_once, shown, small
from web.question import MAX_ID, SearchOptions, UnsupportedBodyError, require_picture, search
from web.rate import limited
from web.state import state

api = APIBlueprint("images", __name__, url_prefix="/api/v1", abp_tags=[Tag(name="images")])

YEAR = 31_536_000


def _printable(name: str) -> str:
    if name != name.strip() or any(unicodedata.category(character)[0] == "C" for character in name):
        raise ValueError("must be printable, without space at its ends")
    return name


ClassName = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_printable)]


class ImagePath(Fields):
    """An image of the collection."""

    image_id: int = Field(ge=0, le=MAX_ID)


class Version(Fields):
    """A picture's address with the collection's version may be cached for good."""

    model_config = ConfigDict(extra="forbid")

    v: str | None = Field(None, description="The collection's version, as in the links of answers.")


class Listing(Fields):
    """Which images to list."""

    model_config = ConfigDict(extra="forbid")

    class_name: str | None = Field(None, alias="class", description="Only images of this class.")
    cursor: int | None = Field(None, ge=0, le=MAX_ID, description="`next` of the page before.")
    limit: int = Field(50, ge=1, le=500)


class NewPicture(Fields):
    """What is known of a picture that is added."""

    model_config = ConfigDict(extra="forbid")

    class_name: ClassName | None = Field(None, alias="class", description="Its class, where it is known.")


@api.get(
    "/images",
    operation_id="list_images",
    responses=replies({"200": answers.ImagePage}, 400, 401, 422),
)
def list_images(query: Listing) -> Response:
    """List images in order of their ids."""
    collection = state().live.searcher.collection
    positions = positions_of(collection, query.class_name)
    total = len(positions)
    if query.cursor is not None:
        positions = positions[collection.images.ids[positions] >= query.cursor]
    page, rest = positions[: query.limit], positions[query.limit :]
    following = str(collection.images.ids[rest[0]]) if len(rest) else None
    images = [described(collection, position) for position in page.tolist()]
    return jsonify({"images": images, "total": total, "next": following})


@api.get(
    "/images/<int:image_id>",
    operation_id="get_image",
    responses=replies({"200": answers.Image}, 400, 401, 404, 422),
)
def image(path: ImagePath) -> Response:
    """What is known of an image."""
    collection = state().live.searcher.collection
    return jsonify(described(collection, collection.position(path.image_id)))


_PICTURE = {"200": {"content": {"image/jpeg": {}, "image/png": {}}}, "304": {"description": "Not Modified"}}


@api.get(
    "/images/<int:image_id>/picture",
    operation_id="get_picture",
    responses=replies(_PICTURE, 400, 401, 404, 410, 415, 422, 503),
)
def picture(path: ImagePath, query: Version) -> Response:
    """An image's picture at full size, without metadata."""
    held = state()
    collection = held.live.searcher.collection
    collection.position(path.image_id)
    name = f"picture-{path.image_id}"
    if response := unchanged(name):
        return response
    with held.drawing.enter():
        return _sent(*shown(collection.read(path.image_id)), name)


@api.get(
    "/images/<int:image_id>/thumbnail",
    operation_id="get_thumbnail",
    responses=replies(_PICTURE, 400, 401, 404, 410, 415, 422, 503),
)
def thumbnail(path: ImagePath, query: Version) -> Response:
    """An image's picture with its longer side at most 320 pixels."""
    held = state()
    collection = held.live.searcher.collection
    collection.position(path.image_id)
    name = f"thumbnail-{path.image_id}"
    if response := unchanged(name):
        return response
    data = drawn_once(held, _etag(name), lambda: small(collection.read(path.image_id), THUMBNAIL))
    return _sent(data, "image/jpeg", name)


def unchanged(name: str) -> Response | None:
    """304 where the client has this picture already: an id never changes its picture."""
    if request.if_none_match.contains_weak(_etag(name)):  # a proxy that compresses weakens it
        return _cached(Response(status=304), name)
    return None


def _sent(data: bytes, media_type: str, name: str) -> Response:
    return _cached(Response(data, mimetype=media_type), name)


def _etag(name: str) -> str:
    return f"{state().live.version}-{name}"


def _cached(response: Response, name: str) -> Response:
    response.set_etag(_etag(name))
    if request.args.get("v") == state().live.version:
        response.headers["Cache-Control"] = f"private, max-age={YEAR}, immutable"
    return response


@api.get(
    "/images/<int:image_id>/similar",
    operation_id="similar_images",
    responses=replies({"200": answers.Hits}, 400, 401, 404, 410, 422, 429, 503),
)
@limited
def similar(path: ImagePath, query: SearchOptions) -> Response:
    """Find the images most similar to one of the collection."""
    return jsonify(answer(search(path.image_id, query), query.k))


_NEW_BODY = picture_body(NewPicture, "A picture as a form's part or as the whole body.")


@api.post(
    "/images",
    operation_id="add_image",
    openapi_extensions={"requestBody": _NEW_BODY},
    security=WRITING,
    responses=replies({"200": answers.Image, "201": answers.Image}, 400, 401, 403, 408, 413, 415, 422, 429, 503, 507),
)
@writing
@limited
def add_image(query: NewPicture) -> tuple[Response, int, dict[str, str]]:
    """Add a picture: it is kept in the collection's folder and indexed in every space; needs a key that may write.

    The same picture again is the same image; under another class it takes that one's place, with a new id.
    """
    class_name = query.class_name
    if request.mimetype == "multipart/form-data":
        fields = NewPicture.model_validate(dict(request.form))
        class_name = fields.class_name or class_name
        file = request.files.get("image")
        data = file.read() if file else b""
    elif request.mimetype.startswith("image/") or request.mimetype == "application/octet-stream":
        data = request.get_data()
    else:
        raise UnsupportedBodyError(
            f"a body of type '{request.mimetype or 'none'}' is not understood: send multipart/form-data or image/*"
        )
    held = state()
    require_picture(data)
    with held.writing.enter(), held.gate.enter():  # so that of many who add only one keeps searches waiting
        image_id, new = held.live.add(data, class_name)
    collection = held.live.searcher.collection
    body = described(collection, collection.position(image_id))
    return jsonify(body), 201 if new else 200, {"Location": body["links"]["self"]}


@api.delete(
    "/images/<int:image_id>",
    operation_id="remove_image",
    security=WRITING,
    responses=replies({"204": None}, 400, 401, 403, 404, 422, 429, 503, 507),
)
@writing
@limited
def remove_image(path: ImagePath) -> tuple[str, int]:
    """Remove an image; its id never comes back. Needs a key that may write."""
    held = state()
    held.live.remove(path.image_id)
    held.shown.discard(_etag(f"thumbnail-{path.image_id}"))
    return "", 204
