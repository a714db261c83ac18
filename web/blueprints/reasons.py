"""/api/v1/images/ID/reasons: why an image is near another one, or near a picture."""

from __future__ import annotations

from flask import Response, jsonify, request
from flask_openapi3 import APIBlueprint, Tag
from pydantic import Field

from web import responses
from web.limits import rate_limited
from web.pictures import body_picture, form_fields, form_picture
from web.requests import ImageId, ImagePath, RequestModel, SpaceNames, picture_body
from web.search import Region, parsing_turn, reasons

api = APIBlueprint("reasons", __name__, url_prefix="/api/v1", abp_tags=[Tag(name="reasons")])


class ReasonOptions(RequestModel):
    """Which reasons."""

    spaces: SpaceNames = Field(None, description="Spaces to tell reasons in; by default the first one.")
    region: Region = Field(
        None, description="The part of the query's picture that counts: left, top, width, height as fractions of it."
    )


class ReasonsOfImage(ReasonOptions):
    """Reasons for an image of the collection as the query."""

    query: ImageId = Field(description="The query, an image of the collection.")


_BODY = picture_body(ReasonOptions, "The query: a picture as a form's part or as the whole body.")


@api.get(
    "/images/<int:image_id>/reasons",
    operation_id="get_reasons",
    responses=responses.operation({"200": responses.Reasons}, 400, 401, 404, 410, 414, 422, 429, 503),
)
@rate_limited
def reasons_of_image(path: ImagePath, query: ReasonsOfImage) -> Response:
    """Tell why an image is near another one of the collection: where they agree, what their distance is made of."""
    return jsonify(reasons(query.query, path.image_id, query.spaces, _region(query)).to_dict())


@api.post(
    "/images/<int:image_id>/reasons",
    operation_id="tell_reasons",
    openapi_extensions={"requestBody": _BODY},
    responses=responses.operation(
        {"200": responses.Reasons}, 400, 401, 403, 404, 408, 410, 413, 414, 415, 422, 429, 503
    ),
)
@rate_limited
def reasons_of_picture(path: ImagePath, query: ReasonOptions) -> Response:
    """Tell why an image is near a picture."""
    with parsing_turn():
        if request.mimetype == "multipart/form-data":
            form = ReasonOptions.model_validate(form_fields())
            query = query.model_copy(update={name: getattr(form, name) for name in form.model_fields_set})
            data = form_picture()
        else:
            data = body_picture()
    return jsonify(reasons(data, path.image_id, query.spaces, _region(query)).to_dict())


def _region(options: ReasonOptions) -> tuple[float, ...] | None:
    return tuple(options.region) if options.region else None
