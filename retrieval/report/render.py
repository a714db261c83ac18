"""Jinja renders a report: templates that the self-contained file and the site share.

A page that includes `report/overview.html`, `report/space.html` or `report/measures.html` defines two macros:
`picture(image)`, which shows an image of the collection, and `heading(text)`, the content of a table's heading.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING

from jinja2 import BaseLoader, Environment, PackageLoader, PrefixLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps

from retrieval.report.definitions import DEFINITIONS, NOTATION
from retrieval.report.document import Report, Table, map_points
from retrieval.report.examples import FIRST
from retrieval.report.thumbnails import thumbnails
from retrieval.terminal import finalize

if TYPE_CHECKING:
    from retrieval.collection import Collection

MAP_SCRIPTS = {"d3-map.js": "vendor/d3-map.js", "map.js": "map.js"}
"""Classic scripts that draw a map, in the order in which they are loaded, by name; site and file share them."""
GLOBALS = {
    "first_neighbours": FIRST,
    "notation": NOTATION,
    "definitions": Table(("measure", "definition"), DEFINITIONS),
}
"""What the templates need in addition to the report."""


@dataclass(frozen=True)
class Files:
    """The files in the folder of a report: names of the TREC runs, and how many hits of each query they have."""

    runs: Sequence[str]
    hits: int


def template_loader() -> BaseLoader:
    """Loads the templates by names such as `report/space.html`."""
    return PrefixLoader({"report": PackageLoader("retrieval.report")})


def stylesheet() -> str:
    """The style of what the templates render."""
    return (files("retrieval.report") / "report.css").read_text("utf-8")


def script() -> str:
    """The script of a report, after those of MAP_SCRIPTS, on a constant `pictures`: `map_points`, `place` and `page`.

    place, page: on the site, the addresses of a picture and of its page, with `{image}` for the id.
    """
    return (files("retrieval.report") / "report.js").read_text("utf-8")


def map_script(name: str) -> str:
    """One of MAP_SCRIPTS."""
    return (files("retrieval.report") / MAP_SCRIPTS[name]).read_text("utf-8")


def render_page(report: Report, opened: Collection, folder: Files | None = None) -> str:
    """The whole report as one self-contained HTML page; an image whose file is missing has no picture.

    folder: the files that the page is stored with, if there are any.
    """
    points = htmlsafe_json_dumps(map_points(report.spaces))
    program = "\n".join([f"const pictures = {points};", *map(map_script, MAP_SCRIPTS), script()])
    return (
        _environment()
        .get_template("report/page.html")
        .render(
            report=report,
            folder=folder,
            thumbnails=thumbnails(opened, report.images),
            stylesheet=stylesheet(),
            script=program,
            script_digest=b64encode(sha256(program.encode()).digest()).decode(),
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=template_loader(), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(GLOBALS)
    environment.finalize = finalize
    return environment
