"""The pages in a real browser, behind a reverse proxy that serves them under a prefix."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = sync_api.expect

PREFIX = "/lab/images/0/ID/kvasir"


@pytest.fixture
def walk(browser: Any, serve: Callable[..., Any], proxy: Callable[..., Any], two_spaces: Path) -> Iterator[Any]:
    """A page that begins at the search page; in the end no script failed and nothing outside the prefix was loaded."""
    proxied = proxy(serve(two_spaces, "--rate", "off", "--proxies", "1"), PREFIX)
    context = browser.new_context()
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    page.goto(f"{proxied.url}/")
    yield page
    context.close()
    assert not faults
    assert not proxied.strayed


def test_every_page_works_under_a_prefix(walk: Any, indexed: Any, point_at_map: Callable[[Any], None]) -> None:
    page = walk
    # Search by an upload; the script sends it and leads on
    page.locator("#file").set_input_files(indexed.data / "polyps" / "3.jpg")
    expect(page.locator(".hit")).to_have_count(12)
    expect(page.locator(".hit img").first).to_have_js_property("complete", True)
    assert page.locator(".hit img").first.evaluate("image => image.naturalWidth") > 0
    assert f"{PREFIX}/results?" in page.url
    # A hit next to the query, and the next one
    page.locator("a[data-compare]").first.click()
    expect(page.get_by_role("heading", name="Hit 1 of 12")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", name="Hit 2 of 12")).to_be_visible()
    page.get_by_role("link", name="Search from this image").click()
    expect(page.get_by_role("link", name=re.compile(r"^Image \d+$"))).to_be_visible()
    # The look is remembered, by the script and without it
    with page.expect_response(re.compile("/theme$")):  # a reload that overtakes it would still be light
        page.get_by_role("button", name="Dark", exact=True).click()
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    # The collection, page by page
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Collection").click()
    page.get_by_role("link", name=re.compile("polyps")).first.click()
    page.locator(".grid a").first.click()
    page.get_by_role("link", name="Find similar images").click()
    expect(page.locator(".hit")).to_have_count(12)
    # An evaluation and its report, whose map fetches pictures
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Evaluation").click()
    page.get_by_role("button", name=re.compile("Evaluate")).first.click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible(timeout=120_000)
    expect(page.get_by_role("progressbar")).to_be_hidden(timeout=120_000)
    parts = page.get_by_role("navigation", name="Parts of the report")
    parts.get_by_role("link", name="tf_efficientnet_lite0").click()
    point_at_map(page)
    expect(page.locator(".map-card img")).to_have_js_property("complete", True)
    assert page.locator(".map-card img").evaluate("image => image.naturalWidth") > 0
    # The documentation tries operations under the prefix
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="API").click()
    block = page.locator("#get_collection")
    block.locator("summary").first.click()
    with page.expect_response(re.compile("/api/v1/collection$")) as answer:
        block.get_by_role("button", name="Try it").click()
    assert answer.value.status == 200
    assert PREFIX in answer.value.url


def test_a_picture_that_is_dragged_from_the_page_is_known_under_a_prefix(walk: Any) -> None:
    page = walk
    page.locator(".suggested .strip a").first.click()
    picture = page.locator(".hit img").first.evaluate("image => image.src")
    number = re.search(r"/images/(\d+)/thumbnail", picture)
    assert number
    page.get_by_role("link", name="Another picture").first.click()
    page.wait_for_url(re.compile(rf"{PREFIX}/$"))
    page.evaluate(
        """(address) => {
          const carried = new DataTransfer();
          carried.setData("text/uri-list", address);
          document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: carried, bubbles: true }));
        }""",
        picture,
    )
    page.wait_for_url(re.compile(rf"{PREFIX}/\?image={number[1]}$"))
    expect(page.get_by_alt_text(re.compile(f"Image {number[1]},"))).to_be_visible()
