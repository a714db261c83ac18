"""The page of a report, from data alone."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from retrieval.collection import Collection, CollectionWriter
from retrieval.report.definitions import DEFINITIONS, definition_of
from retrieval.report.document import (
    Map,
    MapGroup,
    Overview,
    QueryRow,
    Report,
    ShownImage,
    SpaceFigures,
    SpaceSection,
    Table,
    map_points,
)
from retrieval.report.render import Files, render_page

HOSTILE = "</script><b>&\"'+"
TABLE = Table((HOSTILE, "mAP"), ((HOSTILE, HOSTILE),))
ROW = QueryRow(ShownImage(1, HOSTILE, "query"), (ShownImage(2, HOSTILE, "wrong"), ShownImage(3, "a", "right")))
FIGURES = SpaceFigures(
    vote_k=7,
    intervals=True,
    classes=TABLE,
    measures=TABLE,
    over_k="<svg>over k</svg>",
    precision_recall="<svg>pr</svg>",
    per_class="<svg>classes</svg>",
    confusion="<svg>confusion</svg>",
    flow="<svg>flow</svg>",
    map=Map("<svg>map</svg>", (MapGroup("map-0-0", HOSTILE, (1, 2)),)),
    best=(ROW,),
    worst=(ROW,),
    hubs=(ShownImage(2, HOSTILE, "wrong"),),
    label_errors=(),
)
OVERVIEW = Overview(TABLE, intervals=True, leave_one_out=False)
REPORT = Report(HOSTILE, (HOSTILE,), OVERVIEW, (SpaceSection("space-0", HOSTILE, (HOSTILE,), FIGURES),), (1, 2, 3))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    path = tmp_path_factory.mktemp("render") / "c"
    with CollectionWriter(path, create=True):
        pass
    return Collection.open(path)


def test_texts_are_escaped_and_plots_are_not(empty: Collection) -> None:
    page = render_page(REPORT, empty, Files([HOSTILE], 100))
    assert HOSTILE not in page
    assert "<b>" not in page
    assert page.count("</script>") == 1
    for plot in (FIGURES.over_k, FIGURES.precision_recall, FIGURES.per_class, FIGURES.confusion, FIGURES.flow):
        assert page.count(plot) == 1
    assert "what its 7 nearest elect" in page


def test_the_page_runs_its_own_script_and_no_other(empty: Collection) -> None:
    """A report is stored in the collection, which may come from somebody else."""
    stored = replace(FIGURES, over_k="<svg><script>alert(1)</script></svg>")
    page = render_page(replace(REPORT, spaces=(SpaceSection("space-0", "s", (), stored),)), empty)
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="(.*?)">', page)
    assert policy is not None
    assert page.index(policy[0]) < page.index("<script>")
    own, other = (
        f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"
        for script in reversed(re.findall(r"<script>(.*?)</script>", page, re.DOTALL))
    )
    assert policy[1] == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {own}"
    assert other not in policy[1]


def test_a_name_may_break_after_a_plus(empty: Collection) -> None:
    space = SpaceSection("space-0", "A=2+B", (), None)
    page = render_page(replace(REPORT, spaces=(space,)), empty)
    assert "<h2>A=2+<wbr>B</h2>" in page


def test_an_image_without_its_file_has_no_picture(empty: Collection) -> None:
    page = render_page(REPORT, empty)
    assert page.count('<i class="gone">no picture</i>') == 7
    assert "<symbol" not in page


def test_parts_are_there_only_where_there_is_something_to_show(empty: Collection) -> None:
    bare = render_page(replace(REPORT, spaces=(SpaceSection("space-0", "s", (), None),)), empty)
    assert "No query has anything relevant to find" in bare
    for part in ("<h3>Speed</h3>", "<h3>All spaces</h3>", "Every pair", "Not compared", "<h2>Files</h2>", "<figure"):
        assert part not in bare
    many = replace(
        OVERVIEW,
        leave_one_out=True,
        speed=TABLE,
        speed_sentence="Two cores.",
        standings="<svg/>",
        summary=("2 of 4.",),
        sentences=("A is better.", "B is better."),
    )
    full = render_page(replace(REPORT, overview=many), empty, Files(["s.run"], 100))
    for part in (
        "<h3>Speed</h3>",
        "<p>Two cores.</p>",
        "<h3>All spaces</h3>",
        "<p>2 of 4.</p>",
        "<li>B is better.</li>",
        "leave-one-out",
        "first 100 hits of each query: s.run.",
    ):
        assert part in full
    why = render_page(replace(REPORT, overview=replace(OVERVIEW, not_compared="they differ")), empty)
    assert "<p>Not compared: they differ.</p>" in why


def test_a_fusion_has_no_map(empty: Collection) -> None:
    fusion = SpaceSection("space-0", "A+B", (), replace(FIGURES, map=None))
    page = render_page(replace(REPORT, spaces=(fusion,)), empty)
    assert "there is no map of it" in page
    assert map_points([fusion]) == {"points": {}, "classes": {}, "colours": 10}


def test_the_script_gets_the_points_of_every_map(empty: Collection) -> None:
    constant = re.search(r"const pictures = (.*);", render_page(REPORT, empty))
    assert constant is not None
    assert json.loads(constant[1]) == {"points": {"map-0-0": [1, 2]}, "classes": {"map-0-0": HOSTILE}, "colours": 10}


def test_a_heading_with_a_k_has_the_definition_of_its_measure(empty: Collection) -> None:
    assert definition_of("precision@10") == "h(k) / k, also where fewer than k hits exist"
    assert definition_of("FN") == dict(DEFINITIONS)["TP, TN, FP, FN"]
    assert definition_of("space") is None


def test_the_templates_are_files_of_the_package() -> None:
    import retrieval.report

    folder = Path(retrieval.report.__file__).parent / "templates"
    assert {file.name for file in folder.iterdir()} == {
        "blocks.html",
        "measures.html",
        "overview.html",
        "page.html",
        "space.html",
    }
