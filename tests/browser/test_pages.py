"""The pages in a real browser: every way in, the states, the keyboard, a narrow screen, no JavaScript, axe."""

from __future__ import annotations

import base64
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from retrieval.collection import Collection, CollectionWriter, NewImage
from web.app import create_app
from web.context import Settings

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = sync_api.expect


@pytest.fixture(scope="module")
def served(serve: Callable[..., Any], two_spaces: Path) -> Any:
    """A server of this module's own: it gets an evaluation."""
    return serve(two_spaces, "--rate", "off")


def expect_no_violation(page: Any, **options: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    found = axe.Axe().run(page, options=options)
    assert found.violations_count == 0, found.generate_report()


def upload(page: Any, picture: Path) -> None:
    """Choose a picture, which is searched at once."""
    page.goto("/")
    page.locator("#file").set_input_files(picture)
    page.wait_for_url("**/results?*")


def test_an_uploaded_picture_is_searched_at_once_and_finds_itself(page: Any, polyp: Path) -> None:
    upload(page, polyp)
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(r"of the 12 most similar images are polyps"))
    expect(page.locator(".hit")).to_have_count(12)
    first = page.locator(".hit").first
    expect(first).to_contain_text("polyps")
    expect(first.locator(".how .word")).to_have_text(re.compile(r"^(1\.000|0\.999)$"))


def test_a_gone_picture_has_a_placeholder_in_its_place(
    browser: Any, serve: Callable[..., Any], two_spaces: Path, tmp_path: Path
) -> None:
    path = shutil.copytree(two_spaces, tmp_path / "moved.collection")
    vectors = {space.name: Collection.open(path).vector(space.name, 0) for space in Collection.open(path).spaces}
    with CollectionWriter(path) as writer:
        source = writer.source(tmp_path / "gone", "folder")
        (lost,) = writer.append([NewImage(source, "a.jpg", None, 99, 99, 1, 0, bytes(32), vectors)])
    page = browser.new_context(base_url=serve(path).url).new_page()
    for address in (f"/collection/images/{lost}", f"/results?image={lost}", f"/compare?image=0&hit={lost}"):
        page.goto(address)
        pictures = page.locator(f'img[src*="/images/{lost}/"]')
        assert pictures.count() > 0
        for picture in pictures.all():
            expect(picture).to_be_visible()
            assert picture.evaluate("image => image.naturalWidth") == 320  # the placeholder's; of a broken one 0
    page.context.close()


def test_a_pasted_picture_is_searched(page: Any, polyp: Path) -> None:
    page.goto("/")
    data = base64.b64encode(polyp.read_bytes()).decode()
    page.evaluate(
        """data => {
            const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "clip.jpg", { type: "image/jpeg" }));
            dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer }));
        }""",
        data,
    )
    expect(page.locator(".hit").first).to_contain_text("polyps")


def test_a_box_drawn_on_the_query_is_the_region_searched(page: Any, polyp: Path) -> None:
    upload(page, polyp)
    frame = page.locator(".query .framed")
    area = frame.bounding_box()
    page.mouse.move(area["x"] + area["width"] * 0.25, area["y"] + area["height"] * 0.25)
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] * 0.75, area["y"] + area["height"] * 0.9, steps=4)
    page.mouse.up()
    expect(page.locator(".box")).to_be_visible()
    assert float(page.locator('input[name="left"]').input_value()) == pytest.approx(25, abs=1.5)
    page.get_by_role("button", name="Search again").click()
    expect(page.get_by_text("only the framed part was searched")).to_be_visible()
    assert "left=2" in page.url
    expect(page.locator(".box")).to_be_visible()


def test_a_hit_leads_on_and_back_and_forward_work(page: Any) -> None:
    page.goto("/results?image=3&k=5")
    heading = page.locator(".query .note")
    expect(heading).to_contain_text("Image 3")
    page.get_by_role("link", name=re.compile("Search from hit 2")).click()
    expect(heading).not_to_contain_text("Image 3,")
    second = page.url
    page.go_back()
    expect(heading).to_contain_text("Image 3")
    page.go_forward()
    assert page.url == second


def test_hits_are_compared_by_keyboard_alone(page: Any) -> None:
    page.goto("/results?image=3&k=5")
    page.locator("a[data-compare]").first.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", name="Hit 1 of 5")).to_be_visible()
    expect(dialog.get_by_role("row")).to_have_count(3)  # the head and both spaces
    expect_no_violation(page)
    page.keyboard.press("ArrowRight")
    expect(dialog.get_by_role("heading", name="Hit 2 of 5")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(dialog.get_by_role("heading", name="Hit 1 of 5")).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert page.evaluate("document.activeElement.matches('a[data-compare]')")


def test_the_whole_way_goes_by_keyboard(page: Any) -> None:
    page.goto("/?image=3")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('button.primary')"):
            break
    page.keyboard.press("Enter")
    expect(page.locator(".hit")).to_have_count(12)


def test_a_class_filter_and_a_known_class_show_in_the_answer(page: Any, polyp: Path) -> None:
    page.goto("/")
    page.get_by_text("Only some classes").click()
    page.get_by_role("checkbox", name="cecum").check()
    page.get_by_role("checkbox", name="polyps").check()
    page.get_by_label("Class of the query").select_option("polyps")
    page.get_by_label("Hits").fill("10")
    page.locator("#file").set_input_files(polyp)
    expect(page.locator(".legend li")).to_have_count(2)
    expect(page.get_by_text("precision@10")).to_be_visible()
    expect(page.locator("svg[aria-label^='Recall over k']")).to_be_visible()
    word = page.get_by_role("button", name="precision@10")
    word.hover()
    expect(page.get_by_role("tooltip", name=re.compile("Of the 10 images requested"))).to_be_visible()


def test_the_link_of_an_answer_brings_it_back_elsewhere_unless_it_shows_an_upload(
    page: Any, browser: Any, polyp: Path
) -> None:
    upload(page, polyp)
    expect(page.get_by_label("Link to these hits")).to_have_count(0)
    expect(page.locator(".share")).to_contain_text("no link to it is offered")
    page.get_by_role("link", name=re.compile("^Search from hit 1,")).click()
    link = page.get_by_label("Link to these hits").input_value()
    assert "upload" not in link
    other = browser.new_context().new_page()
    other.goto(link)
    expect(other.locator(".hit")).to_have_count(12)
    assert other.locator(".query img").evaluate("image => image.naturalWidth") > 0
    other.context.close()


def test_faults_are_told_in_words_where_the_picture_was_given(page: Any, tmp_path: Path) -> None:
    bad = tmp_path / "notes.jpg"
    bad.write_text("not a picture")
    page.goto("/")
    page.locator("#file").set_input_files(bad)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("not a picture of a known format")
    big = tmp_path / "big.jpg"
    big.write_bytes(bytes(21 * 2**20))
    page.locator("#file").set_input_files(big)
    expect(alert).to_contain_text("a picture may have at most 20 MiB")
    expect_no_violation(page)


def test_a_server_that_is_gone_and_one_that_is_slow_are_told(page: Any, polyp: Path) -> None:
    page.goto("/")
    page.route("**/search", lambda route: route.abort("connectionrefused"))
    page.locator("#file").set_input_files(polyp)
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    page.unroute("**/search")
    held: list[Any] = []
    page.route("**/search", lambda route: held.append(route))
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator("#progress")).to_be_visible()
    held[0].continue_()
    expect(page.locator(".hit")).to_have_count(12)


def test_without_javascript_a_picture_is_uploaded_and_its_hits_are_seen(browser: Any, served: Any, polyp: Path) -> None:
    context = browser.new_context(base_url=served.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/")
    page.locator("#file").set_input_files(polyp)
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator(".hit")).to_have_count(12)
    page.locator(".look").first.click()
    expect(page.get_by_role("heading", name="Hit 1 of 12")).to_be_visible()
    page.get_by_role("link", name="Next").click()
    expect(page.get_by_role("heading", name="Hit 2 of 12")).to_be_visible()
    page.goto("/")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("choose a picture first")
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    context.close()


PAGES = [
    "/",
    "/?image=3",
    "/results?image=3&k=6",
    "/results?image=24&k=6",
    "/results?image=3&k=6&left=10&top=10&width=50&height=50",
    "/compare?image=3&hit=9",
    "/results?text=polyps",
    "/results/classes?text=polyps",
    "/api/v1/docs",
    "/collection/",
    "/collection/images/",
    "/collection/images/?class=polyps",
    "/collection/images/?class=none",
    "/collection/images/3",
    "/collection/duplicates/",
    "/evaluation/",
    "/map/",
    "/results?upload=gone",
    "/nothing",
]
SPACE = "part=tf_efficientnet_lite0"
REPORT_PAGES = [
    "/evaluation/",
    f"/evaluation/?{SPACE}",
    f"/evaluation/?{SPACE}&view=labels",
    f"/evaluation/?{SPACE}&view=queries",
    "/evaluation/compare?first={first}&second={first}",
]
"""Of a collection that was evaluated."""
FILES = {"map.script", "pages.download", "pages.query_picture", "report.file", "static"}
"""Endpoints outside the API that send files, which their addresses name."""
IN_A_TEST_OF_ITS_OWN = {"report.whole"}


def test_axe_looks_at_every_page(two_spaces: Path) -> None:
    app = create_app(Settings(two_spaces), background=False)
    client, routes = app.test_client(), app.url_map.bind("")
    looked_at = {routes.match(urlsplit(page).path)[0] for page in [*PAGES, *REPORT_PAGES] if page != "/nothing"}
    pages = set()
    for rule in app.url_map.iter_rules():
        if "GET" not in rule.methods or (rule.arguments and rule.rule.startswith("/api/")):
            continue
        if rule.arguments:
            pages |= {rule.endpoint} - FILES
            continue
        response = client.get(rule.rule)
        if response.mimetype == "text/html" and response.location is None:
            pages.add(rule.endpoint)
    assert pages - IN_A_TEST_OF_ITS_OWN == looked_at


OF_COLOUR = ["color-contrast", "link-in-text-block"]
"""The rules of axe that the other look can break."""
SWITCH = """look => {
    document.documentElement.dataset.theme = look;
    for (const change of document.getAnimations()) change.finish(); // colours on their way are of neither look
}"""


def expect_well_made(page: Any, address: str) -> None:
    """Axe finds nothing in either look at either width, and nothing overflows."""
    page.goto(address)
    for link in page.locator(".parts a").all()[-1:]:
        link.evaluate("link => { link.textContent = 'AutoColorCorrelogram+'.repeat(5) }")
    for width, look, other_look in ((1280, "light", "dark"), (360, "dark", "light")):
        page.set_viewport_size({"width": width, "height": 800})
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), f"{address} at {width}"
        page.evaluate(SWITCH, look)
        expect_no_violation(page)
        page.evaluate(SWITCH, other_look)
        expect_no_violation(page, runOnly=OF_COLOUR)


def test_axe_finds_no_violation_in_any_look_at_any_width_and_nothing_overflows(page: Any, served: Any) -> None:
    for address in PAGES:
        expect_well_made(page, address)


def test_with_forced_colours_the_current_place_is_still_marked(browser: Any, evaluated: Any) -> None:
    context = browser.new_context(base_url=evaluated.url, forced_colors="active")
    page = context.new_page()
    for address, marked in (
        ("/collection/images/?class=polyps", ["Collection", "polyps 9"]),
        ("/evaluation/", ["Evaluation", "Overview"]),
    ):
        page.goto(address)
        current = page.locator("[aria-current]")
        assert [text.strip() for text in current.all_inner_texts()] == marked
        for at in range(len(marked)):
            assert current.nth(at).evaluate("one => getComputedStyle(one).outlineStyle") == "solid"
        for words in page.locator("figure.plot svg text").all():  # drawn on the forced ground
            assert words.evaluate("one => getComputedStyle(one).fill") == "rgb(0, 0, 0)"
        other = page.get_by_role("link", name="Search", exact=True)
        assert other.evaluate("one => getComputedStyle(one).outlineStyle") == "none"
    context.close()


def test_an_explanation_shows_by_keyboard_and_by_finger_and_escape_hides_it(
    page: Any, browser: Any, served: Any
) -> None:
    page.goto("/results?image=3&k=6")
    page.get_by_text("Precision and recall", exact=True).click()
    word = page.get_by_role("button", name="precision@6")
    tip = page.get_by_role("tooltip", name=re.compile("Of the 6 images requested"))
    expect(tip).to_be_hidden()
    word.focus()
    expect(tip).to_be_visible()
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()
    described = page.evaluate(
        "e => document.getElementById(e.getAttribute('aria-describedby')).textContent", word.element_handle()
    )
    assert described.startswith("Of the 6 images requested")
    context = browser.new_context(base_url=served.url, viewport={"width": 360, "height": 740}, has_touch=True)
    phone = context.new_page()
    phone.goto("/results?image=3&k=6")
    similarity = phone.get_by_role("button", name=re.compile("Similarity")).nth(1)  # in the right column
    similarity.tap()
    shown = phone.locator(".term:focus-within .tip")
    expect(shown).to_be_visible()
    box = shown.bounding_box()
    assert 0 <= box["x"] <= box["x"] + box["width"] <= 360
    context.close()


@pytest.fixture(scope="module")
def evaluated(served: Any) -> Any:
    """The server, with an evaluation that has a curve for every space."""
    import httpx

    with httpx.Client(base_url=served.url, timeout=60) as api:
        job = api.post("/api/v1/evaluations", json={"samples": 20}).headers["Location"]
        while api.get(job).json()["state"] == "running":
            time.sleep(0.2)
        assert api.get(job).json()["error"] is None
    return served


def test_an_evaluation_is_started_from_the_page_and_its_report_appears(
    page: Any, serve: Callable[..., Any], two_spaces: Path, tmp_path: Path
) -> None:
    path = tmp_path / "fresh.collection"
    shutil.copytree(two_spaces, path, ignore=shutil.ignore_patterns("evaluations"))
    page.goto(f"{serve(path).url}/evaluation/")
    expect(page.get_by_role("heading", name="Not evaluated yet")).to_be_visible()
    page.get_by_label("All spaces are also fused by").select_option("zscore")
    page.get_by_label("Also simulate users who mark hits").check()
    page.get_by_role("button", name="Evaluate now").click()
    expect(page.get_by_role("progressbar", name=re.compile("2 spaces and 1 fusion"))).to_be_visible()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible(timeout=90_000)
    expect(page.get_by_role("heading", name="After marks on hits")).to_be_visible()
    parts = page.get_by_role("navigation", name="Parts of the report")
    parts.get_by_role("link", name=re.compile(r"^zscore:.+\+")).click()
    expect(page.get_by_role("heading", name="Precision and recall over k")).to_be_visible()


def test_the_whole_report_is_in_the_site_under_its_policy(
    page: Any, evaluated: Any, point_at_map: Callable[[Any], None]
) -> None:
    page.goto("/evaluation/")
    page.get_by_role("navigation", name="Parts of the report").get_by_role("link", name="tf_efficientnet_lite0").click()
    titles = ["Precision and recall over k", "Precision over recall", "Classes side by side", "Confusion"]
    for title in [*titles, "Whose neighbours are whose", "Map"]:
        expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    views = page.get_by_role("navigation", name="Views of")
    views.get_by_role("link", name="Likely label errors and hubs").click()
    for title in ("Likely label errors", "Hubs: most often wrongly retrieved"):
        expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    views.get_by_role("link", name="Best and worst queries").click()
    for title in ("Best queries", "Worst queries"):
        expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    thumb = page.locator(".thumb img").first
    thumb.scroll_into_view_if_needed()
    expect(thumb).to_have_js_property("naturalWidth", 120)
    views.get_by_role("link", name="Figures").click()
    expect(page.get_by_role("heading", name="Confusion")).to_be_visible()
    # A style that the policy blocked would leave lines without colour.
    stroke = "getComputedStyle(document.querySelector('figure.plot svg path[stroke]')).stroke"
    assert page.evaluate(stroke).startswith("rgb")
    point_at_map(page)
    expect(page.locator(".map-card img")).to_have_js_property("complete", True)
    assert page.locator(".map-card img").evaluate("image => image.naturalWidth") > 0
    word = page.get_by_role("button", name="mAP").first
    word.hover()
    expect(page.get_by_role("tooltip", name=re.compile("mean of AP"))).to_be_visible()
    views.get_by_role("link", name="Best and worst queries").click()
    page.locator(".thumb a").first.click()
    expect(page.get_by_role("heading", name=re.compile("Image \\d+"))).to_be_visible()


def test_axe_finds_no_violation_in_the_report(page: Any, evaluated: Any) -> None:
    first = httpx.get(f"{evaluated.url}/api/v1/evaluations").json()["evaluations"][0]["id"]
    for address in REPORT_PAGES:
        expect_well_made(page, address.replace("{first}", first))
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.locator(".compared .wide").evaluate("table => table.scrollWidth <= table.clientWidth")


def test_no_hits_and_an_empty_collection_are_states(
    page: Any, serve: Callable[..., Any], two_spaces: Path, tmp_path: Path
) -> None:
    from retrieval.collection import Collection, CollectionWriter

    path = tmp_path / "small.collection"
    shutil.copytree(two_spaces, path)
    ids = Collection.open(path).images.ids.tolist()
    with CollectionWriter(path) as writer:
        writer.remove(ids[1:])
    small = serve(path)
    page.goto(f"{small.url}/results?image={ids[0]}")
    expect(page.get_by_role("heading", name="No hits")).to_be_visible()
    expect_no_violation(page)
    with CollectionWriter(path) as writer:
        writer.remove(ids[:1])
    page.wait_for_timeout(1500)
    for address, text in (("/", "This collection is empty"), ("/collection/", "The collection is empty")):
        page.goto(f"{small.url}{address}")
        expect(page.get_by_text(text)).to_be_visible()
        expect_no_violation(page)


def test_the_documentation_of_the_api_needs_nothing_from_outside(page: Any, served: Any) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/api/v1/docs")
    expect(page.get_by_text("/api/v1/search", exact=True)).to_be_visible()
    assert all(url.startswith((served.url, "data:", "blob:")) for url in asked)
