"""The pages of a collection of imported vectors: no picture can be a query, its images can."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = sync_api.expect
LONG = "Plattenepithelmetaplasieverdachtsdiagnosebefundbezeichnungsverzeichniseintrag"


@pytest.fixture(scope="module")
def address(
    serve: Callable[..., Any], vector_collection: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> str:
    """A server of 40 vectors of two classes, of which one has a long name."""
    vectors = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    path = tmp_path_factory.mktemp("vectors") / "imported.collection"
    return str(serve(vector_collection(path, {"mine": vectors}, ["polyps", LONG] * 20)).url)


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    context = browser.new_context(base_url=address)
    yield context.new_page()
    context.close()


def test_the_first_page_offers_images_and_takes_no_picture(page: Any) -> None:
    page.goto("/")
    expect(page.get_by_text("no other picture can be a query")).to_be_visible()
    expect(page.locator("input[type=file]")).to_have_count(0)
    page.get_by_role("heading", name="Start from an image of the collection").wait_for()
    page.locator(".suggested a").first.click()
    expect(page.locator(".hit")).to_have_count(12)
    expect(page.get_by_text("Search by a part of the picture")).to_have_count(0)


def test_an_image_without_a_picture_has_neither_a_size_nor_places_that_agree(page: Any) -> None:
    for path in ("/collection/images/5", "/compare?image=5&hit=6"):
        page.goto(path)
        expect(page.locator("dt", has_text="File")).to_be_visible()
        expect(page.locator("dt", has_text="Size")).to_have_count(0)
        if path.startswith("/compare"):
            expect(page.get_by_role("link", name="Agreement")).to_have_count(0)


def test_a_long_name_of_a_class_makes_no_page_wider_than_a_phone(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    for path in ("/", "/results?image=5", "/results/classes?image=5", "/compare?image=5&hit=6", "/collection/"):
        page.goto(path)
        expect(page.locator("main")).to_contain_text(LONG)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
