"""The map over REST and on the pages: its columns, its states, and what a selection becomes."""

from __future__ import annotations

import csv
import io
import re
import shutil
import time
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient

from indexer.commands.evaluate import command as evaluate
from retrieval.collection import Collection, CollectionWriter
from retrieval.space_map.store import load_map, make_map, store_map
from web.app import create_app
from web.context import Settings

SPACE, OTHER = "tf_efficientnet_lite0", "test_vit-test_vit"


@pytest.fixture(scope="module")
def mapped(two_spaces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn collection, evaluated in one space and laid out in it."""
    path = Path(shutil.copytree(two_spaces, tmp_path_factory.mktemp("mapped") / "c"))
    arguments = [str(path), "--space", SPACE, "--samples", "0", "--keep"]
    assert CliRunner().invoke(evaluate, arguments, catch_exceptions=False).exit_code == 0
    return path


@pytest.fixture(scope="module")
def client(mapped: Path) -> FlaskClient:
    return create_app(Settings(mapped), background=False).test_client()


def test_an_evaluation_that_is_stored_lays_its_spaces_out(mapped: Path) -> None:
    opened = Collection.open(mapped)
    assert load_map(opened, SPACE) is not None
    assert load_map(opened, OTHER) is None


def test_the_map_has_each_image_with_what_it_is_coloured_by(client: FlaskClient, mapped: Path) -> None:
    opened = Collection.open(mapped)
    images, stored = opened.images, load_map(opened, SPACE)
    assert stored is not None
    body = client.get(f"/api/v1/map?space={SPACE}").json
    assert client.get("/api/v1/map").json == body  # the default space
    assert body["ids"] == images.ids.tolist()
    assert body["class_numbers"] == images.labels.tolist()
    assert body["clusters"] == images.clusters.tolist()
    assert body["mark_bits"] == images.marks.tolist()
    assert len(body["sources"]) == 1
    assert all("/" not in name for name in body["sources"])
    places = np.array([body["x"], body["y"]]).T
    assert np.abs(places).max() == 1
    spread = np.ptp(stored.places, axis=0)
    np.testing.assert_allclose(np.ptp(places, axis=0), 2 * spread / spread.max(), atol=1e-3)
    assert body["trustworthiness"] == stored.facts.trustworthiness
    assert body["outdated"] is body["evaluation_outdated"] is False


def test_errors_are_the_queries_whose_nearest_is_of_another_class(client: FlaskClient) -> None:
    body = client.get("/api/v1/map").json
    wrong = dict(zip(body["ids"], body["errors"], strict=True))
    classes = dict(zip(body["ids"], body["class_numbers"], strict=True))
    for image in body["ids"][::7]:
        fields = f"k=1&spaces={SPACE}&exclude_cluster=true"
        (hit,) = client.get(f"/api/v1/images/{image}/similar?{fields}").json["hits"]
        if wrong[image] is not None:
            assert wrong[image] == (body["classes"][classes[image]] != hit["class"])
    assert {True, False} & set(wrong.values())


@pytest.mark.parametrize(("query", "status", "kind"), [(OTHER, 404, "no-map"), ("nothing", 422, "space-name")])
def test_what_is_not_there_is_a_problem(client: FlaskClient, query: str, status: int, kind: str) -> None:
    answer = client.get(f"/api/v1/map?space={query}")
    assert (answer.status_code, answer.json["type"]) == (status, f"urn:kvasir:{kind}")


def test_the_page_says_what_is_missing_and_what_is_outdated(mapped: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(mapped, tmp_path / "c"))
    with CollectionWriter(path) as writer:
        writer.remove([2])
    client = create_app(Settings(path), background=False).test_client()
    page = client.get(f"/map/?space={SPACE}&beside={OTHER}").text
    assert "The space has changed since" in page
    assert f"{OTHER} is not laid out yet" in page
    body = client.get("/api/v1/map").json
    assert body["outdated"]
    assert body["evaluation_outdated"]
    assert 2 not in body["ids"]
    assert str(tmp_path) not in page


def test_a_selection_is_a_table_and_a_search(client: FlaskClient, mapped: Path) -> None:
    opened = Collection.open(mapped)
    table = client.post("/map/selection.csv", data={"ids": "5,3,99999", "space": [SPACE, OTHER]})
    rows = list(csv.DictReader(io.StringIO(table.text)))
    stored = load_map(opened, SPACE)
    assert stored is not None
    assert [row["id"] for row in rows] == ["3", "5"]
    assert [row["class"] for row in rows] == [opened.class_of(3), opened.class_of(5)]
    assert float(rows[0][f"x {SPACE}"]) == pytest.approx(float(stored.places[stored.ids.tolist().index(3), 0]))
    assert rows[0][f"y {OTHER}"] == ""

    ids = opened.images.ids[:20].tolist()
    form = client.post("/search/among", data={"ids": ",".join(map(str, ids))})
    page = client.get(form.headers["Location"])
    assert "Only the 20 images that were selected" in page.text
    (first, *_) = re.findall(r'href="(/results[^"]*among=[^"]*)"', page.text)
    hits = client.get(unescape(first)).text
    found = {int(number) for number in re.findall(r"Hit \d+: image (\d+),", hits)}
    assert found
    assert found < set(ids)
    assert "Only 20 selected images are searched" in hits


def test_a_selection_is_a_query_set_that_the_report_shows_on_the_map(mapped: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(mapped, tmp_path / "c"))
    client = create_app(Settings(path), background=False).test_client()

    started = client.post("/evaluation/", data={"ids": "5,3,99999", "space": SPACE})

    assert started.headers["Location"] == "/evaluation/"
    job = client.application.extensions["kvasir"].jobs.latest()
    assert "Evaluating 2 selected images in 1 space" in client.get("/evaluation/").text
    deadline = time.monotonic() + 240
    while job.state == "running":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert (job.state, job.error, job.request["query_ids"]) == ("done", None, [3, 5])
    latest, earlier = client.get("/api/v1/evaluations").json["evaluations"]
    (result,) = client.get(f"/api/v1/evaluations/{latest['id']}").json["result"]["spaces"]
    assert result["queries"]["all"] == 2
    page = client.get("/evaluation/").text
    assert "Only 2 selected images query" in page
    (shown,) = set(re.findall(r'href="(/map/[^"]*)"', page)) - {"/map/"}
    assert '"selected": [3, 5]' in unescape(client.get(unescape(shown)).text)
    # Errors on the map are those of all queries, though this one is newer
    assert client.get("/api/v1/map").json["evaluation"] == earlier["id"]
    for ids in ("", "99999"):
        assert client.post("/evaluation/", data={"ids": ids, "space": SPACE}).status_code == 422
    assert client.post("/api/v1/evaluations", json={"query_ids": [99999]}).status_code == 422


def test_a_selection_that_is_none_or_gone_is_told(client: FlaskClient) -> None:
    for ids in ("", "a,b", "99999", "-1"):
        assert client.post("/search/among", data={"ids": ids}).status_code == 422
    gone = client.get("/?among=" + "0" * 32)
    assert gone.status_code == 410
    assert "select the images again" in gone.text
    assert client.get("/map/other.js").status_code == 404
    assert client.post("/map/", data={}).status_code == 422


def test_a_space_that_is_named_twice_is_laid_out_once(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.blueprints.maps.run_process", lambda path, job: None)
    assert client.post("/map/", data={"space": [SPACE, OTHER, SPACE.upper()]}).status_code == 303
    job = client.application.extensions["kvasir"].layouts.latest()
    assert job.request == {"spaces": [SPACE, OTHER]}


def test_a_picture_is_no_selection(client: FlaskClient, mapped: Path) -> None:
    from web.pictures import cache_query

    with client.application.app_context():
        name = cache_query(b"no ids")
    assert client.get(f"/results?image=3&among={name}").status_code == 410


def test_maps_are_not_in_the_way_of_a_backup_or_verification(mapped: Path) -> None:
    opened = Collection.open(mapped)
    store_map(mapped, make_map(opened, SPACE))
    from indexer.commands.verify import command as verify

    assert CliRunner().invoke(verify, [str(mapped)], catch_exceptions=False).exit_code == 0
