"""What the tests in a browser share: a page that fails its test by itself, and a picture to drop on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def page(browser: Any, served: Any) -> Iterator[Any]:
    """A page that fails its test where anything is blocked, missing or broken."""
    context = browser.new_context(base_url=served.url, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    page.faults = faults
    yield page
    context.close()
    assert not [fault for fault in faults if "status of 4" not in fault and "ERR_" not in fault]


@pytest.fixture
def polyp(indexed: Any) -> Path:
    return Path(indexed.data / "polyps" / "3.jpg")


@pytest.fixture
def point_at_map() -> Callable[..., None]:
    """(page, by the page's mouse unless another way is given) Point at an image on a report's map."""

    def hover(page: Any, point: Callable[[float, float], None] | None = None) -> None:
        page.wait_for_load_state("networkidle")  # nothing that arrives can move it any more
        canvas = page.locator("figure.map canvas.map-canvas").first
        canvas.scroll_into_view_if_needed()
        canvas.focus()
        page.keyboard.press("ArrowRight")
        page.locator("figure.map canvas.map-canvas[data-at]").first.wait_for()
        left, top = map(float, canvas.get_attribute("data-at").split())
        page.keyboard.press("Escape")
        page.locator("figure.map canvas.map-canvas:not([data-at])").first.wait_for()
        box = canvas.bounding_box()
        (point or page.mouse.move)(box["x"] + left, box["y"] + top)

    return hover
