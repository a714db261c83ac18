"""The page Map in a real browser: 10,000 points, hover, keyboard, legend, lasso and rectangle, and what they become."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.collection import Collection
from retrieval.space_map.store import MapFacts, SpaceMap, content_digest, store_map

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = sync_api.expect
COUNT, FEW = 10_000, 40


def put_map(path: Path, space: str, places: NDArray[np.floating]) -> None:
    opened = Collection.open(path)
    facts = MapFacts(space, content_digest(opened, space), "2026-01-01T00:00:00+00:00", len(places), 0, 0.9)
    store_map(path, SpaceMap(facts, np.arange(len(places)), places.astype(np.float32)))


@pytest.fixture(scope="module")
def address(
    serve: Callable[..., Any], vector_collection: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> str:
    """A server of imported vectors: two spaces with maps of 10,000, a circle and its mirror, and `few` without one."""
    angles = (np.arange(COUNT) + 0.5) * 2 * np.pi / COUNT
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    path = tmp_path_factory.mktemp("map") / "many.collection"
    classes = np.where(np.arange(COUNT) < COUNT // 2, "polyps", "normal-cecum").tolist()
    vector_collection(path, {"circle": circle, "mirror": circle}, classes)
    vector_collection(path, {"few": circle[:FEW]}, classes[:FEW])
    put_map(path, "circle", circle)
    put_map(path, "mirror", circle * [-1, 1])
    return str(serve(path, "--rate", "off").url)


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    context = browser.new_context(base_url=address, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    yield page
    context.close()
    assert [fault for fault in faults if "ERR_" not in fault] == []


def open_map(page: Any, query: str = "space=circle") -> Any:
    """The canvases of a page of maps, drawn."""
    page.goto(f"/map/?{query}")
    canvases = page.locator("canvas.map-canvas")
    expect(canvases.first).to_have_attribute("data-points", str(COUNT))
    return canvases


def place_on(canvas: Any, x: float, y: float) -> tuple[float, float]:
    """Where coordinates from -1 to 1 lie on the page."""
    box = canvas.bounding_box()
    unit = 0.47 * min(box["width"], box["height"])
    return box["x"] + box["width"] / 2 + x * unit, box["y"] + box["height"] / 2 - y * unit


def drag(page: Any, canvas: Any, corners: list[tuple[float, float]]) -> None:
    canvas.scroll_into_view_if_needed()
    first, *others = [place_on(canvas, *corner) for corner in corners]
    page.mouse.move(*first)
    page.mouse.down()
    for corner in others:
        page.mouse.move(*corner, steps=4)
    page.mouse.up()


def test_ten_thousand_points_are_drawn_and_the_legend_hides_a_class(page: Any) -> None:
    canvas = open_map(page)
    expect(canvas).to_have_attribute("data-drawn", str(COUNT))
    page.get_by_label("normal-cecum").uncheck()
    expect(canvas).to_have_attribute("data-points", str(COUNT // 2))
    page.get_by_label("normal-cecum").check()
    expect(canvas).to_have_attribute("data-points", str(COUNT))
    page.get_by_label("Colour by").select_option("error")
    expect(page.get_by_text("No stored evaluation has this space")).to_be_visible()
    expect(page.get_by_label("was no query")).to_be_checked()
    source = page.locator('option[value="source"]')
    assert (source.is_disabled(), source.inner_text()) == (True, "source: all images are of one")


def test_pointing_shows_the_picture_and_a_click_on_nothing_takes_it_away(page: Any) -> None:
    canvas = open_map(page)
    page.mouse.move(*place_on(canvas, 0, 1))
    card = page.locator(".map-card")
    expect(card).to_contain_text("polyps")
    expect(card.locator("img")).to_be_visible()
    page.mouse.move(*place_on(canvas, 0, 0))
    expect(card).to_be_hidden()


def test_a_lasso_selects_on_both_maps_and_becomes_a_table(page: Any, tmp_path: Path) -> None:
    canvases = open_map(page)
    page.get_by_label("Lasso").check()
    drag(page, canvases.first, [(0, 1.04), (1.04, 1.04), (1.04, -1.04), (0, -1.04), (0, 0)])
    count = page.locator("[data-count]")
    expect(count).to_contain_text("images selected")
    chosen = int(count.inner_text().split()[0].replace(",", ""))
    assert abs(chosen - COUNT / 2) < COUNT / 100  # half of the circle, to a pixel or two at the ends
    page.get_by_label("Beside it").select_option("mirror")
    canvases = page.locator("canvas.map-canvas")
    expect(canvases.nth(1)).to_have_attribute("data-points", str(COUNT))
    expect(count).to_contain_text(f"{chosen:,} images selected")
    page.get_by_label("Lasso").check()
    with page.expect_download() as download:
        page.get_by_role("button", name="Table (CSV)").click()
    download.value.save_as(tmp_path / "selection.csv")
    with (tmp_path / "selection.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == chosen
    assert all(float(row["x circle"]) > -0.02 and float(row["x mirror"]) < 0.02 for row in rows)
    page.keyboard.down("Alt")
    drag(page, canvases.nth(1), [(-1.04, 0), (-1.04, 1.04), (1.04, 1.04), (1.04, 0)])
    page.keyboard.up("Alt")
    expect(count).not_to_contain_text(f"{chosen:,}")
    left = int(count.inner_text().split()[0].replace(",", ""))
    assert abs(left - COUNT / 4) < COUNT / 100
    page.get_by_role("button", name="Clear the selection").click()
    expect(page.locator("[data-selection]")).to_be_hidden()


def test_a_rectangle_becomes_a_search_among_its_images(page: Any) -> None:
    canvas = open_map(page)
    page.get_by_label("Rectangle").check()
    drag(page, canvas, [(0.9, 0.1), (1.04, -0.1)])
    count = page.locator("[data-count]")
    expect(count).to_contain_text("images selected")
    chosen = count.inner_text().split()[0]
    page.get_by_role("button", name="Search among them").click()
    expect(page.get_by_text(f"Only the {chosen} images that were selected on the map")).to_be_visible()
    page.locator(".suggested a").first.click()
    expect(page.locator(".hit")).to_have_count(12)
    expect(page.get_by_text(f"Only {chosen} selected images are searched")).to_be_attached()
    page.get_by_role("link", name="Search all images").click()
    expect(page.get_by_text("selected images are searched")).to_have_count(0)


def test_a_selection_becomes_a_query(page: Any) -> None:
    canvas = open_map(page)
    page.get_by_label("Rectangle").check()
    drag(page, canvas, [(0.9, 0.1), (1.04, -0.1)])
    page.get_by_role("link", name="Search by 20 of them").click()
    expect(page.locator(".hit")).to_have_count(12)
    expect(page.get_by_text("together with 19 more")).to_be_visible()


def test_everything_by_the_keyboard(page: Any) -> None:
    canvas = open_map(page)
    canvas.focus()
    page.keyboard.press("ArrowRight")
    card = page.locator(".map-card")
    expect(card).to_be_visible()
    first = card.inner_text()
    page.keyboard.press("Space")
    expect(page.locator("[data-count]")).to_have_text("1 image selected")
    page.keyboard.press("r")
    for _ in range(3):
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowUp")
    page.keyboard.press("r")
    expect(page.locator("[data-count]")).to_contain_text("selected")
    page.keyboard.press("Escape")
    expect(card).to_be_hidden()
    page.keyboard.press("+")
    expect(canvas).not_to_have_attribute("data-drawn", str(COUNT))
    page.keyboard.press("0")
    expect(canvas).to_have_attribute("data-drawn", str(COUNT))
    page.keyboard.press("ArrowRight")
    expect(card).to_be_visible()
    assert "Image" in first
    page.keyboard.press("Enter")
    page.wait_for_url("**/collection/images/*")


def test_a_space_without_a_map_is_laid_out_from_the_page(page: Any) -> None:
    page.goto("/map/?space=few")
    expect(page.get_by_text("kvasir map many.collection --space few")).to_be_visible()
    page.get_by_role("button", name="Lay out now").click()
    # A process of its own, at low priority.
    expect(page.locator("canvas.map-canvas")).to_have_attribute("data-drawn", str(FEW), timeout=120_000)
    expect(page.locator("figcaption")).to_contain_text("trustworthiness")


def test_a_map_that_does_not_load_says_so_and_is_tried_again(page: Any) -> None:
    page.route("**/api/v1/map?*", lambda route: route.abort())
    page.goto("/map/?space=circle")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The map could not be loaded")
    page.unroute("**/api/v1/map?*")
    alert.get_by_role("button", name="Try again").click()
    expect(page.locator("canvas.map-canvas")).to_have_attribute("data-points", str(COUNT))


@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_no_violation_in_either_look_and_nothing_overflows(page: Any, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    page.set_viewport_size({"width": width, "height": 844})
    canvases = open_map(page, "space=circle&beside=mirror")
    expect(canvases.nth(1)).to_have_attribute("data-points", str(COUNT))
    canvases.first.focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    expect(page.locator("[data-selection]")).to_be_visible()
    for look in ("light", "dark"):
        page.evaluate("look => { document.documentElement.dataset.theme = look }", look)
        found = axe.Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
