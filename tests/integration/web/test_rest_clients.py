"""The short clients of the README, run as they stand there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

README = Path(__file__).parents[3] / "README.md"


def client(language: str, served: Any, number: int = 0) -> str:
    """A client of the README in a language, pointed to the server of the tests."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    block = [block for block in blocks if "/api/v1/" in block][number]
    return str(block.replace("http://127.0.0.1:8000", served.url))


@pytest.fixture
def folder(indexed: Any, tmp_path: Path) -> Path:
    shutil.copy(indexed.data / "polyps" / "3.jpg", tmp_path / "picture.jpg")
    return tmp_path


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_client_for_curl(served: Any, folder: Path) -> None:
    run = subprocess.run(["sh", "-c", client("sh", served)], cwd=folder, capture_output=True, check=True)
    assert json.loads(run.stdout)["hits"][0]["file"] == "polyps/3.jpg"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_batches_for_curl(served: Any, indexed: Any, tmp_path: Path) -> None:
    for name, file in (("a.jpg", "polyps/3.jpg"), ("b.jpg", "cecum/5.jpg")):
        shutil.copy(indexed.data / file, tmp_path / name)
    of_pictures, of_ids = client("sh", served, 1).splitlines()

    def results(command: str) -> list[dict[str, Any]]:
        run = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, check=True)
        return list(json.loads(run.stdout)["results"])

    assert [result["hits"][0]["file"] for result in results(of_pictures)] == ["polyps/3.jpg", "cecum/5.jpg"]
    assert [(result["query"]["id"], result["k"]) for result in results(of_ids)] == [(5, 5), (7, 3)]


def test_the_client_for_python(served: Any, folder: Path) -> None:
    command = [sys.executable, "-c", client("python", served)]
    run = subprocess.run(command, cwd=folder, capture_output=True, check=True, text=True)
    lines = run.stdout.splitlines()
    assert len(lines) == 5
    assert lines[0].endswith("polyps/3.jpg")


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_client_for_javascript_in_node(served: Any) -> None:
    command = ["node", "--input-type=module", "--eval", client("js", served)]
    run = subprocess.run(command, capture_output=True, check=True, text=True)
    lines = run.stdout.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("1 ")


def test_the_client_for_javascript_in_a_page(served: Any, browser: Any) -> None:
    page = browser.new_page()
    said: list[str] = []
    page.on("console", lambda line: said.append(line.text))
    page.goto(served.url)
    page.evaluate(f"async () => {{ {client('js', served)} }}")
    (text,) = said
    assert len(text.splitlines()) == 5
    assert text.startswith("1 ")
