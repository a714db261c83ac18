"""The hits in a real browser: on the first screen, more of them, zoomed in step, remembered by the browser alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = sync_api.expect

SCREENS = ({"width": 1280, "height": 800}, {"width": 390, "height": 844})


def expect_button_on_the_screen(page: Any, name: str) -> None:
    button = page.get_by_role("button", name=name, exact=True)
    for scrolled in (0, 400, 10_000):
        page.evaluate("top => scrollTo(0, top)", scrolled)
        expect(button).to_be_in_viewport(ratio=1)
    page.evaluate("scrollTo(0, 0)")


@pytest.mark.parametrize("query", ["an upload that is in the collection", "words", "an image of the collection"])
def test_hits_begin_in_the_first_half_and_the_search_button_never_leaves_the_screen(
    page: Any, polyp: Path, query: str
) -> None:
    if query == "words":
        page.goto("/results?text=polyps&k=12")
        expect(page.locator("[data-text-match]")).to_be_visible()
    elif query == "an image of the collection":
        page.goto("/results?image=3&k=12")
    else:
        page.goto("/")
        for size in SCREENS:
            page.set_viewport_size(size)
            expect_button_on_the_screen(page, "Search")
        page.locator("#file").set_input_files(polyp)
        expect(page.get_by_role("link", name="Leave it out")).to_be_visible()
    expect(page.locator(".hit")).to_have_count(12)
    for size in SCREENS:
        page.set_viewport_size(size)
        assert page.locator(".hit img").first.bounding_box()["y"] < size["height"] / 2
        if query == "an image of the collection":  # whose class is known
            expect(page.get_by_text("precision@12").first).to_be_hidden()
            assert page.get_by_text("precision@12").count()
        expect_button_on_the_screen(page, "Search again")


def test_the_pair_fits_a_laptops_height(page: Any) -> None:
    page.set_viewport_size({"width": 1280, "height": 720})
    page.goto("/results?image=3&k=5")
    page.locator("a[data-compare]").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("link", name="Search from this image")).to_be_in_viewport(ratio=1)
    assert dialog.evaluate("box => box.scrollHeight <= box.clientHeight + 1")


@pytest.mark.parametrize("address", ["/results?image=3&k=5", None])
def test_both_pictures_zoom_and_pan_in_step_by_mouse_and_keys(page: Any, address: str | None) -> None:
    page.goto("/results?image=3&k=5")
    link = page.locator("a[data-compare]").nth(1)
    if address:
        link.click()
    else:
        page.goto(link.get_attribute("href"))
    images = page.locator("[data-comparison] .framed img")

    def moves() -> list[str]:
        return [image.evaluate("image => image.style.transform") for image in images.all()]

    expect(images).to_have_count(2)
    page.get_by_role("button", name="Zoom in").click()
    first = moves()
    assert first[0].startswith("scale(1.5)")
    assert first[1].startswith("scale(1.5)")
    page.keyboard.press("Shift+ArrowRight")
    assert moves() != first
    page.keyboard.press("+")
    expect(page.locator(".zoom [role=status]")).to_have_text("225 %")
    page.keyboard.press("0")
    assert [move.split(" translate")[0] for move in moves()] == ["scale(1)", "scale(1)"]
    area = images.nth(1).bounding_box()
    page.mouse.move(area["x"] + area["width"] * 0.75, area["y"] + area["height"] / 2)
    page.mouse.wheel(0, -400)
    wheeled = moves()
    assert [move[:9] for move in wheeled] == ["scale(2.7", "scale(2.7"]
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] * 0.5, area["y"] + area["height"] / 2, steps=3)
    page.mouse.up()
    assert all(move != before for move, before in zip(moves(), wheeled, strict=True))
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", name="Hit 3 of 5")).to_be_visible()


def test_more_hits_come_below_and_open_as_the_others(page: Any) -> None:
    page.goto("/results?image=3&k=6")
    page.get_by_role("link", name="6 more hits").click()
    expect(page.locator(".hit")).to_have_count(12)
    expect(page.get_by_role("heading", level=1)).to_contain_text("12 most similar images")
    assert page.url.endswith("k=12")
    expect(page.get_by_role("spinbutton", name="Hits")).to_have_value("12")
    page.locator("a[data-compare]").nth(9).click()
    expect(page.get_by_role("dialog").get_by_role("heading", name="Hit 10 of 12")).to_be_visible()


def test_searches_are_remembered_by_the_browser_alone_until_forgotten(page: Any, polyp: Path) -> None:
    page.goto("/")
    expect(page.get_by_text("Your recent searches")).to_be_hidden()
    page.locator("#file").set_input_files(polyp)
    expect(page.locator(".hit")).to_have_count(12)
    page.wait_for_function("localStorage.length === 1")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/")
    recent = page.locator("[data-recent]")
    expect(recent.get_by_role("link")).to_have_text(re.compile("most similar images are polyps"))
    assert not [url for url in asked if "/queries/" in url]  # its picture is in the browser as well
    recent.get_by_role("link").click()
    expect(page.locator(".hit")).to_have_count(12)
    page.goto("/")
    page.get_by_role("button", name="Forget them").click()
    expect(recent).to_be_hidden()
    assert page.evaluate("localStorage.length") == 0


def test_an_upload_that_is_in_the_collection_is_left_out_by_one_click(page: Any, polyp: Path) -> None:
    page.goto("/")
    page.locator("#file").set_input_files(polyp)
    expect(page.get_by_role("note")).to_contain_text("This very picture is in the collection")
    same = page.locator(".hit .look").first.get_attribute("href")
    page.get_by_role("link", name="Leave it out").click()
    expect(page.get_by_role("note")).to_contain_text("It is left out.")
    hit = re.search(r"hit=\d+", same)
    assert hit is not None
    assert not [link for link in page.locator(".hit .look").all() if hit[0] in link.get_attribute("href")]
