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
def point_at_map() -> Callable[[Any], None]:
    """Move the mouse to the first point of a report's map, once nothing that arrives can move it."""

    def hover(page: Any) -> None:
        page.wait_for_load_state("networkidle")
        point = page.locator("figure.map use").first
        point.scroll_into_view_if_needed()
        point.hover(force=True)

    return hover
