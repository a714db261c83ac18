"""Chances and findings over REST and on the page."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient

from retrieval.collection import Collection
from retrieval.command_line import kvasir
from retrieval.learn.novelty import fit_detector, store_detector
from web.app import create_app
from web.context import Settings


@pytest.fixture(scope="module")
def client(indexed: Any, tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    path: Path = tmp_path_factory.mktemp("calibrated") / "c"
    shutil.copytree(indexed.path, path)
    assert CliRunner().invoke(kvasir, ["calibrate", str(path)]).exit_code == 0
    return create_app(Settings(path, rate=""), background=False).test_client()


def test_hits_have_chances_and_can_be_cut_by_them(client: FlaskClient) -> None:
    answer = client.post("/api/v1/search", json={"image_id": 3, "k": 20}).get_json()
    assert answer["findings"]["coverage"] == 0.9
    assert answer["findings"]["outdated"] is False
    assert answer["findings"]["classes"][0]["class"] == "cecum"
    chances = [hit["chance"] for hit in answer["hits"]]
    assert min(chance for chance in chances if chance is not None) < 0.5
    cut = client.post("/api/v1/search", json={"image_id": 3, "k": 20, "min_chance": 0.5}).get_json()
    assert [hit["chance"] for hit in cut["hits"]] == [c for c in chances if c is not None and c >= 0.5]
    assert client.post("/api/v1/search", json={"image_id": 3, "min_chance": 1.5}).status_code == 422


def test_a_space_that_is_not_calibrated_is_told(client: FlaskClient, indexed: Any) -> None:
    plain = create_app(Settings(indexed.path, rate=""), background=False).test_client()
    answer = plain.post("/api/v1/search", json={"image_id": 3, "min_chance": 0.5})
    assert (answer.status_code, answer.get_json()["type"]) == (422, "urn:kvasir:not-calibrated")
    assert "/" not in answer.get_json()["detail"].replace("`kvasir", "").split("tf_")[0]
    assert "Least chance" not in plain.get("/").text


def test_the_page_shows_the_findings_and_each_chance(client: FlaskClient) -> None:
    page = client.get("/results?image=3&k=12").text
    assert "Findings at 90 %" in page
    assert page.count("The chance that this hit shows the query") == 11  # of one hit no class is known
    assert "Least chance" in page
    fewer = client.get("/results?image=3&k=12&min_chance=0.9").text
    assert fewer.count('class="hit"') < page.count('class="hit"')
    assert "Least chance: " in client.get("/results?image=3&min_chance=7").text
    none = re.sub(r"\s+", " ", client.get("/results?image=3&classes=polyps&min_chance=0.99").text)
    assert "No image of polyps has a chance of 99 % or more of showing the query's finding." in unescape(none)
    compared = client.get("/compare?image=3&k=12&hit=4").text
    assert "<dd>" in compared
    assert "Chance" in compared


def test_a_picture_of_the_collection_is_not_told_to_be_unlike_anything_in_it(
    indexed: Any, tmp_path: Path, draw: Callable[..., Any], encode_file: Callable[..., bytes]
) -> None:
    path = shutil.copytree(indexed.path, tmp_path / "c")
    opened = Collection.open(path)
    space = opened.spaces[0].name
    _, vectors = opened.vectors(space)
    detector = fit_detector(space, vectors, opened.images.labels, opened.images.clusters)
    store_detector(opened, replace(detector, bounds={"foreign": np.inf, "unlike": -np.inf}))  # every picture is unlike
    client = create_app(Settings(path, rate=""), background=False).test_client()

    def told(picture: bytes) -> str:
        answer = client.post("/search", data={"picture": (io.BytesIO(picture), "a.png"), "spaces": space})
        return client.get(answer.headers["Location"]).text

    assert "Unlike anything here?" in told(encode_file(draw(4321, (60, 60, 200))))
    own = told((indexed.data / "polyps" / "3.jpg").read_bytes())
    assert "This very picture is in the collection" in own
    assert "Unlike anything here?" not in own
