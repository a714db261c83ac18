"""A page's address or form as a question: fields that a person filled in, with faults told in the form's own words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from flask import url_for
from pydantic import ValidationError
from werkzeug.datastructures import MultiDict

from retrieval.images import BadRegionError, framed, upright_size
from web.fields import faults_of
from web.kept_queries import kept_query
from web.question import MAX_ID, Asked, BadOptionError, NoPictureError, SearchOptions, fields_of
from web.state import state

REGION = ("left", "top", "width", "height")
LABELS = {
    "k": "Hits",
    "spaces": "Compare by",
    "classes": "Only some classes",
    "exclude_cluster": "Leave out near duplicates",
    "query_class": "Class of the query",
    "region": "The part of the picture",
}
"""What the form calls the options of a search."""
REGION_FAULT = "must have a width and a height and lie inside it: left + width and top + height are at most 100 %"
"""What is wrong with a region, which the form has in percent and a search in fractions."""


@dataclass(frozen=True)
class Asking:
    """What a page's address asks: an image of the collection or a kept upload, and how to search.

    `fields` are the address's own, so that links can keep them.
    """

    asked: Asked
    image_id: int | None
    upload: str | None
    options: SearchOptions
    fields: MultiDict[str, str]

    def link(self, endpoint: str = "pages.answer", **changes: Any) -> str:
        """An address of the same question; a change of None leaves a field out."""
        values: dict[str, Any] = {name: self.fields.getlist(name) for name in self.fields} | changes
        return url_for(endpoint, **{name: value for name, value in values.items() if value is not None})

    def link_from(self, image_id: int) -> str:
        """An address that asks the same of an image of the collection, without what belongs to this query alone."""
        own: dict[str, Any] = dict.fromkeys((*REGION, "upload", "query_class"))
        return self.link(image=image_id, **own)


def asking_of(fields: MultiDict[str, str]) -> Asking:
    """What filled fields ask. Raises BadOptionError, NoPictureError, QueryGoneError."""
    options = options_of(fields)
    if "upload" in fields:
        name = fields["upload"]
        return Asking(kept_query(state().uploads, name), None, name, options, fields)
    if "image" in fields:
        image_id = image_id_of(fields["image"])
        return Asking(image_id, image_id, None, options, fields)
    raise NoPictureError("this address names no picture: start from the search page")


def require_region(asking: Asking) -> None:
    """Hold the part that is asked for against the picture while the person can still frame another.

    Raises BadOptionError, a PictureError.
    """
    region, asked = asking.options.region, asking.asked
    if region is None or isinstance(asked, np.ndarray):
        return
    left, top, width, height = region
    if isinstance(asked, int):
        size = upright_size(state().live.searcher.collection.read(asked))
    else:
        size = upright_size(asked, max_pixels=state().settings.max_pixels)
    try:
        framed((left, top, width, height), size)
    except BadRegionError:
        raise BadOptionError("the framed part has fewer than 8x8 pixels: frame a larger one") from None


def filled(args: MultiDict[str, str]) -> MultiDict[str, str]:
    """A form's fields without the empty ones."""
    return MultiDict([(name, value) for name, value in args.items(multi=True) if value.strip()])


def options_of(fields: MultiDict[str, str]) -> SearchOptions:
    """A form's fields as options. Raises BadOptionError where they do not fit."""
    wanted = MultiDict(fields)
    for name in ("image", "upload", "picture"):
        wanted.poplist(name)
    edges = [wanted.pop(name, None) for name in REGION]
    try:
        if any(edges):
            wanted.setlist("region", [str(float(edge or "") / 100) for edge in edges])
        return SearchOptions.model_validate(fields_of(wanted))
    except ValidationError as error:
        field, message = faults_of(error)[0]
        name = field.partition(".")[0]
        if name not in SearchOptions.model_fields:
            raise BadOptionError(f"a search has no field '{name}'") from None
        told = REGION_FAULT if name == "region" else f"{message[:1].lower()}{message[1:]}"
        raise BadOptionError(f"{LABELS.get(name, name)}: {told}") from None
    except ValueError:
        raise BadOptionError("a region needs four numbers in percent") from None


def image_id_of(text: str) -> int:
    """The number of an image. Raises BadOptionError."""
    number = whole_number(text)
    if number is None or number > MAX_ID:
        raise BadOptionError(f"'{text[:40]}' is not the number of an image")
    return number


def whole_number(text: str) -> int | None:
    """The number that a text is, or None where it is none or longer than an id: int() raises on thousands of digits."""
    return int(text) if text.isdecimal() and len(text) <= len(str(MAX_ID)) else None
