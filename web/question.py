"""A request's question: what is searched, and how; the same for the page and the API."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationInfo
from werkzeug.datastructures import MultiDict

from retrieval.errors import PictureError, QueryError
from retrieval.hits import Hits
from retrieval.images import probe
from web.fields import Fields
from web.state import state

MAX_K = 1000
MAX_ID = 2**53

Asked = int | bytes | np.ndarray[Any, np.dtype[np.float64]]
"""An image id, a picture file's bytes, or a vector."""


class UploadTooLargeError(PictureError):
    """The picture file has more bytes than the limit."""


class NoPictureError(QueryError):
    """A request that needs a picture has none."""


class BadOptionError(QueryError):
    """An option of a search does not fit."""


class UnsupportedBodyError(QueryError):
    """The body of a request is of a type that is not understood."""


class NotBase64Error(QueryError):
    """A picture in JSON is not base64."""


def _flag(value: Any, info: ValidationInfo) -> Any:
    """Text says `true` or `false`, nothing else."""
    if info.mode == "python" and isinstance(value, str):
        if value not in ("true", "false"):
            raise ValueError("must be true or false")
        return value == "true"
    return value


def _numbers(value: Any, info: ValidationInfo) -> Any:
    """Text may give several numbers at once, parted by commas."""
    if info.mode == "python" and isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        return value[0].split(",")
    return value


def once(names: list[str] | None) -> list[str] | None:
    """Let names of spaces through that stand there once each."""
    if names is not None and len(set(names)) != len(names):
        raise ValueError("must name each space once")
    return names


def _fraction(region: list[float] | None) -> list[float] | None:
    if region is not None:
        left, top, width, height = region
        if not width or not height:
            raise ValueError("must have a width and a height")
        if left + width > 1 + 1e-6 or top + height > 1 + 1e-6:
            raise ValueError("must lie inside the picture: left + width and top + height are at most 1")
    return region


Flag = Annotated[bool, BeforeValidator(_flag)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Weight = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class SearchOptions(Fields):
    """How to search."""

    model_config = ConfigDict(extra="forbid")

    k: int = Field(10, ge=1, le=MAX_K, description="How many hits.")
    spaces: Annotated[list[Name] | None, Field(min_length=1), AfterValidator(once)] = Field(
        None, description="Spaces to search; several are fused by their ranks. By default the first one."
    )
    weights: Annotated[list[Weight] | None, Field(min_length=1), BeforeValidator(_numbers)] = Field(
        None, description="One weight a space, in the order of `spaces`."
    )
    classes: Annotated[list[Name] | None, Field(min_length=1)] = Field(
        None, description="Only images of these classes."
    )
    exclude_self: Flag = Field(True, description="Leave out the query itself, where it is an image of the collection.")
    exclude_cluster: Flag = Field(
        False, description="Leave out near duplicates of the query as well, where it is an image of the collection."
    )
    query_class: Name | None = Field(
        None, description="The query's class, for precision and recall; known by itself for an image of the collection."
    )
    region: Annotated[
        list[Fraction] | None, Field(min_length=4, max_length=4), BeforeValidator(_numbers), AfterValidator(_fraction)
    ] = Field(
        None,
        description="Search by a part of the picture: left, top, width, height as fractions of the upright picture.",
    )


class SearchBody(SearchOptions):
    """A search in JSON: exactly one of image, image_id and vector, and the options."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"oneOf": [{"required": [name]} for name in ("image", "image_id", "vector")]},
    )

    image: str = Field("", min_length=1, description="A picture file in base64.")
    image_id: int = Field(-1, ge=0, le=MAX_ID, description="An image of the collection.")
    vector: list[Annotated[float, Field(allow_inf_nan=False)]] = Field(
        [], min_length=1, max_length=100_000, description="A vector of the one space that is searched."
    )

    def asked(self) -> Asked:
        """The one thing that is asked. Raises NoPictureError, NotBase64Error."""
        given = self.model_fields_set & {"image", "image_id", "vector"}
        if len(given) != 1:
            raise NoPictureError("give exactly one of image (base64), image_id and vector")
        if "image_id" in given:
            return self.image_id
        if "vector" in given:
            return np.array(self.vector, np.float64)
        return decoded(self.image)


def decoded(text: str) -> bytes:
    """The bytes of a base64 text. Raises NotBase64Error."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NotBase64Error(f"the picture is not base64 ({error})") from None


def fields_of(args: MultiDict[str, str], lists: tuple[str, ...] = ("spaces", "weights", "classes", "region")) -> Any:
    """A form's or an address's fields for a model: lists as lists, all others their first value."""
    return {name: args.getlist(name) if name in lists else args[name] for name in args}


def require_picture(data: bytes) -> None:
    """Hold a picture file that is kept or stored against the server's limits before anything is decoded.

    Raises NoPictureError, UploadTooLargeError, PictureTooLargeError, UnknownFormatError, BrokenPictureError.
    """
    _require_file(data)
    probe(data, max_pixels=state().settings.max_pixels)


def _require_file(data: bytes) -> None:
    if not data:
        raise NoPictureError("the request has no picture: send one as the part `image`, as the body, or in JSON")
    most = state().settings.max_upload
    if len(data) > most:
        # Not how large it is: of a body without length only a part more than that has been read.
        raise UploadTooLargeError(f"the file has more than {most / 2**20:g} MiB")


def search(asked: Asked, options: SearchOptions) -> Hits:
    """Ask the engine, in turn. Raises BusyError where too many wait, and whatever the engine raises."""
    held = state()
    if isinstance(asked, bytes):
        _require_file(asked)  # the engine tells all other faults of a picture
    searcher = held.live.searcher
    with held.gate.enter():
        return searcher.search(
            asked,
            options.k,
            spaces=options.spaces,
            weights=options.weights,
            classes=options.classes,
            exclude_self=options.exclude_self,
            exclude_cluster=options.exclude_cluster,
            query_class=options.query_class,
            region=tuple(options.region) if options.region else None,  # type: ignore[arg-type]
        )
