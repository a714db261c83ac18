"""The page that asks for a picture, in a real browser: what was given is never lost, and faults are told in words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = sync_api.expect


def upload(page: Any, picture: Path) -> Any:
    """Choose a picture, see its hits, and go back to where it was chosen; returns its place on the page."""
    page.goto("/")
    page.locator("#file").set_input_files(picture)
    page.wait_for_url("**/results?*")
    page.go_back()
    expect(page.get_by_alt_text(re.compile("Your picture"))).to_be_visible()
    return page.locator("[data-preview] .framed").bounding_box()


def drag(page: Any, area: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw from one point to another, both in shares of the picture."""
    points = [(area["x"] + area["width"] * x, area["y"] + area["height"] * y) for x, y in (start, end)]
    page.mouse.move(*points[0])
    page.mouse.down()
    page.mouse.move(*points[1], steps=4)
    page.mouse.up()


def search(page: Any) -> None:
    page.get_by_role("button", name="Search", exact=True).click()


def test_back_from_the_answer_the_picture_and_its_part_are_still_there(page: Any, polyp: Path) -> None:
    area = upload(page, polyp)
    drag(page, area, (0.1, 0.1), (0.9, 0.8))
    search(page)
    expect(page.locator(".hit")).to_have_count(12)
    page.go_back()
    expect(page.get_by_alt_text("Your picture, 3.jpg")).to_be_visible()
    assert float(page.locator('input[name="left"]').input_value()) == pytest.approx(10, abs=1.5)
    expect(page.locator(".box")).to_be_visible()
    search(page)
    expect(page.locator(".hit")).to_have_count(12)


def test_a_line_is_no_box(page: Any, polyp: Path) -> None:
    area = upload(page, polyp)
    drag(page, area, (0.1, 0.5), (0.9, 0.5))
    drag(page, area, (0.5, 0.2), (0.51, 0.8))
    expect(page.locator(".box")).to_be_hidden()
    assert page.locator('input[name="left"]').input_value() == ""


def test_a_part_that_is_too_small_or_has_no_height_is_told_while_the_picture_is_there(page: Any, polyp: Path) -> None:
    upload(page, polyp)
    page.get_by_text("Search by a part of the picture").click()
    for height, told in (("3", "The framed part has fewer than 8x8 pixels"), ("0", "must have a width and a height")):
        for name, value in (("left", "10"), ("top", "10"), ("width", "50"), ("height", height)):
            page.locator(f'input[name="{name}"]').fill(value)
        search(page)
        expect(page.get_by_role("alert")).to_contain_text(told, ignore_case=True)
        expect(page.get_by_alt_text(re.compile("Your picture"))).to_be_visible()
    page.locator('input[name="height"]').fill("40")
    search(page)
    expect(page.locator(".hit")).to_have_count(12)
    page.goto("/?image=3")
    page.get_by_text("Search by a part of the picture").click()
    for name, value in (("left", "10"), ("top", "10"), ("width", "50"), ("height", "1")):
        page.locator(f'input[name="{name}"]').fill(value)
    search(page)
    expect(page.get_by_role("alert")).to_contain_text("fewer than 8x8 pixels")


def test_a_word_that_is_dropped_is_told_to_be_no_picture(page: Any) -> None:
    page.goto("/")
    page.evaluate(
        """() => {
            const transfer = new DataTransfer();
            transfer.setData("text/plain", "a word");
            dispatchEvent(new DragEvent("drop", { dataTransfer: transfer }));
        }"""
    )
    expect(page.get_by_role("alert")).to_have_text("That is not a picture file.")


def test_a_picture_of_the_page_itself_that_is_dropped_is_searched_by(page: Any) -> None:
    for address, dragged in (("/", ".suggested img"), ("/?image=3", None)):
        page.goto(address)
        if dragged:
            image = page.locator(dragged).nth(4)
            name = image.get_attribute("alt")
            image.drag_to(page.locator("[data-drop]"))
        else:  # from the tab of an answer
            name = "Image 9"
            page.evaluate(
                """() => {
                    const transfer = new DataTransfer();
                    transfer.setData("text/uri-list", new URL("/compare?image=3&k=5&hit=9", location).href);
                    dispatchEvent(new DragEvent("drop", { dataTransfer: transfer }));
                }"""
            )
        expect(page.locator("[data-preview]").get_by_alt_text(re.compile(f"{name},"))).to_be_visible()
        assert page.url.endswith(f"/?image={name.removeprefix('Image ')}")


def test_a_picture_of_another_site_that_is_dropped_is_not_followed(page: Any) -> None:
    page.goto("/?image=3")
    page.evaluate(
        """() => {
            const transfer = new DataTransfer();
            transfer.setData("text/uri-list", "https://elsewhere.example/?image=9");
            dispatchEvent(new DragEvent("drop", { dataTransfer: transfer }));
        }"""
    )
    expect(page.get_by_role("alert")).to_have_text("That is not a picture file.")
    assert page.url.endswith("/?image=3")


def test_a_known_image_may_be_framed_and_its_class_is_asked_for_once_another_is_chosen(page: Any, polyp: Path) -> None:
    page.goto("/?image=3")
    hint = page.get_by_text("Draw a box on it")
    expect(hint).to_be_visible()
    expect(page.get_by_text("the class of the query is known")).to_be_visible()
    expect(page.get_by_label("Class of the query")).to_be_hidden()
    page.route("**/search", lambda route: route.abort())  # it stays on this page
    page.locator("#file").set_input_files(polyp)
    expect(hint).to_have_count(1)
    expect(page.get_by_text("the class of the query is known")).to_have_count(0)
    page.get_by_label("Class of the query").select_option("polyps")


def test_the_look_is_the_systems_until_one_is_chosen(browser: Any, served: Any) -> None:
    grounds = {"light": "rgb(246, 247, 247)", "dark": "rgb(11, 14, 16)"}
    ground = "getComputedStyle(document.body).backgroundColor"
    for system, other in (("light", "dark"), ("dark", "light")):
        context = browser.new_context(base_url=served.url, color_scheme=system)
        page = context.new_page()
        page.goto("/")
        assert page.evaluate(ground) == grounds[system]
        with page.expect_response("**/theme"):
            page.get_by_role("button", name=other.capitalize(), exact=True).click()
        assert page.evaluate(ground) == grounds[other]
        page.goto("/collection/")
        assert page.evaluate(ground) == grounds[other]
        with page.expect_response("**/theme"):
            page.get_by_role("button", name=system.capitalize(), exact=True).click()
        assert [cookie["name"] for cookie in context.cookies()] == []  # the system's look again
        context.close()


def test_switching_the_look_keeps_the_picture_and_what_was_filled_in(page: Any, polyp: Path) -> None:
    upload(page, polyp)
    page.get_by_label("Hits").fill("7")
    with page.expect_response("**/theme") as switched:
        page.get_by_role("button", name="Dark").click()
    assert switched.value.status == 303
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.get_by_alt_text("Your picture, 3.jpg")).to_be_visible()
    expect(page.get_by_label("Hits")).to_have_value("7")
    search(page)
    expect(page.locator(".hit")).to_have_count(7)
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")  # the server remembers
    page.get_by_role("button", name="Light").click()
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_without_javascript_a_refused_picture_keeps_the_options(browser: Any, served: Any, tmp_path: Path) -> None:
    bad = tmp_path / "notes.jpg"
    bad.write_text("not a picture")
    context = browser.new_context(base_url=served.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/?image=3")
    page.locator("#file").set_input_files(bad)
    page.get_by_label("Hits").fill("7")
    page.get_by_text("Only some classes").click()
    page.get_by_role("checkbox", name="cecum").check()
    page.get_by_role("checkbox", name="test_vit").check()
    search(page)
    expect(page.get_by_role("alert")).to_contain_text("not a picture of a known format")
    expect(page.get_by_label("Hits")).to_have_value("7")
    expect(page.get_by_role("checkbox", name="cecum")).to_be_checked()
    expect(page.get_by_role("checkbox", name="test_vit")).to_be_checked()
    expect(page.get_by_alt_text(re.compile("Image 3"))).to_be_visible()
    context.close()


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("/results?image=3&k=many", "Hits: input should be a valid integer"),
        ("/results?image=3&foo=1", "A search has no field 'foo'"),
        (
            "/results?image=3&left=90&top=0&width=20&height=50",
            "The part of the picture: must have a width and a height and lie inside it",
        ),
    ],
)
def test_a_wrong_address_is_told_in_the_words_of_the_page(page: Any, address: str, told: str) -> None:
    page.goto(address)
    expect(page.locator(".state")).to_contain_text(told)
    assert "Value error" not in page.content()


def test_an_uploaded_query_of_a_known_class_reads_as_a_sentence(page: Any, polyp: Path) -> None:
    upload(page, polyp)
    page.get_by_label("Class of the query").select_option("polyps")
    search(page)
    expect(page.locator(".query .note")).to_have_text(re.compile(r"^\s*Your picture, polyps"))


def test_on_a_phone_nothing_lies_over_the_first_field(browser: Any, served: Any, polyp: Path) -> None:
    context = browser.new_context(base_url=served.url, viewport={"width": 360, "height": 740}, has_touch=True)
    page = context.new_page()
    covered = """() => {
        const field = document.getElementById("k"), box = field.getBoundingClientRect();
        const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
        return top !== null && top !== field;
    }"""
    page.goto("/")
    assert not page.evaluate(covered)
    upload(page, polyp)
    page.get_by_label("Hits").focus()  # scrolls it into view, above the button that stays
    assert not page.evaluate(covered)
    context.close()
