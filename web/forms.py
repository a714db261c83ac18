"""Searches of the pages: a form's or an address's fields as a search, with faults in the words of the form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import url_for
from pydantic import ValidationError
from werkzeug.datastructures import MultiDict

from retrieval.images import BadRegionError, region_pixels, upright_size
from web.context import collection, state
from web.errors import BadOptionError, NoPictureError
from web.pictures import cached_query
from web.requests import MAX_ID, field_faults, field_values, require_single
from web.search import SearchOptions

REGION = ("left", "top", "width", "height")
LABELS = {
    "k": "Hits",
    "spaces": "Compare by",
    "fusion": "Several are fused by",
    "classes": "Only some classes",
    "exclude_cluster": "Leave out near duplicates",
    "query_class": "Class of the query",
    "region": "The part of the picture",
}
"""What the form calls the options of a search."""
REGION_FAULT = "must have a width and a height and lie inside it: left + width and top + height are at most 100 %"
"""What is wrong with a region, which the form has in percent and a search in fractions."""


@dataclass(frozen=True)
class PageSearch:
    """A search that a page's address states, by an image of the collection or a cached upload.

    fields: the address's own, so that links can repeat them.
    """

    query: int | bytes
    image_id: int | None
    upload: str | None
    options: SearchOptions
    fields: MultiDict[str, str]

    def link(self, endpoint: str = "pages.results", **changes: Any) -> str:
        """An address of the same search; a change of None leaves a field out."""
        values: dict[str, Any] = {name: self.fields.getlist(name) for name in self.fields} | changes
        return url_for(endpoint, **{name: value for name, value in values.items() if value is not None})

    def link_from(self, image_id: int) -> str:
        """An address of the same search by an image of the collection, without what belongs to this query alone."""
        own: dict[str, Any] = dict.fromkeys((*REGION, "upload", "query_class"))
        return self.link(image=image_id, **own)


def page_search(fields: MultiDict[str, str], options: SearchOptions | None = None) -> PageSearch:
    """The search that filled fields state, whose options may be read already.

    Raises BadOptionError, NoPictureError, QueryGoneError.
    """
    options = options or search_options(fields)
    if "upload" in fields:
        name = fields["upload"]
        return PageSearch(cached_query(name), None, name, options, fields)
    if "image" in fields:
        image_id = image_number(fields["image"])
        return PageSearch(image_id, image_id, None, options, fields)
    raise NoPictureError("this address names no picture: start from the search page")


def require_region(search: PageSearch) -> None:
    """Check the region against the picture's size, while the person can still draw another.

    Raises BadOptionError, a PictureError.
    """
    region = search.options.region
    if region is None:
        return
    left, top, width, height = region
    if isinstance(search.query, int):
        size = upright_size(collection().display(search.query))
    else:
        size = upright_size(search.query, max_pixels=state().settings.max_pixels)
    try:
        region_pixels((left, top, width, height), size)
    except BadRegionError:
        raise BadOptionError("the framed part has fewer than 8x8 pixels: frame a larger one") from None


def filled_fields(fields: MultiDict[str, str]) -> MultiDict[str, str]:
    """A form's or an address's fields without the empty ones.

    One of `spaces` is left where all are unticked: the form sends an empty one along with those that are ticked.
    """
    filled = MultiDict([(name, value) for name, value in fields.items(multi=True) if value.strip()])
    if "spaces" in fields:
        filled.setdefault("spaces", "")
    return filled


def search_options(fields: MultiDict[str, str]) -> SearchOptions:
    """Filled fields as options. Raises BadOptionError where they do not fit."""
    require_single(fields)
    if fields.getlist("spaces") == [""]:
        raise BadOptionError(f"{LABELS['spaces']}: choose at least one space")
    options = MultiDict(fields)
    for name in ("image", "upload", "picture"):
        options.poplist(name)
    edges = [options.pop(name, None) for name in REGION]
    if any(edges):
        try:
            options.setlist("region", [str(float(edge or "") / 100) for edge in edges])
        except ValueError:
            raise BadOptionError("a region needs four numbers in percent") from None
    values = field_values(options)
    try:
        return SearchOptions.model_validate(values)
    except ValidationError as error:
        field, message = field_faults(error)[0]
        name = field.partition(".")[0]
        if name not in SearchOptions.model_fields:
            raise BadOptionError(f"a search has no field '{name}'") from None
        fault = REGION_FAULT if name == "region" else f"{message[:1].lower()}{message[1:]}"
        raise BadOptionError(f"{LABELS.get(name, name)}: {fault}") from None


def image_number(text: str) -> int:
    """The number of an image. Raises BadOptionError."""
    number = whole_number(text)
    if number is None or number > MAX_ID:
        raise BadOptionError(f"'{text[:40]}' is not the number of an image")
    return number


def whole_number(text: str) -> int | None:
    """The number that a text is, or None where it is none or longer than an id: int() raises on thousands of digits."""
    return int(text) if text.isdecimal() and len(text) <= len(str(MAX_ID)) else None
