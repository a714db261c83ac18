"""A query of several pictures in a real browser: hits are added to it, weighed and taken out."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = sync_api.expect


def test_hits_are_added_to_an_uploaded_part_weighed_and_taken_out(page: Any, indexed: Any) -> None:
    page.goto("/")
    page.locator("#file").set_input_files(indexed.data / "polyps" / "3.jpg")
    page.wait_for_url("**/results?*")
    page.locator("details.region summary").click()
    for name, value in (("Left", "10"), ("Top", "10"), ("Width", "60"), ("Height", "60")):
        page.get_by_label(name, exact=True).fill(value)
    page.get_by_role("button", name="Search again").click()
    expect(page.locator(".hit")).to_have_count(12)
    page.get_by_role("link", name=re.compile(r"^Add hit 2,")).click()
    several = page.get_by_role("group", name=re.compile("Pictures of the query"))
    expect(several.get_by_role("spinbutton")).to_have_count(2)
    expect(page.locator(".query")).to_contain_text("only the framed part was searched · together with 1 more")
    # From the dialog of a hit as well
    page.locator("a[data-compare]").nth(3).click()
    page.get_by_role("dialog").get_by_role("link", name="Add it to the query").click()
    expect(several.get_by_role("spinbutton")).to_have_count(3)
    # Weights, and a part of a further picture
    several.get_by_label("Weight of your picture").fill("0.01")
    several.get_by_label(re.compile("^Part of image")).nth(1).fill("10 20 60 50")
    page.get_by_role("button", name="Search again").click()
    expect(several.get_by_label("Weight of your picture")).to_have_value("0.01")
    expect(several.get_by_label(re.compile("^Part of image")).nth(1)).to_have_value("10 20 60 50")
    expect(several.locator(".frame")).to_have_count(2)
    assert "part_weights=0.01" in page.url
    # Out again; the uploaded picture leaves its part behind
    page.get_by_role("link", name="Take your picture out of the query").click()
    expect(several.get_by_role("spinbutton")).to_have_count(2)
    assert "left=" not in page.url
    page.get_by_role("link", name=re.compile("^Take image")).first.click()
    expect(several).to_have_count(0)
    expect(page.locator(".hit")).to_have_count(12)


def test_further_pictures_of_ones_own_are_chosen_and_dropped(page: Any, indexed: Any) -> None:
    pictures = indexed.data / "polyps"
    page.goto("/results?image=3")
    several = page.get_by_role("group", name=re.compile("Pictures of the query"))
    fault = page.locator("[data-error]")
    page.locator("#further").set_input_files({"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"no picture"})
    expect(fault).to_have_text("not a picture of a known format (JPEG, PNG, TIFF, BMP, WebP)")
    # What the fields say goes along
    page.get_by_role("spinbutton", name="Hits").fill("7")
    page.locator("#further").set_input_files(pictures / "4.jpg")
    expect(several.get_by_role("spinbutton")).to_have_count(2)
    expect(page.locator(".hit")).to_have_count(7)
    several.get_by_label("Weight of your picture").fill("-0.5")
    data = base64.b64encode((pictures / "5.jpg").read_bytes()).decode()
    page.evaluate(
        """data => {
            const transfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
            transfer.items.add(new File([bytes], "5.jpg", { type: "image/jpeg" }));
            const dropped = { dataTransfer: transfer, bubbles: true, cancelable: true };
            document.querySelector(".add").dispatchEvent(new DragEvent("drop", dropped));
        }""",
        data,
    )
    expect(several.get_by_role("spinbutton")).to_have_count(3)
    expect(several.get_by_label("Weight of your picture", exact=True)).to_have_value("-0.5")
    expect(page.get_by_text("no link to it is offered")).to_be_visible()
    page.get_by_role("link", name="Take your picture 2 out of the query").click()
    expect(several.get_by_role("spinbutton")).to_have_count(2)
    page.get_by_text("Add a vector").click()
    page.get_by_label("Its numbers").fill("1, 2")
    page.get_by_role("button", name="Add the vector").click()
    expect(fault).to_contain_text("1,280")
    page.get_by_label("Its numbers").fill(" ".join(["0.5"] * 1280))
    page.get_by_role("button", name="Add the vector").click()
    parts = page.get_by_role("group", name=re.compile("Parts of the query"))
    expect(parts.get_by_role("spinbutton")).to_have_count(3)
    expect(parts.get_by_label("Weight of your vector")).to_have_value("1")
    # Several at once on the first page
    page.goto("/")
    page.locator("#file").set_input_files([pictures / "4.jpg", pictures / "5.jpg"])
    expect(several.get_by_label("Weight of your picture 2")).to_have_value("1")


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_nothing_and_nothing_overflows(browser: Any, served: Any, theme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    context = browser.new_context(base_url=served.url, viewport={"width": width, "height": 800})
    context.add_cookies([{"name": "theme", "value": theme, "url": served.url}])
    page = context.new_page()
    query = "image=3&more=12,17,20&part_weights=1,0.5,2,1&left=10&top=10&width=60&height=50"
    query += "&part_regions=whole,20+20+50+50,whole"
    for address in (f"/results?{query}", f"/compare?{query}&hit=9"):
        page.goto(address)
        found = axe.Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()
