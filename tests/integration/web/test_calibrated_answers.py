"""Chances and findings over REST and on the page."""

from __future__ import annotations

import re
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient

from retrieval.command_line import kvasir
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
