"""Reasons over REST and on the page of a hit, without JavaScript."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retrieval.collection import Collection
from retrieval.reasons.faithfulness import Faithfulness
from retrieval.reasons.store import store_outcome
from web.app import create_app
from web.context import Settings

PASSED = Faithfulness("blur", 1, 100, 0, 0.95, 0.8, 0.5, {"relevant": 0.08, "random": 0.02, "centre": 0.03})


@pytest.fixture(scope="module")
def path(
    drawn_in_two_spaces: Path,
    indexed: Any,
    index_folder: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Spaces of the default encoder, of a small vision transformer and of JCD."""
    copied = Path(shutil.copytree(drawn_in_two_spaces, tmp_path_factory.mktemp("reasons") / "drawn.collection"))
    return index_folder(indexed.data, copied, descriptors="JCD")


@pytest.fixture(scope="module")
def client(path: Path) -> Any:
    opened = Collection.open(path)
    for space in opened.spaces[:2]:
        store_outcome(opened, space.name, [PASSED])
    return create_app(Settings(collection=path, rate=""), background=False).test_client()


def spaces_of(client: Any) -> list[str]:
    return [space["name"] for space in client.get("/api/v1/collection").json["spaces"]]


def test_reasons_of_an_image_are_numbers_by_cell_and_shares(client: Any) -> None:
    first, transformer, descriptor = spaces_of(client)
    response = client.get(f"/api/v1/images/1/reasons?query=0&spaces={first},{transformer},{descriptor}")
    assert response.status_code == 200
    agreement, of_tokens = response.json["agreements"]
    assert (agreement["space"], of_tokens["space"]) == (first, transformer)
    assert (of_tokens["query"]["rows"], of_tokens["query"]["columns"]) == (10, 10)  # its patches
    assert agreement["test"]["passed"]
    side = agreement["query"]
    assert len(side["relevance"]) == side["rows"]
    assert {len(row) for row in side["matches"]} == {side["columns"]}
    (shares,) = response.json["shares"]
    assert shares["space"] == descriptor
    for facet in shares["facets"]:
        assert sum(group["distance"] for group in facet["groups"]) == pytest.approx(shares["distance"])


def test_a_picture_and_the_image_that_it_is_have_the_same_reasons(client: Any, path: Path) -> None:
    first = spaces_of(client)[0]
    data = Collection.open(path).read(0)
    by_id = client.get(f"/api/v1/images/1/reasons?query=0&spaces={first}").json
    by_body = client.post(f"/api/v1/images/1/reasons?spaces={first}", data=data, content_type="image/jpeg").json
    assert by_body["agreements"] == by_id["agreements"]


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/api/v1/images/99999/reasons?query=0", 404),
        ("/api/v1/images/1/reasons?query=99999", 404),
        ("/api/v1/images/1/reasons", 422),
        ("/api/v1/images/1/reasons?query=0&spaces=none", 422),
    ],
)
def test_faults_are_problem_documents(client: Any, address: str, status: int) -> None:
    response = client.get(address)
    assert response.status_code == status
    assert response.mimetype == "application/problem+json"


def test_the_page_of_a_hit_shows_cells_once_they_are_wanted(client: Any) -> None:
    plain = client.get("/compare?image=0&hit=1").text
    assert "frame cells" not in plain
    (link,) = re.findall(r'data-agreement href="([^"]+)"', plain)
    shown = client.get(link.replace("&amp;", "&")).text
    assert shown.count('class="frame cells"') == 2
    assert "Matters little" in shown
    assert "95% of 100 pairs" in shown
    assert "What the distances are made of" in shown


def test_without_a_passed_test_the_page_says_why(client: Any, path: Path) -> None:
    opened = Collection.open(path)
    name = opened.spaces[0].name
    store_outcome(opened, name, [Faithfulness(**vars(PASSED) | {"above_random": 0.5})])
    try:
        shown = client.get("/compare?image=0&hit=1&agreement=1").text
    finally:
        store_outcome(opened, name, [PASSED])
    assert "frame cells" not in shown
    assert "is not shown" in shown
    assert "only 50% of pairs" in shown
