"""Searches of the pages: a form's or an address's fields as a search, with faults in the words of the form."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import cached_property
from math import nan
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import numpy as np
from flask import url_for
from numpy.typing import NDArray
from pydantic import ValidationError
from werkzeug.datastructures import MultiDict

from retrieval.images import FAR_EDGE, BadRegionError, region_pixels, upright_size
from retrieval.query import Part, Query
from retrieval.spaces import embedding_spaces
from web.context import collection, searcher, state
from web.errors import BadOptionError, NoPictureError, SelectionGoneError
from web.pictures import cache_query, cached_query
from web.requests import MAX_ID, MAX_IDS, field_faults, field_values, require_single
from web.search import MAX_PARTS, MAX_WEIGHT, SearchOptions

REGION = ("left", "top", "width", "height")
SEVERAL = ("more", "text", "part_weights", "part_regions")
"""Fields of a query of several parts: further pictures, images by id and uploads by name; words; the weights of all,
the first one's first; the part of each further picture that counts, as four numbers in percent, or `whole`."""
UPLOAD = re.compile("[0-9a-f]{32}")
"""The name of an upload; longer than any id."""
WHOLE = "whole"
VECTOR = b"vector\n"
"""What the cached bytes of a vector begin with, which no picture does; its space and numbers follow as JSON."""
MAX_TEXT = 1000
"""Characters of the words of a query."""
AMONG = "among"
"""The field that names a selection of images, among which alone is searched; an address is too short for their ids."""
MARKS = ("relevant", "irrelevant")
"""Fields of images that are marked as fitting or not."""
LABELS = {
    "k": "Hits",
    "spaces": "Compare by",
    "weights": "Weights",
    "fusion": "Several are fused by",
    "rerank": "Re-ranked by",
    "classes": "Only some classes",
    "exclude_cluster": "Leave out near duplicates",
    "exclude_scene": "Leave out the same scene",
    "fold": "Fold near duplicates",
    "min_chance": "Least chance",
    "query_class": "Class of the query",
    "region": "The part of the picture",
}
"""What the form calls the options of a search."""
REGION_FAULT = "must have a width and a height and lie inside it: left + width and top + height are at most 100 %"
"""What is wrong with a region, which the form has in percent and a search in fractions."""
_APART = str.maketrans(",;[]()", "      ")


Percents = tuple[float, float, float, float]
"""Left, top, width and height in percent of a picture."""


@dataclass(frozen=True)
class PagePart:
    """A part of a query: an image of the collection by its id, a cached upload by its bytes and name, or words.

    vector: (d,) float64 of a space, which is cached as uploads are. region: of a further picture, in percent; that of
    the first one is an option of the search.
    """

    picture: int | bytes | None = None
    weight: float = 1.0
    upload: str | None = None
    text: str | None = None
    region: Percents | None = None
    vector: NDArray[np.float64] | None = None
    space: str | None = None

    @property
    def image_id(self) -> int | None:
        """The image of the collection that it is."""
        return self.picture if isinstance(self.picture, int) else None

    @property
    def name(self) -> str | None:
        """What an address calls a picture: its id, or the name of the upload."""
        return self.upload if self.image_id is None else str(self.image_id)


@dataclass(frozen=True)
class PageSearch:
    """A search that a page's address states: by pictures, by words, or by both.

    parts: pictures in their order, words last.
    fields: the address's own, so that links can repeat them.
    """

    parts: tuple[PagePart, ...]
    options: SearchOptions
    fields: MultiDict[str, str]

    @property
    def first(self) -> PagePart:
        """The picture that may be framed; the words where there is no picture."""
        return self.parts[0]

    @property
    def words(self) -> str | None:
        """The words of the query."""
        return self.parts[-1].text

    @property
    def uploads(self) -> dict[str, bytes]:
        """Its uploaded pictures by name."""
        return {part.upload: part.picture for part in self.parts if part.upload and isinstance(part.picture, bytes)}

    @property
    def is_full(self) -> bool:
        """Whether it has as many parts as it may."""
        return len(self.parts) >= MAX_PARTS

    @property
    def query(self) -> Query:
        """All parts, as the engine takes them."""
        return Query(
            tuple(
                Part(
                    image_id=part.image_id,
                    picture=part.picture if isinstance(part.picture, bytes) else None,
                    text=part.text,
                    vector=part.vector,
                    space=part.space,
                    region=self.region_of(at),
                    weight=part.weight,
                )
                for at, part in enumerate(self.parts)
            )
        )

    def region_of(self, at: int) -> Any:
        """The region of a part as fractions, or None."""
        part = self.parts[at]
        if at or part.text or part.vector is not None:
            return part.region and tuple(edge / 100 for edge in part.region)
        return self.options.region and tuple(self.options.region)

    @property
    def is_whole_picture(self) -> bool:
        """Whether it is one picture, whole, and not moved by marks."""
        return len(self.parts) == 1 and self.options.region is None and self.options.feedback() is None

    @cached_property
    def _values(self) -> dict[str, Any]:
        return dict(self.fields.lists())

    @cached_property
    def _paths(self) -> dict[str, str]:  # url_for of every link would be a tenth of a page's time
        return {endpoint: url_for(endpoint) for endpoint in ("pages.results", "pages.compare")}

    def link(self, endpoint: str = "pages.results", **changes: Any) -> str:
        """An address of the same search; a change of None leaves a field out."""
        values = {name: value for name, value in (self._values | changes).items() if value is not None}
        return f"{self._paths[endpoint]}?{urlencode(values, doseq=True, safe=',')}"

    def of_classes(self) -> str:
        """An address of the nearest images of each class."""
        return self._below("classes")

    def download(self, kind: str) -> str:
        """An address of the same search's hits as a file."""
        return self._below(f"hits.{kind}")

    def _below(self, part: str) -> str:
        path, _, fields = self.link().partition("?")
        return f"{path}/{part}?{fields}"

    def link_from(self, image_id: int) -> str:
        """An address of the same search by an image of the collection, without what belongs to this query alone."""
        own: dict[str, Any] = dict.fromkeys((*REGION, *SEVERAL, *MARKS, "upload", "query_class"))
        if self.options.feedback() is not None:
            own["exclude_ids"] = None  # what this query's marks have left out
        return self.link(image=image_id, **own)

    def link_marked(self, image_id: int, name: str) -> str:
        """An address of the same search with one more image marked, `relevant` or `irrelevant`."""
        marks = {each: [i for i in getattr(self.options, each) or () if i != image_id] for each in MARKS}
        marks[name].append(image_id)
        return self.link("pages.results", **{each: ",".join(map(str, ids)) or None for each, ids in marks.items()})

    def link_with(self, image_id: int) -> str | None:
        """An address of the same search by one more image of the collection; None where it has as many as it may."""
        return None if self.is_full else self._link_by(self._parts_and([PagePart(image_id)]))

    def with_parts(self, added: list[PagePart]) -> PageSearch:
        """The same search by further parts."""
        return replace(self, parts=self._parts_and(added))

    def address(self) -> str:
        """An address of it, which may have other parts than its fields."""
        return self._link_by(self.parts)

    def _parts_and(self, added: list[PagePart]) -> tuple[PagePart, ...]:
        words = [part for part in self.parts if part.text is not None]
        return (*self.parts[: len(self.parts) - len(words)], *added, *words)

    def link_without(self, at: int) -> str | None:
        """An address of the same search without one of its parts; None for the only one."""
        if len(self.parts) == 1:
            return None
        rest = self.parts[:at] + self.parts[at + 1 :]
        if at:
            return self._link_by(rest)
        edges = rest[0].region or (None,) * 4  # the second picture becomes the first
        first = {name: None if edge is None else f"{edge:g}" for name, edge in zip(REGION, edges, strict=True)}
        return self._link_by(rest, **first)

    def without_words(self) -> PageSearch | None:
        """The same search by its pictures alone; None where it has none."""
        address = self.link_without(len(self.parts) - 1)
        if address is None:
            return None
        return page_search(filled_fields(MultiDict(parse_qsl(urlsplit(address).query, keep_blank_values=True))))

    def _link_by(self, parts: tuple[PagePart, ...], **changes: Any) -> str:
        weights = [f"{part.weight:g}" for part in parts]
        equal = set(weights) == {"1"}
        further = [part for part in parts[1:] if part.text is None]
        more = ",".join(str(part.name) for part in further) or None
        own: dict[str, Any] = {"image": parts[0].image_id, "upload": parts[0].upload}
        own |= {"more": more, "text": parts[-1].text}
        own["part_regions"] = ",".join(map(_percents, further)) if any(part.region for part in further) else None
        return self.link(part_weights=None if equal else ",".join(weights), **own, **changes)


def page_search(fields: MultiDict[str, str], options: SearchOptions | None = None) -> PageSearch:
    """The search that filled fields state, whose options may be read already.

    Raises BadOptionError, NoPictureError, QueryGoneError.
    """
    options = options or search_options(fields)
    pictures: list[PagePart] = []
    if "upload" in fields:
        pictures.append(uploaded(fields["upload"]))
    elif "image" in fields:
        pictures.append(PagePart(image_number(fields["image"])))
    elif "text" not in fields:
        raise NoPictureError("this address names no picture and has no words: start from the search page")
    further = _values(fields, "more")
    regions = _values(fields, "part_regions") or [""] * len(further)
    if len(regions) != len(further):
        raise BadOptionError(
            f"Parts of the pictures: give one for each further picture ({len(further)}), not {len(regions)}"
        )
    for text, region in zip(further, regions, strict=True):
        part = uploaded(text) if UPLOAD.fullmatch(text) else PagePart(image_number(text))
        pictures.append(replace(part, region=_region(region)))
    if any(part.vector is not None and part.region for part in pictures):
        raise BadOptionError("Parts of the pictures: a vector has none")
    parts = (*pictures, *_words(fields))
    if options.region is not None and (not pictures or pictures[0].vector is not None):
        raise BadOptionError(f"{'a vector has' if pictures else 'words have'} no framed part: choose a picture")
    if len(parts) > MAX_PARTS:
        raise BadOptionError(f"a query has at most {MAX_PARTS} parts, not {len(parts)}")
    weights = _values(fields, "part_weights")
    if weights and len(weights) != len(parts):
        raise BadOptionError(f"Weights of the parts: give one for each of them ({len(parts)}), not {len(weights)}")
    weighed = tuple(
        replace(part, weight=_weight(text)) for part, text in zip(parts, weights or ["1"] * len(parts), strict=True)
    )
    if all(part.weight < 0 for part in weighed):
        raise BadOptionError("Weights of the parts: one of them must be more than 0, for hits to be like it")
    return PageSearch(weighed, options, fields)


def uploaded(name: str) -> PagePart:
    """A cached upload as a part. Raises QueryGoneError."""
    data = cached_query(name)
    if not data.startswith(VECTOR):
        return PagePart(data, upload=name)
    space, numbers = json.loads(data[len(VECTOR) :])
    return PagePart(vector=np.array(numbers), space=space, upload=name)


def vector_part(text: str, space: str, options: SearchOptions) -> PagePart:
    """A vector in a form as a part, cached: numbers apart by commas, spaces or lines, in brackets or not.

    Raises BadOptionError, VectorError, SpaceNameError.
    """
    try:
        numbers = [float(number) for number in text.translate(_APART).split()]
    except ValueError as error:
        raise BadOptionError(f"Vector: {str(error)[:80]}; give numbers apart by commas, spaces or lines") from None
    searched = searcher().space_names(options.spaces)
    if space not in searched:
        raise BadOptionError(f"Vector: '{space[:80]}' is not a space that is searched: {', '.join(searched)}")
    if len(numbers) != (dimension := collection().manifest.space(space).dimension):
        raise BadOptionError(f"Vector: the space '{space}' has vectors of {dimension:,} numbers, not {len(numbers):,}")
    vector = np.array(numbers)
    searcher().space(space).validate(vector)
    return PagePart(vector=vector, space=space, upload=cache_query(VECTOR + json.dumps([space, numbers]).encode()))


def _words(fields: MultiDict[str, str]) -> list[PagePart]:
    if "text" not in fields:
        return []
    text = fields["text"].strip()
    if len(text) > MAX_TEXT:
        raise BadOptionError(f"Words: at most {MAX_TEXT:,} characters, not {len(text):,}")
    return [PagePart(text=text)]


def _values(fields: MultiDict[str, str], name: str) -> list[str]:
    """A field that may stand there several times, and have several values parted by commas."""
    return [text.strip() for value in fields.getlist(name) for text in value.split(",")]


def _region(text: str) -> Percents | None:
    """The part of a further picture, as four numbers in percent; None for all of it. Raises BadOptionError."""
    if text.lower() in ("", WHOLE):
        return None
    try:
        left, top, width, height = (float(number) for number in text.split())
    except ValueError:
        left = top = width = height = nan
    ends = left / 100 + width / 100, top / 100 + height / 100  # as the search adds them
    if not (left >= 0 <= top and width > 0 < height and max(ends) <= FAR_EDGE):
        raise BadOptionError(
            f"Parts of the pictures: '{text[:40]}' is not left, top, width and height in percent, such as 20 30 50 40, "
            f"and not '{WHOLE}'; a part {REGION_FAULT}"
        )
    return left, top, width, height


def _percents(part: PagePart) -> str:
    return WHOLE if part.region is None else " ".join(f"{edge:g}" for edge in part.region)


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = nan
    if not 0 < abs(weight) <= MAX_WEIGHT:
        raise BadOptionError(f"Weights of the parts: '{text[:40]}' is not a number other than 0, up to 1,000,000")
    return weight


def require_region(search: PageSearch) -> None:
    """Check the region against the picture's size, while the person can still draw another.

    Raises BadOptionError, a PictureError.
    """
    region = search.options.region
    if region is None:
        return
    left, top, width, height = region
    picture = search.first.picture
    if picture is None:
        return
    if isinstance(picture, int):
        size = upright_size(collection().display(picture))
    else:
        size = upright_size(picture, max_pixels=state().settings.max_pixels)
    try:
        region_pixels((left, top, width, height), size)
    except BadRegionError:
        raise BadOptionError("the framed part has fewer than 8x8 pixels: frame a larger one") from None


def require_encoders(search: PageSearch) -> None:
    """Check that the query can be compared in the chosen spaces, while the person can still choose others.

    Raises BadOptionError, SpaceNameError, UnknownWordsError.
    """
    engine = searcher()
    if search.words is not None:
        engine.require_words(search.words, search.options.spaces)
    if all(part.vector is not None for part in search.parts):
        given = dict.fromkeys(part.space for part in search.parts)
        for name in engine.space_names(search.options.spaces):
            if name not in given:
                raise BadOptionError(f"{LABELS['spaces']}: the query has no vector in '{name}'; untick it")
    if all(
        part.text or part.vector is not None or (part.image_id is not None and part.region is None)
        for part in search.query.parts
    ):
        return
    for name in engine.space_names(search.options.spaces):
        if not engine.space(name).embeds_pictures:
            raise BadOptionError(
                f"{LABELS['spaces']}: '{name}' has no encoder, so no other picture can be compared by it; choose "
                "another space, or start from an image of the collection"
            )


def require_rerankable(search: PageSearch) -> None:
    """Check that what is to be ranked anew is one space of embeddings. Raises BadOptionError, SpaceNameError."""
    if search.options.rerank is None:
        return
    names = searcher().space_names(search.options.spaces)
    if len(names) > 1 or names[0] not in embedding_spaces(collection().manifest):
        raise BadOptionError(
            f"{LABELS['rerank']}: choose one space of embeddings alone, or nothing; chosen: {', '.join(names)}"
        )


def filled_fields(fields: MultiDict[str, str]) -> MultiDict[str, str]:
    """A form's or an address's fields without the empty ones.

    One of `spaces` is left where all are unticked: the form sends an empty one along with those that are ticked.
    """
    filled = MultiDict([(name, value) for name, value in fields.items(multi=True) if value.strip()])
    if "part_regions" in filled:  # an empty one is of a whole picture
        filled.setlist("part_regions", fields.getlist("part_regions"))
    if "spaces" in fields:
        filled.setdefault("spaces", "")
    return filled


def search_options(fields: MultiDict[str, str]) -> SearchOptions:
    """Filled fields as options. Raises BadOptionError where they do not fit."""
    require_single(fields)
    if fields.getlist("spaces") == [""]:
        raise BadOptionError(f"{LABELS['spaces']}: choose at least one space")
    options = MultiDict(fields)
    for name in ("image", "upload", "picture", *SEVERAL):
        options.poplist(name)
    among = options.pop(AMONG, None)
    if among is not None:
        options.setlist("ids", [",".join(map(str, selected_images(among)))])
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


def cache_selection(ids: list[int]) -> str:
    """Cache selected images for an address; returns the name of the selection. Raises BadOptionError."""
    if not 0 < len(ids) <= MAX_IDS:
        raise BadOptionError(f"select some images first, at most {MAX_IDS:,}")
    return cache_query(",".join(map(str, ids)).encode())


def selected_images(name: str) -> list[int]:
    """The ids of a selection. Raises SelectionGoneError."""
    data = state().uploads.get(name)
    if data is None or not re.fullmatch(rb"[0-9]+(,[0-9]+)*", data):
        raise SelectionGoneError(
            "the server keeps only the latest selections, in memory, and this one is no longer among them: select the "
            "images again on the page Map"
        )
    return [int(number) for number in data.split(b",")]


def form_ids(text: str) -> list[int]:
    """The ids in a form's field, parted by commas, that the collection has; ascending. Raises BadOptionError."""
    numbers = [whole_number(part.strip()) for part in text.split(",")]
    if None in numbers:
        raise BadOptionError("select images first")
    chosen: list[int] = np.intersect1d(np.array(numbers, np.int64), collection().images.ids).tolist()
    return chosen


def image_number(text: str) -> int:
    """The number of an image. Raises BadOptionError."""
    number = whole_number(text)
    if number is None or number > MAX_ID:
        raise BadOptionError(f"'{text[:40]}' is not the number of an image")
    return number


def whole_number(text: str) -> int | None:
    """The number that a text is, or None where it is none or longer than an id: int() raises on thousands of digits."""
    return int(text) if text.isdecimal() and len(text) <= len(str(MAX_ID)) else None
