"""What every template may use: the collection, and what a search of it offers and begins with."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any
from urllib.parse import urlencode

from flask import request, url_for

from retrieval.collection import Collection, Manifest, SpaceDefinition, SpaceNameError
from retrieval.fusion import METHODS
from retrieval.learn.calibration_store import stored_calibrations
from retrieval.report.best import best_of
from retrieval.rerank import METHODS as RERANKERS
from retrieval.spaces import Space, embedding_spaces
from web.access import may_read
from web.context import collection, searcher, state
from web.pages.figures import colour_number
from web.pictures import version_of
from web.responses import without_folders
from web.search import SearchOptions

LOOKS = ("light", "dark")
DEFAULT_K = 12
"""Hits of a search that states no number of its own."""
_tips = itertools.count()


def template_values() -> dict[str, Any]:
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


def tip_id() -> str:
    """An id for an explanation, another one each time."""
    return f"tip-{next(_tips)}"


def default_options() -> SearchOptions:
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
