"""What the pages say and link to, without a browser: headlines, curves, links, numbers that are none."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
import sqlite3
import time
import zipfile
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import numpy as np
import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient
from PIL import Image

from indexer.datasets.labels import labels_from_table
from retrieval.collection import Collection, CollectionWriter
from retrieval.command_line import kvasir
from retrieval.embedder import Embedder
from retrieval.fusion import METHODS
from retrieval.hits import SCORE_KINDS
from retrieval.marks import BLACK_BOX, BORDER, TEXT, Marks
from retrieval.report.store import stored_evaluations
from web.app import create_app
from web.context import Settings
from web.pages.results import SCORES


@pytest.fixture(scope="module")
def client(two_spaces: Path) -> FlaskClient:
    return create_app(Settings(two_spaces), background=False).test_client()


@pytest.fixture(scope="module")
def uploaded(client: FlaskClient, indexed: Any) -> str:
    """The address of an uploaded picture's results."""
    with (indexed.data / "polyps" / "3.jpg").open("rb") as file:
        answer = client.post("/search", data={"picture": (file, "3.jpg"), "k": "3"})
    return str(answer.headers["Location"])


@pytest.fixture
def labelled(write_collection: Callable[..., Path], tmp_path: Path) -> Any:
    """(classes) -> a client of a collection with one image of each; the n-th is the n-th nearest to the first."""

    def made(*classes: str | None) -> FlaskClient:
        angles = np.arange(len(classes)) * 0.01
        vectors = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
        write_collection(tmp_path / "made", {"s": vectors}, classes, size=(40, 30))
        return create_app(Settings(tmp_path / "made"), background=False).test_client()

    return made


def text(client: FlaskClient, address: str, status: int = 200) -> str:
    """What a page says, its tags left out."""
    answer = client.get(address)
    assert answer.status_code == status, answer.text
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", answer.text)))


def links(client: FlaskClient, address: str, words: str) -> list[dict[str, list[str]]]:
    """The fields of each link of a page whose text or label begins so."""
    found = re.findall(r"<a\b[^>]*>[^<]*", client.get(address).text)
    hrefs = [re.search(r'href="([^"]*)"', one) for one in found if re.search(rf'(label="|>){words}', one)]
    return [parse_qs(urlsplit(unescape(href[1])).query) for href in hrefs if href]


# Faults


def test_what_a_visitor_may_do_about_a_fault_is_told_without_the_words_of_a_program(two_spaces: Path) -> None:
    app = create_app(Settings(two_spaces, rate="1/hour"), background=False)
    app.add_url_rule("/faulty", view_func=lambda: str(1 / 0), endpoint="faulty")
    client = app.test_client()
    client.get("/results?image=0")
    limited = text(client, "/results?image=0", 429)
    assert "This server takes 1 search or write per hour of one client. Wait a moment" in limited
    assert "Retry-After" not in limited
    failed = client.get("/faulty")
    assert failed.status_code == 500
    assert f"<code>{failed.headers['X-Request-ID']}</code>" in failed.text


# Headlines


@pytest.mark.parametrize(
    ("classes", "headline", "lead"),
    [
        ((None, "a", "b", None, "b", "a"), "a and b: 2 each of the 5 most similar images", "Of 5 images All images"),
        (("a", "a", "b", "b", "c", "c"), "b and c: 2 each of the 5 most similar images", "Of 5 images All images"),
        (("a", "a", "b", "c"), "a, b and c: 1 each of the 3 most similar images", "Of 3 images All images"),
        (("a", "a", "a", "b"), "2 of the 3 most similar images are a", "Of 3 images All images"),
        (("a", "a", "b", None, None), "2 of the 4 most similar images are without a class", "Of 4 images All images"),
        (("a", "a", "a"), "All 2 most similar images are a", "Of 2 images All images"),
        (("a", "b"), "The most similar image is b", "Of 1 image All images"),
        ((None, None, None), "The 2 most similar images", "Of 2 images All images"),
        ((None, None), "The most similar image", "Of 1 image All images"),
    ],
)
def test_a_headline_names_the_class_of_most_hits_or_all_that_share_the_lead(
    labelled: Any, classes: tuple[str | None, ...], headline: str, lead: str
) -> None:
    client = labelled(*classes)

    page = client.get("/results?image=0&k=5").text

    (h1,) = re.findall(r"<h1>(.*?)</h1>", page)
    assert h1 == headline
    assert lead in text(client, "/results?image=0&k=5")


# Curves


def test_curves_go_on_to_the_hits_that_were_asked_for(labelled: Any) -> None:
    client = labelled("a", "a", "b", "a")

    said = text(client, "/results?image=0&k=5")

    assert "precision@5" in said
    assert " 0.40 " in said  # two of five, though there are but three hits
    page = client.get("/results?image=0&k=5").text
    rows = re.findall(r'<th scope="row">(\d)</th><td>([\d.]+)</td><td>([\d.]+)', page)
    precision = ["1.000", "0.500", "0.667", "0.500", "0.400"]
    recall = ["0.5000", "0.5000", "1.0000", "1.0000", "1.0000"]
    assert rows == [(str(k + 1), precision[k], recall[k]) for k in range(5)]
    drawings = re.findall(r'aria-label="(\w+) over k: ([\d.]+) at k = (\d)"', client.get("/results?image=0&k=5").text)
    assert drawings == [("Precision", "0.4", "5"), ("Recall", "1", "5")]


# Links


def test_a_search_from_a_hit_keeps_how_to_search_and_leaves_the_query_behind(
    client: FlaskClient, uploaded: str, two_spaces: Path
) -> None:
    spaces = [space.name for space in Collection.open(two_spaces).spaces]
    options = {"k": ["4"], "classes": ["cecum", "polyps"], "exclude_cluster": ["true"], "weights": ["2", "1"]}
    options["spaces"] = spaces
    fields = "&".join(f"{name}={value}" for name, values in options.items() for value in values)
    of_query = "&query_class=polyps&left=10&top=10&width=60&height=60"
    for query in ("/results?image=3", uploaded.replace("k=3", "")):
        address = f"{query}&{fields}{of_query}"
        answered = links(client, address, "Search from hit")
        compared = links(client, address.replace("/results", "/compare") + "&hit=9", "Search from this image")
        assert len(answered) == 4
        assert compared == [options | {"image": ["9"]}]
        for link in answered:
            assert link.pop("image") != ["3"]
            assert link == options


def test_what_a_page_tells_to_type_adds_to_an_empty_collection(tmp_path: Path) -> None:
    CollectionWriter(tmp_path / "mine.collection", create=True).close()
    client = create_app(Settings(tmp_path / "mine.collection"), background=False).test_client()
    for address in ("/", "/collection/"):
        assert "kvasir add mine.collection PICTURES" in text(client, address)


# Numbers


@pytest.mark.parametrize(
    "address", ["/?image=N", "/results?image=N", "/compare?image=1&hit=N", "/collection/images/?page=N"]
)
def test_a_number_of_thousands_of_digits_is_refused_in_words(client: FlaskClient, address: str) -> None:
    said = text(client, address.replace("N", "9" * 5000), 422)
    assert "is not the number of an image" in said or "there is no page" in said.lower()


@pytest.mark.parametrize("edges", [(90, 0, 20, 50), (-1, 0, 50, 50), (0, 0, 150, 50), (0, 0, 0, 50), ("nan", 0, 9, 9)])
def test_a_part_that_does_not_fit_is_told_in_percent(client: FlaskClient, edges: tuple[object, ...]) -> None:
    fields = "&".join(f"{name}={edge}" for name, edge in zip(("left", "top", "width", "height"), edges, strict=True))
    said = text(client, f"/results?image=3&{fields}", 422)
    assert "left + width and top + height are at most 100 %" in said
    assert "at most 1:" not in said
    assert "equal to 1" not in said


# Spaces


def test_unticking_every_space_is_told(client: FlaskClient, indexed: Any, two_spaces: Path) -> None:
    space = Collection.open(two_spaces).spaces[1].name
    for page in ("/", "/results?image=3"):  # a browser sends the empty one along with those that are ticked
        assert client.get(page).text.count('<input type="hidden" name="spaces" value="">') == 1
    said = "Compare by: choose at least one space"
    assert said in text(client, "/results?image=3&spaces=", 422)
    with (indexed.data / "polyps" / "3.jpg").open("rb") as file:
        refused = client.post("/search", data={"picture": (file, "3.jpg"), "spaces": ""})
    assert refused.status_code == 422
    assert said in refused.text
    assert f"by {space}." in text(client, f"/results?image=3&spaces=&spaces={space}")
    assert "by " in text(client, "/results?image=3")  # no space is named: the first one


# Scores


def test_every_kind_of_score_is_explained() -> None:
    assert set(SCORES) == set(SCORE_KINDS)
    assert {method.score_kind for method in METHODS.values()} < set(SCORE_KINDS)


def test_a_score_after_re_ranking_is_called_one(client: FlaskClient) -> None:
    page = client.get("/results?image=3&rerank=query-expansion&k=5")
    assert page.status_code == 200
    assert re.search(r'aria-label="Re-ranked \d', page.text)
    assert "Similarity: 1 for equal pictures" not in page.text


def test_a_score_of_words_says_what_it_is_like(client: FlaskClient) -> None:
    for address in ("/results?text=polyps", "/results?image=3&text=polyps", "/compare?text=polyps&hit=3&k=25"):
        page = client.get(address).text
        assert "Similarity to the classes" in page
        assert "Similarity: 1 for equal pictures" not in page


def test_a_fused_score_is_not_called_a_similarity(client: FlaskClient, two_spaces: Path) -> None:
    fields = "&".join(f"spaces={space.name}" for space in Collection.open(two_spaces).spaces)
    for page in ("/results?image=3", "/compare?image=3&hit=9"):
        alone = client.get(f"{page}&k=25").text
        assert "Similarity: 1 for equal pictures" in alone
        assert "fused by" not in text(client, page).partition("Compare by")[0]
        for method, name, by in (
            ("", "Fused ranks", "fused by reciprocal ranks"),
            ("rrf", "Fused ranks", "fused by reciprocal ranks"),
            ("zscore", "Fused scores", "fused by standardised scores"),
            ("minmax", "Fused scores", "fused by scores scaled to 0..1"),
        ):
            fused = client.get(f"{page}&{fields}&fusion={method}&k=25").text
            assert "Similarity: 1 for equal pictures" not in fused
            assert "It is not a similarity" in fused
            if page.startswith("/results"):
                assert re.search(rf'aria-label="{name} -?\d', fused)
                assert by in fused
                assert all(0 <= float(width) <= 100 for width in re.findall(r'class="fill" width="([-\d.]+)"', fused))
            else:
                assert f">{name}</button>" in fused
    refused = text(client, f"/results?image=3&{fields}&fusion=sum", 422)
    assert "fusion method is called 'sum'" in refused


# Several pictures


def test_a_query_of_several_pictures_is_that_of_the_api(client: FlaskClient, uploaded: str, indexed: Any) -> None:
    picture = base64.b64encode((indexed.data / "polyps" / "3.jpg").read_bytes()).decode()
    region = {"left": 10, "top": 20, "width": 60, "height": 50}
    cases: list[tuple[str, list[dict[str, Any]]]] = [
        ("/results?k=5&image=3&more=12,17", [{"image_id": 3}, {"image_id": 12}, {"image_id": 17}]),
        (
            "/results?k=5&image=3&more=12&more=17&part_weights=1&part_weights=0.5&part_weights=2",
            [{"image_id": 3}, {"image_id": 12, "weight": 0.5}, {"image_id": 17, "weight": 2.0}],
        ),
        (
            f"{uploaded.replace('k=3', 'k=5')}&more=12&part_weights=2,1&{urlencode(region)}",
            [{"image": picture, "region": [0.1, 0.2, 0.6, 0.5], "weight": 2.0}, {"image_id": 12}],
        ),
        (
            "/results?k=5&image=3&more=12&part_regions=&more=17&part_regions=10+20+60+50",
            [{"image_id": 3}, {"image_id": 12}, {"image_id": 17, "region": [0.1, 0.2, 0.6, 0.5]}],
        ),
    ]
    for address, query in cases:
        shown = [int(number) for number in re.findall(r"Hit \d+: image (\d+),", client.get(address).text)]
        by_api = client.post("/api/v1/search", json={"query": query, "k": 5}).get_json()
        assert shown == [hit["id"] for hit in by_api["hits"]]
        assert f"together with {len(query) - 1} more" in text(client, address)
        # The distance shown next to a hit is the one that it was found at.
        best = by_api["hits"][0]
        compared = text(client, f"{address.replace('/results', '/compare')}&hit={best['id']}")
        assert f" searched {best['distance']:.4g} {best['score']:.3f} " in compared


def test_hits_are_added_to_the_query_and_taken_out_of_it_by_links(client: FlaskClient) -> None:
    one = "/results?image=3&k=4&left=10&top=10&width=50&height=50"
    hits = re.findall(r"Hit \d+: image (\d+),", client.get(one).text)
    added = links(client, one, "Add hit")
    assert [link["more"] for link in added] == [[hit] for hit in hits]
    assert len(added) == 4
    assert all(link["image"] == ["3"] and link["left"] == ["10"] and "part_weights" not in link for link in added)
    assert not links(client, one, "Take")

    three = "/results?image=3&more=12,17&part_weights=1,0.5,2&k=4&left=10&top=10&width=50&height=50"
    assert {link["part_weights"][0] for link in links(client, three, "Add hit")} == {"1,0.5,2,1"}
    first, second, third = links(client, three, "Take")
    assert (first["image"], first["more"], first["part_weights"]) == (["12"], ["17"], ["0.5,2"])
    assert "left" not in first
    assert (second["image"], second["more"], second["part_weights"], second["left"]) == (["3"], ["17"], ["1,2"], ["10"])
    assert (third["more"], third["part_weights"]) == (["12"], ["1,0.5"])
    onward = links(client, three, "Search from hit")
    assert len(onward) == 4
    assert not any(link.keys() & {"more", "part_weights", "left"} for link in onward)

    parted = "/results?image=3&more=12,17&k=4&part_regions=20+30+40+50,whole"
    assert {link["part_regions"][0] for link in links(client, parted, "Add hit")} == {"20 30 40 50,whole,whole"}
    first, second, third = links(client, parted, "Take")
    assert [first[edge] for edge in ("left", "top", "width", "height")] == [["20"], ["30"], ["40"], ["50"]]
    assert third["part_regions"] == ["20 30 40 50"]
    assert not any("part_regions" in link for link in (first, second, *links(client, parted, "Search from hit")))


@pytest.mark.parametrize(
    ("fields", "status", "told"),
    [
        ("more=x", 422, "'x' is not the number of an image"),
        ("more=999999", 404, "no image 999999"),
        ("more=12&part_weights=1", 422, "give one for each of them (2), not 1"),
        ("more=12&part_weights=1,0", 422, "'0' is not a number other than 0"),
        ("more=12&part_weights=-2,-1", 422, "one of them must be more than 0"),
        ("more=12&part_weights=1,nan", 422, "'nan' is not a number other than 0"),
        ("more=12&part_weights=1,inf", 422, "'inf' is not a number other than 0"),
        ("more=12&part_regions=1,2", 422, "give one for each further picture (1), not 2"),
        ("more=12&part_regions=20+30+80.00009+50", 200, "together with 1 more"),
        ("more=12&part_regions=20+30+80.0001+50", 422, "left + width and top + height are at most 100 %"),
        ("left=20&top=30&width=80.00009&height=50", 200, "only the framed part was searched"),
        ("left=20&top=30&width=80.0001&height=50", 422, "left + width and top + height are at most 100 %"),
        ("more=12&part_regions=20+30+90+50", 422, "'20 30 90 50' is not left, top, width and height in percent"),
        ("more=" + "1," * 19 + "1", 422, "at most 20 parts, not 21"),
    ],
)
def test_a_query_of_several_pictures_that_does_not_fit_is_told(
    client: FlaskClient, fields: str, status: int, told: str
) -> None:
    assert told in unescape(text(client, f"/results?image=3&{fields}", status))


def test_further_pictures_of_ones_own_are_parts_of_the_query(client: FlaskClient, uploaded: str, indexed: Any) -> None:
    files = [(indexed.data / "polyps" / f"{number}.jpg").read_bytes() for number in (3, 4, 5)]

    def add(address: str, *pictures: bytes, accept: str = "application/json", **more: str) -> Any:
        fields = parse_qs(urlsplit(address).query) | {"picture": [(io.BytesIO(one), "a.jpg") for one in pictures]}
        return client.post("/results/parts", data=fields | more, headers={"Accept": accept})

    image = add("/results?image=3&k=5&part_weights=2&left=10&top=10&width=60&height=60", files[1])
    assert image.status_code == 201
    several = add(f"{uploaded.replace('k=3', 'k=5')}&text=polyps", *files[1:], accept="text/html")
    assert several.status_code == 303
    second, third = parse_qs(urlsplit(several.location).query)["more"][0].split(",")
    weighed = f"{several.location}&part_weights=1,-0.5,2,1&part_regions=whole,10+20+60+50"
    own = [{"image": base64.b64encode(one).decode()} for one in files]
    cases = [
        (image.location, [{"image_id": 3, "weight": 2, "region": [0.1, 0.1, 0.6, 0.6]}, own[1]]),
        (several.location, [*own, {"text": "polyps"}]),
        (weighed, [own[0], own[1] | {"weight": -0.5}, own[2] | {"weight": 2, "region": [0.1, 0.2, 0.6, 0.5]}]),
    ]
    cases[2][1].append({"text": "polyps"})
    for address, query in cases:
        shown = [int(number) for number in re.findall(r"Hit \d+: image (\d+),", client.get(address).text)]
        by_api = client.post("/api/v1/search", json={"query": query, "k": 5}).get_json()
        assert shown == [hit["id"] for hit in by_api["hits"]]
        # Whoever opened a link would see the pictures.
        assert "no link to it is offered" in text(client, address)
    # All that are in the collection are told and can be left out.
    assert "This very picture is in the collection" in text(client, several.location)
    copies = {str(client.post("/api/v1/search", json={**one, "k": 1}).get_json()["hits"][0]["id"]) for one in own}
    left = client.get(f"{several.location}&exclude_cluster=true&k=30").text
    assert not copies & set(re.findall(r"Hit \d+: image (\d+),", left))
    # Out again: what remains keeps its region, and the next upload becomes the first picture.
    without = links(client, weighed, "Take")
    assert (without[0]["upload"], without[0]["more"], without[0]["part_weights"]) == ([second], [third], ["-0.5,2,1"])
    assert (without[2]["more"], without[2]["part_weights"]) == ([second], ["1,-0.5,1"])
    assert [name for name, _ in form_of(client.get(weighed).text)].count("more") == 2
    assert "your picture 3" in client.get(weighed).text


def test_the_first_page_takes_several_pictures_and_a_vector(
    client: FlaskClient, two_spaces: Path, indexed: Any
) -> None:
    files = [(indexed.data / "polyps" / f"{number}.jpg").read_bytes() for number in (3, 4)]
    space, numbers = next(iter(client.get("/api/v1/images/7/vectors").get_json()["vectors"].items()))
    own = [{"image": base64.b64encode(one).decode()} for one in files]
    vector = {"vector": numbers, "space": space}

    def begin(pictures: list[bytes], **fields: object) -> Any:
        data = {"picture": [(io.BytesIO(one), "a.jpg") for one in pictures], "k": "5", "spaces": space} | fields
        return client.post("/search", data=data)

    of_vector = {"vector": str(numbers), "vector_space": space}
    for pictures, fields, query in (
        (files, {"image": "9"}, own),
        (files, {"text": "polyps"} | of_vector, [*own, vector, {"text": "polyps"}]),
        ([], of_vector, [vector]),
        ([], {"image": "9"} | of_vector, [{"image_id": 9}, vector]),
    ):
        address = begin(pictures, **fields).location
        shown = [int(number) for number in re.findall(r"Hit \d+: image (\d+),", client.get(address).text)]
        by_api = client.post("/api/v1/search", json={"query": query, "spaces": [space], "k": 5}).get_json()
        assert shown == [hit["id"] for hit in by_api["hits"]]
    other = Collection.open(two_spaces).spaces[-1].name
    for pictures, fields, told in (
        ([files[0]] * 21, {}, "a query has at most 20 parts, not 21"),
        ([files[0], b"none"], {}, "not a picture of a known format"),
        ([], of_vector | {"vector": "1 2"}, f"{len(numbers):,}"),
        ([], of_vector | {"spaces": [space, other]}, f"the query has no vector in '{other}'; untick it"),
    ):
        refused = begin(pictures, **fields)
        assert refused.status_code in (415, 422)
        assert told in unescape(refused.text)
        assert not fields or f'">{fields["vector"]}</textarea>' in refused.text  # to be mended, not typed again


def test_a_further_picture_that_cannot_be_one_is_told_and_the_hits_stay(client: FlaskClient, indexed: Any) -> None:
    picture = (indexed.data / "polyps" / "3.jpg").read_bytes()
    full = "&more=" + ",".join(["4"] * 18)
    for fields, data, status, told in (
        ("", b"", 422, "choose a picture to add, or give a vector, first"),
        ("", b"no picture", 415, "not a picture of a known format"),
        (full, picture, 303, "Redirecting"),
        (f"{full}&more=4", picture, 422, "a query has at most 20 parts, not 21"),
    ):
        form = parse_qs(f"image=3&k=3{fields}") | {"picture": (io.BytesIO(data), "a.jpg")}
        answer = client.post("/results/parts", data=form)
        assert answer.status_code == status
        assert told in unescape(answer.text)
        assert status == 303 or "Hit 3: image" in answer.text
    assert "no longer among them: give the picture again" in text(client, f"/results?image=3&more={'0' * 32}", 410)


def test_a_vector_is_a_part_of_the_query(client: FlaskClient, indexed: Any) -> None:
    given = client.get("/api/v1/images/7/vectors").get_json()["vectors"]
    space, numbers = next(iter(given.items()))

    def add(vector: object, name: str = space, accept: str = "text/html") -> Any:
        form = {"image": "3", "k": "5", "spaces": space, "vector": str(vector).replace("'", ""), "vector_space": name}
        return client.post("/results/parts", data=form, headers={"Accept": accept})

    address = add(numbers).location
    for weights in ("1,1", "1,-0.5"):
        own, other = map(float, weights.split(","))
        query = [{"image_id": 3, "weight": own}, {"vector": numbers, "space": space, "weight": other}]
        by_api = client.post("/api/v1/search", json={"query": query, "spaces": [space], "k": 5}).get_json()
        page = client.get(f"{address}&part_weights={weights}").text
        shown = [int(number) for number in re.findall(r"Hit \d+: image (\d+),", page)]
        assert shown == [hit["id"] for hit in by_api["hits"]]
        assert f"A vector of {len(numbers):,} numbers, {space}" in page
        assert "Your vector is part of this search, so no link to it is offered" in page
    assert add(" ".join(map(str, numbers)).replace(" ", ";\n")).status_code == 303
    alone = links(client, address, "Take")[0]
    first = client.get("/results", query_string={name: values[0] for name, values in alone.items()})
    assert "Your vector" in first.text
    assert "Agreement" not in first.text
    compared = client.get("/compare", query_string={"hit": 5} | {name: values[0] for name, values in alone.items()})
    assert compared.status_code == 200
    framed = {name: values[0] for name, values in alone.items()} | {"left": 0, "top": 0, "width": 50, "height": 50}
    assert "A vector has no framed part" in client.get("/results", query_string=framed).text
    for vector, name, told in (
        ("1, two", space, "could not convert string to float: 'two'; give numbers apart by commas"),
        (["nan", *numbers[1:]], space, "finite"),
        ("1 2 3", space, f"{len(numbers):,}"),
        (numbers, "none", "'none' is not a space that is searched"),
        (" [] ", space, f"{len(numbers):,}"),
    ):
        answer = add(vector, name)
        assert answer.status_code == 422, vector
        assert told in unescape(answer.text)
        assert "Hit 3: image" in answer.text
        assert f'">{str(vector).replace(chr(39), "").strip()}</textarea>' in answer.text  # to be mended


def test_more_images_than_an_address_takes_are_told(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.pages.results.MAX_UNSEEN", 7)
    page = client.get("/results?image=3&k=6&exclude_ids=1,2,4&relevant=9").text
    left_out = re.search(r'name="exclude_ids" value="([\d,]+)" checked><span>([^<]*)', page)
    assert left_out is not None
    shown = re.findall(r"Hit \d+: image (\d+),", page)
    assert left_out[1].split(",") == list(dict.fromkeys(["1", "2", "4", "9", *shown]))[:7]
    assert left_out[2].startswith("only new images; an address has room for 7, so the last ")
    assert "only new images</span>" in client.get("/results?image=3&k=5").text


def test_a_query_has_no_more_pictures_than_it_may(client: FlaskClient) -> None:
    assert "Add to query" in text(client, f"/results?image=3&k=3&more={'4,' * 17}4")
    assert "Add to query" not in text(client, f"/results?image=3&k=3&more={'4,' * 18}4")


# Comparing


@pytest.mark.parametrize("region", ["", "&left=10&top=10&width=60&height=60"])
def test_an_upload_is_embedded_once_for_the_search_and_once_for_all_spaces(
    client: FlaskClient, uploaded: str, two_spaces: Path, region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded: list[list[str]] = []
    vectors = Embedder.vectors

    def counted(embedder: Embedder, query: Any, spaces: Any, *more: Any) -> Any:
        embedded.append(list(spaces))
        return vectors(embedder, query, spaces, *more)

    monkeypatch.setattr(Embedder, "vectors", counted)
    said = text(client, f"{uploaded.replace('/results', '/compare')}&hit=9{region}")
    spaces = [space.name for space in Collection.open(two_spaces).spaces]
    assert embedded == [spaces[:1], spaces]
    assert "no vector" not in said


def test_a_space_that_lacks_one_of_the_two_images_is_told_so(two_spaces: Path, tmp_path: Path) -> None:
    with CollectionWriter(shutil.copytree(two_spaces, tmp_path / "partly")) as writer:
        writer.add_space("empty", "encoder", 4, "cosine", {})
    said = text(create_app(Settings(tmp_path / "partly"), background=False).test_client(), "/compare?image=3&hit=9")
    assert "empty no vector" in said
    assert said.count("no vector") == 1


def test_spaces_without_an_encoder_are_left_out_of_a_comparison_with_a_picture_and_refused_before_its_search(
    two_spaces: Path, indexed: Any, tmp_path: Path
) -> None:
    with CollectionWriter(shutil.copytree(two_spaces, tmp_path / "c")) as writer:
        writer.add_space("bare", "imported", 2, "cosine", {})
        ids = Collection.open(tmp_path / "c").images.ids.tolist()
        writer.fill({i: {"bare": np.array([1, 0], np.float32)} for i in ids})
    client = create_app(Settings(tmp_path / "c"), background=False).test_client()

    def submitted(**fields: str) -> Any:
        with (indexed.data / "polyps" / "3.jpg").open("rb") as file:
            return client.post("/search", data={"picture": (file, "3.jpg"), "k": "3", **fields})

    said = text(client, submitted().headers["Location"].replace("/results", "/compare") + "&hit=9")
    assert "bare no vector" in said
    assert said.count("no vector") == 1
    answer = submitted(spaces="bare")
    assert answer.status_code == 422
    assert "Compare by: &#39;bare&#39; has no encoder" in answer.text
    assert 'name="picture"' in answer.text  # the form is still there
    assert client.post("/search", data={"image": "3", "spaces": "bare"}).status_code == 303
    region = dict.fromkeys(("left", "top"), "0") | dict.fromkeys(("width", "height"), "50")
    assert client.post("/search", data={"image": "3", "spaces": "bare", **region}).status_code == 422


def form_of(page: str) -> list[tuple[str, str]]:
    """What the form "Search again" of a page of results sends as it stands."""
    form = page[page.index("data-again") : page.index("Search again")]
    sent = []
    for tag in re.findall(r"<input[^>]*>", form):
        fields = {name: unescape(value) for name, value in re.findall(r'(\w+)="([^"]*)"', tag)}
        if "name" in fields and ("checkbox" not in tag or " checked" in tag):
            sent.append((fields["name"], fields.get("value", "")))
    for name, options in re.findall(r'<select[^>]*name="(\w+)"[^>]*>(.*?)</select>', form, re.DOTALL):
        chosen = re.search(r'<option(?: value="([^"]*)")? selected>([^<]*)', options)
        sent.append((name, (chosen[1] if chosen[1] is not None else chosen[2]) if chosen else ""))
    return sent


def test_searching_again_repeats_every_part_of_the_search(client: FlaskClient, two_spaces: Path) -> None:
    first, second = [space.name for space in Collection.open(two_spaces).spaces]
    address = (
        f"/results?image=5&k=4&ids=3,4,5,9,12&exclude_ids=4,9&exclude_self=false&fusion=zscore"
        f"&spaces={second.upper()}&spaces={first}&weights=3,0.5"
    )
    page = client.get(address).text
    said = text(client, address)
    assert "Only 5 images of this address are searched, and 2 are left out." in said
    assert "Of 3 images All images that could be hits and by the ids of the address" in said

    again = urlencode(form_of(page))

    assert {("spaces", first), ("spaces", second), ("weights", "0.5,3")} < set(form_of(page))
    hits = [links(client, one, "Search from hit") for one in (address, f"/results?{again}")]
    assert [fields["image"] for fields in hits[0]] == [fields["image"] for fields in hits[1]]
    scores = [
        re.findall(r'aria-label="Fused scores ([\d.]+)"', client.get(a).text) for a in (address, f"/results?{again}")
    ]
    assert len(scores[0]) == 3
    assert scores[0] == scores[1]


def test_searching_again_repeats_re_ranking_and_names_of_other_case(client: FlaskClient, two_spaces: Path) -> None:
    first = Collection.open(two_spaces).spaces[0].name
    sent = form_of(client.get(f"/results?image=5&spaces={first.upper()}&rerank=k-reciprocal").text)
    assert {("spaces", first), ("rerank", "k-reciprocal")} < set(sent)


def test_re_ranking_is_offered_on_the_first_page_and_stays_in_links(client: FlaskClient) -> None:
    page = client.get("/")
    assert re.search(r'<select id="rerank" name="rerank">\s*<option value="">', page.text)
    assert ">k-reciprocal</option>" in page.text
    sent = client.post("/search", data={"image": "5", "rerank": "expansion", "k": "3"})
    assert "rerank=expansion" in sent.headers["Location"]
    hits = client.get(sent.headers["Location"]).text
    assert "<option selected>expansion</option>" in hits
    assert re.search(r'href="/results\?[^"]*rerank=expansion[^"]*" data-search', hits)


def test_mmr_of_another_strength_stays_in_the_form(client: FlaskClient) -> None:
    page = client.get("/results?image=5&rerank=mmr:0.25&k=3").text
    assert ("rerank", "mmr:0.25") in form_of(page)
    assert "<option selected>mmr:0.25</option>" in page
    parameters = client.get("/api/v1/openapi.json").get_json()["paths"]["/api/v1/search"]["post"]["parameters"]
    (schema,) = [one["schema"] for one in parameters if one["name"] == "rerank"]
    (text_of,) = [one for one in schema["anyOf"] if one["type"] == "string"]
    for name in ("mmr", "mmr:0.25", "k-reciprocal", "mmr:2", "mmr:", "magic", "mmr:0.25 "):
        known = client.post("/api/v1/search", json={"image_id": 5, "rerank": name}).status_code == 200
        assert bool(re.search(text_of["pattern"], name)) == known, name


def test_re_ranking_of_several_spaces_is_refused_on_the_form(client: FlaskClient, two_spaces: Path) -> None:
    names = [space.name for space in Collection.open(two_spaces).spaces]
    sent = client.post("/search", data={"image": "5", "rerank": "expansion", "spaces": names})
    assert sent.status_code == 422
    assert "Re-ranked by: choose one space of embeddings alone" in sent.text


# The collection's pages


def test_images_to_start_from_are_offered_once_each(labelled: Any) -> None:
    client = labelled(*[None] * 5, "a", "a")
    offered = re.findall(r'href="/results\?image=(\d+)&', client.get("/").text)
    assert sorted(offered) == list("0123456")


def test_images_are_counted_and_those_without_a_class_have_a_page(client: FlaskClient, labelled: Any) -> None:
    assert "polyps 9 images" in text(client, "/collection/images/?class=polyps")
    (link,) = re.findall(r'href="([^"]*)"[^>]*>\s*<span class="class">.*?no class', client.get("/collection/").text)[
        -1:
    ]
    said = text(client, link)
    assert "Images without a class 1 image" in said
    assert re.findall(
        r'aria-current=page>\s*<span class="class"><svg class="chip colour-(-?\d)', client.get(link).text
    ) == ["-1"]
    other = labelled("a", "b")
    assert "no class" not in text(other, "/collection/images/")
    assert "Every image of the collection has a class" in text(other, "/collection/images/?class=")
    unknown = client.get("/collection/images/?class=ileum")
    assert unknown.status_code == 422
    assert re.search(r"no class .{1,6}ileum.{1,6}; the classes: ", unknown.text, re.IGNORECASE)


@pytest.mark.parametrize("name", ["red\x1b[31m\x07", "two\nlines\x85", "turned\u202egpj"])
def test_control_characters_of_a_class_are_shown_escaped_on_every_page(labelled: Any, name: str) -> None:
    client = labelled(name, name, "b")
    images = f"/collection/images/?{urlencode({'class': name})}"
    for address in ("/", "/?image=0", "/results?image=0", "/collection/", images, "/collection/images/0"):
        page = client.get(address)
        assert page.status_code == 200
        shown = re.sub(r'value="[^"]*"', "", page.text)  # a form sends the class as it is
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]|two\nlines", shown)
        assert repr(name)[1:-1] in unescape(shown)
    only = client.get("/results", query_string={"image": "2", "classes": name})
    assert "All 2 most similar images are" in text(client, only.request.full_path)


@pytest.mark.parametrize(
    ("page", "shown"),
    [(1, "1 2 … 5"), (2, "1 2 3 … 5"), (3, "1 2 3 4 5"), (5, "1 … 4 5")],
)
def test_many_pages_have_their_first_and_last_and_those_beside(labelled: Any, page: int, shown: str) -> None:
    client = labelled(*["a"] * (4 * 48 + 1))
    address = f"/collection/images/?class=a&page={page}"
    (nav,) = re.findall(r'<nav class="paging".*?</nav>', client.get(address).text, re.DOTALL)
    words = re.sub(r"<[^>]+>|Previous|Next", " ", nav)
    assert " ".join(words.split()) == shown
    assert f'aria-label="Page {page}" aria-current=page' in nav
    assert "class=a" in nav


def test_a_wrong_label_is_suspected_only_where_copies_differ_in_theirs(
    client: FlaskClient, two_spaces: Path, tmp_path: Path
) -> None:
    assert "probably wrong" not in text(client, "/collection/duplicates/")
    path = shutil.copytree(two_spaces, tmp_path / "mixed")
    with sqlite3.connect(path / "catalog.sqlite") as catalog:
        catalog.execute("UPDATE images SET class = 'cecum' WHERE file = 'polyps/copy of 0.jpg'")
    catalog.close()
    said = text(create_app(Settings(path), background=False).test_client(), "/collection/duplicates/")
    assert "one of their labels is probably wrong" in said


# What is known of a query


def test_the_class_of_a_known_image_is_not_asked_for(client: FlaskClient, uploaded: str, two_spaces: Path) -> None:
    images = Collection.open(two_spaces).images
    (without,) = images.ids[images.labels < 0]
    for address in ("/?image=3", "/results?image=3"):
        page = client.get(address).text
        assert "the class of the query is known" in page
        assert '<div class="field" data-unpicked hidden>' in page
    for address in ("/", uploaded, "/results?image=3&query_class=polyps", f"/?image={without}"):
        page = client.get(address).text
        assert "the class of the query is known" not in page
        assert '<div class="field" data-unpicked>' in page


def test_the_form_and_the_api_say_what_near_duplicates_of_a_query_can_be_left_out(client: FlaskClient) -> None:
    assert "an uploaded picture that is in the collection is left out with this" in text(client, "/")
    document = client.get("/api/v1/openapi.json").text
    assert "near duplicates of the query as well, where it is an image of the collection" in document


def test_one_hit_has_no_curves(labelled: Any) -> None:
    client = labelled("a", "a", "b")
    assert "Precision over k" in text(client, "/results?image=0&k=2")
    assert "Precision over k" not in text(client, "/results?image=0&k=1")


def test_spaces_are_offered_with_the_default_first_and_replaced_ones_last(
    write_collection: Callable[..., Path], tmp_path: Path
) -> None:
    path = tmp_path / "made"
    write_collection(path, {name: np.eye(3, dtype=np.float32) for name in ("wide", "other", "short")}, ["a"] * 3)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["spaces"][2]["recipe"]["replaces"] = "wide"
    del manifest["sha256"]  # of the manifest before
    (path / "manifest.json").write_text(json.dumps(manifest))
    client = create_app(Settings(path), background=False).test_client()
    page = client.get("/").text
    offered = re.findall(r'name="spaces" value="(\w+)"( checked)?', page)
    assert offered == [("short", " checked"), ("other", ""), ("wide", "")]
    assert page.count("before principal components") == 1
    started = client.post("/api/v1/evaluations", json={"samples": 0})
    assert started.json["request"]["spaces"] == ["other", "short"]
    deadline = time.monotonic() + 60
    while (job := client.get(started.headers["Location"]).json)["state"] == "running":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert job["state"] == "done", job["error"]


def test_the_earlier_address_of_the_results_leads_on(client: Any) -> None:
    response = client.get("/answer?image=3&classes=polyps&classes=normal-cecum")
    assert response.status_code == 308
    assert response.headers["Location"] == "/results?image=3&classes=polyps&classes=normal-cecum"


def test_marks_of_the_device_are_named_outlined_and_counted(two_spaces: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(two_spaces, tmp_path / "marked"))
    every = Collection.open(path).images.ids.tolist()
    box, text_lines = (0.0, 0.6, 0.3, 0.4), (0.02, 0.1, 0.2, 0.3)
    with CollectionWriter(path) as writer:
        writer.fill(
            {}, marks=dict.fromkeys(every, Marks()) | {3: Marks({BLACK_BOX: box, TEXT: text_lines, BORDER: box})}
        )
    client = create_app(Settings(path), background=False).test_client()
    page = client.get("/collection/images/3").text
    assert "black box, border, text" in page
    assert page.count("<rect x=") - client.get("/collection/images/4").text.count("<rect x=") == 2
    assert 'y="60.0" width="30.0" height="40.0"' in page
    assert "Marks of the device: black box on 1, border on 1, text on 1." in text(client, "/collection/")
    assert client.get("/api/v1/images/3").get_json()["marks"] == ["black box", "border", "text"]
    assert client.get("/api/v1/images/4").get_json()["marks"] == []
    assert client.get("/api/v1/collection").get_json()["marks"]["black box"] == 1
    hits = client.post("/api/v1/search", json={"image_id": 4, "k": 25}).get_json()["hits"]
    assert [hit["marks"] for hit in hits if hit["id"] == 3] == [["black box", "border", "text"]]
    assert "black box, border, text" in client.get("/compare?image=4&k=25&hit=3").text


# Copies of an upload, more hits, and downloads


def results_of(client: FlaskClient, picture: bytes, **fields: str) -> str:
    answer = client.post("/search", data={"picture": (io.BytesIO(picture), "a.jpg"), "k": "4", **fields})
    return str(answer.headers["Location"])


def test_an_upload_that_is_in_the_collection_is_told_and_left_out(
    client: FlaskClient, indexed: Any, two_spaces: Path
) -> None:
    opened = Collection.open(two_spaces)
    copies = [i for i, file in enumerate(opened.images.files) if file in ("polyps/0.jpg", "polyps/copy of 0.jpg")]
    address = results_of(client, (indexed.data / "polyps" / "0.jpg").read_bytes())

    told = text(client, address)

    assert "This very picture is in the collection: image" in told
    assert "Leave them out" in told
    (left_out,) = links(client, address, "Leave them out")
    after = client.get(f"{address}&exclude_cluster=true")
    assert left_out["exclude_cluster"] == ["true"]
    assert "They are left out." in re.sub(r"\s+", " ", after.text)
    assert not any(f'alt="Hit {rank}: image {copy},' in after.text for rank in range(1, 5) for copy in copies)
    assert len(copies) == 2


def test_an_upload_that_is_nearly_an_image_is_told_and_another_is_not(
    client: FlaskClient, indexed: Any, draw: Callable[..., Any], encode_file: Callable[..., bytes]
) -> None:
    original = Image.open(indexed.data / "polyps" / "3.jpg")
    again = encode_file(original.resize((110, 84)), quality=70)

    assert "Nearly the same picture is in the collection" in text(client, results_of(client, again))
    assert "in the collection:" not in text(client, results_of(client, encode_file(draw(4321, (60, 60, 200)))))


def test_more_hits_are_one_link_away_until_there_are_no_more(client: FlaskClient, two_spaces: Path) -> None:
    searched = len(Collection.open(two_spaces)) - 1
    (more,) = links(client, "/results?image=3&k=12", r"\d+ more hits")
    assert more["k"] == ["24"]
    assert links(client, f"/results?image=3&k={searched}", r"\d+ more hits") == []


def test_hits_are_downloaded_as_csv_json_and_zip(client: FlaskClient, two_spaces: Path) -> None:
    page = client.get("/results?image=3&k=3&classes=polyps").text
    addresses = [unescape(one) for one in re.findall(r'href="([^"]*/hits\.\w+\?[^"]*)"', page)]

    table, document, archive = (client.get(address) for address in addresses)

    rows = list(csv.DictReader(io.StringIO(table.text)))
    hits = document.json["hits"]
    assert [int(row["id"]) for row in rows] == [hit["id"] for hit in hits]
    assert [float(row["similarity"]) for row in rows] == [hit["score"] for hit in hits]
    assert {row["class"] for row in rows} == {"polyps"}
    with zipfile.ZipFile(io.BytesIO(archive.data)) as files:
        listed = list(csv.DictReader(io.StringIO(files.read("hits.csv").decode())))
        assert set(files.namelist()) == {
            "hits.csv",
            "hits.json",
            "query/01-image-3.jpg",
            *(row["picture"] for row in listed),
        }
        assert files.read("query/01-image-3.jpg") == client.get("/api/v1/images/3/picture").data
        for row in listed:
            expected = client.get(f"/api/v1/images/{row['id']}/picture").data
            assert files.read(row["picture"]) == expected
    assert client.get("/results/hits.xls?image=3").status_code == 422


def test_near_duplicates_among_the_hits_open_and_the_nearest_of_each_class_are_shown(client: FlaskClient) -> None:
    page = client.get("/results?image=3&k=24&fold=true").text
    assert len(re.findall('<details class="folded">', page)) == 1
    assert "1 near duplicate" in text(client, "/results?image=3&k=24&fold=true")
    (address,) = re.findall(r'href="(/results/classes\?[^"]*)"', page)
    said = text(client, unescape(address))
    assert all(said.count(f" {name} ") for name in ("cecum", "polyps", "pylorus"))
    shown = client.get(unescape(address)).text
    assert len(re.findall('<section class="of-class">', shown)) == 3
    assert len(re.findall(r'alt="Image \d+, \w+"', shown)) == 12


# Evaluations


@pytest.fixture(scope="module")
def measured(two_spaces: Path, tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    """A collection that was evaluated twice, the second time in one space alone and a fusion."""
    path = shutil.copytree(
        two_spaces, tmp_path_factory.mktemp("measured") / "c", ignore=shutil.ignore_patterns("evaluations")
    )
    first, second = [space.name for space in Collection.open(path).spaces]
    for more in ([], ["--space", first, "--fuse", f"{first}+{second}"]):
        done = CliRunner().invoke(kvasir, ["evaluate", str(path), "--keep", "--samples", "20", *more])
        assert done.exit_code == 0, done.output
    return create_app(Settings(path), background=False).test_client()


def test_runs_are_listed_and_compared_over_rest_and_on_a_page(measured: FlaskClient) -> None:
    runs = measured.get("/api/v1/evaluations").json["evaluations"]
    assert [len(run["means"]) for run in runs] == [2, 2]
    assert [(run["made_by"], run["outdated"]) for run in runs] == [("command", False)] * 2
    (space,) = runs[0]["means"].keys() & runs[1]["means"].keys()
    fields = {"first": runs[1]["id"], "second": runs[0]["id"]}

    compared = measured.get("/api/v1/evaluations/compare", query_string=fields).json

    (same,) = compared["differences"]
    assert same["name"] == space
    assert (same["difference"], same["significant"]) == (0, False)  # the same space of the same images
    assert same["first"] == pytest.approx(runs[1]["means"][space])
    assert (len(compared["only_first"]), len(compared["only_second"])) == (1, 1)
    said = text(measured, f"/evaluation/compare?{urlencode(fields)}")
    assert f"{space} {same['first']:.3f} {same['first']:.3f} 0.000 0.000 to 0.000" in said
    assert measured.get("/api/v1/evaluations/compare?first=x&second=y").status_code == 404
    assert measured.get("/evaluation/compare?first=x").status_code == 422


@pytest.fixture(scope="module")
def measured_apart(two_spaces: Path, tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    """A collection that was evaluated by all images twice, by two of them, and by another protocol, the newest."""
    folder = tmp_path_factory.mktemp("apart")
    path = shutil.copytree(two_spaces, folder / "c", ignore=shutil.ignore_patterns("evaluations"))
    files = Collection.open(path).images.files
    (folder / "some.csv").write_text(f"id,file\n3,{files[3]}\n4,{files[4]}\n")
    more = [["--samples", "20"], ["--samples", "21"], ["--queries", str(folder / "some.csv")]]
    for arguments in [*more, ["--protocol", "leave-one-out"]]:
        done = CliRunner().invoke(kvasir, ["evaluate", str(path), "--keep", "--samples", "0", *arguments])
        assert done.exit_code == 0, done.output
    return create_app(Settings(path), background=False).test_client()


def test_evaluations_are_offered_for_comparison_only_where_they_can_be_compared(measured_apart: FlaskClient) -> None:
    runs = measured_apart.get("/api/v1/evaluations").json["evaluations"]
    other_protocol, some, again, first = [run["id"] for run in runs]
    assert [runs[2]["queries"] == run["queries"] for run in runs] == [False, False, True, True]

    def offered(shown: str) -> list[str]:
        page = measured_apart.get(f"/evaluation/?evaluation={shown}").text
        return re.findall(r'<option value="(\w{16})"', page)

    assert {run: offered(run) for run in (other_protocol, some, again, first)} == {
        other_protocol: [],
        some: [],
        again: [first],
        first: [again],
    }
    said = text(measured_apart, f"/evaluation/?evaluation={first}")
    assert re.search(
        r"Not to be compared with this one, query by query: .*\(another protocol\); .*\(other queries\)\.", said
    )
    for left in (some, other_protocol):
        fields = {"first": left, "second": first}
        assert measured_apart.get("/api/v1/evaluations/compare", query_string=fields).status_code == 422
    fields = {"first": again, "second": first}
    assert measured_apart.get("/evaluation/compare", query_string=fields).status_code == 200


def test_an_evaluation_is_stored_again_only_where_it_measures_something_else(two_spaces: Path, tmp_path: Path) -> None:
    path = shutil.copytree(two_spaces, tmp_path / "c", ignore=shutil.ignore_patterns("evaluations"))
    space = Collection.open(path).spaces[0].name
    stored = []
    for more in ((), (), ("--feedback",), ("--taught",)):
        command = ["evaluate", str(path), "--keep", "--space", space, "--samples", "0", *more]
        done = CliRunner().invoke(kvasir, command)
        assert done.exit_code == 0, done.output
        stored.append(len(stored_evaluations(path)))
    assert stored == [1, 1, 2, 3]


def test_marked_labels_come_as_a_table_that_indexing_takes(measured: FlaskClient, indexed: Any) -> None:
    opened = Collection.open(indexed.path)
    marks = {"mark-3": "wrong:polyps", "mark-4": "wrong:", "mark-5": "right", "mark-6": "", "other": "x"}

    table = measured.post("/evaluation/labels.csv", data=marks)

    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [row["file"] for row in rows] == list(opened.images.files)
    classes = [opened.class_of(i) or "" for i in range(len(opened))]
    classes[3:5] = ["polyps", ""]
    assert [row["class"] for row in rows] == classes
    assert {at: row["mark"] for at, row in enumerate(rows) if row["mark"]} == {
        3: "wrong label",
        4: "wrong label",
        5: "right",
    }
    file = indexed.path.parent / "marked.csv"
    file.write_text(table.text)
    named, _ = labels_from_table(file, opened.images.files)
    assert [name or "" for name in named] == classes


@pytest.mark.parametrize("view", ["figures", "queries", "labels"])
def test_a_space_has_three_views_and_no_other(measured: FlaskClient, view: str) -> None:
    names = re.findall(r'href="/evaluation/\?part=([^"&]*)"', measured.get("/evaluation/").text)
    headings = {"figures": "Confusion", "queries": "Worst queries", "labels": "Hubs: most often wrongly retrieved"}
    said = measured.get(f"/evaluation/?part={names[0]}&view={view}").text
    assert [heading for heading in headings.values() if f"<h3>{heading}</h3>" in said] == [headings[view]]
    assert measured.get(f"/evaluation/?part={names[0]}&view=none").status_code == 404
