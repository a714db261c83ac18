"""`kvasir push` and `--engine` as they are typed, with milvus-lite."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from retrieval.collection import Collection, CollectionWriter
from retrieval.command_line import kvasir as command
from retrieval.index.engines import connect


def kvasir(*arguments: object) -> Result:
    """One command, in this process, which has the file of milvus-lite."""
    return CliRunner().invoke(command, list(map(str, arguments)))


@pytest.fixture(scope="module")
def pushed(drawn_in_two_spaces: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str, str]]:
    """A collection, the address that it was pushed to, and what was said of it."""
    pytest.importorskip("milvus_lite", reason="milvus-lite is not installed")
    folder = tmp_path_factory.mktemp("pushed")
    path, address = Path(shutil.copytree(drawn_in_two_spaces, folder / "c")), f"milvus://{folder / 'm.db'}"
    run = kvasir("push", path, address)
    assert (run.exit_code, run.stderr) == (0, "")
    yield path, address, run.stdout
    connect(address).close()


def test_every_space_of_embeddings_is_pushed(pushed: tuple[Path, str, str]) -> None:
    path, address, told = pushed
    lines = [f"space {space.name}: 26 images written, 0 removed, 26 there; FLAT, in {address}"
             for space in Collection.open(path).spaces]  # fmt: skip
    assert told.splitlines() == lines


def test_search_evaluation_and_verification_are_as_without_the_engine(pushed: tuple[Path, str, str]) -> None:
    path, address, _ = pushed
    names = [space.name for space in Collection.open(path).spaces]
    fused = ["--space", ",".join(names), "--fusion", "zscore", "--json", "--class", "polyps"]
    evaluation = ["--samples", "0", "--json", "--fuse", "+".join(names)]
    for arguments in (["search", "3", path, *fused], ["evaluate", path, *evaluation]):
        there, here = kvasir(*arguments, "--engine", address), kvasir(*arguments)
        assert (there.exit_code, json.loads(there.stdout)) == (0, json.loads(here.stdout))
    assert there.stderr == f"{address} searched {', '.join(names)}; all else compared every image here\n"
    verified = kvasir("verify", path, "--quick", "--engine", address)
    assert (verified.exit_code, verified.stdout) == (0, f"{path}: sound (26 images in 2 spaces)\n")


def test_a_batch_is_searched_in_the_engine(pushed: tuple[Path, str, str], gallery_folder: Path, tmp_path: Path) -> None:
    path, address, _ = pushed
    for out, options in ((tmp_path / "there.csv", ["--engine", address]), (tmp_path / "here.csv", [])):
        assert kvasir("search", "--batch", gallery_folder, path, "--out", out, "-k", "5", *options).exit_code == 0
    assert (tmp_path / "there.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()


def test_what_an_engine_has_otherwise_is_told_and_written_anew(drawn_in_two_spaces: Path, tmp_path: Path) -> None:
    pytest.importorskip("milvus_lite", reason="milvus-lite is not installed")
    path, address = Path(shutil.copytree(drawn_in_two_spaces, tmp_path / "c")), f"milvus://{tmp_path / 'm.db'}"
    opened = Collection.open(path)
    with CollectionWriter(path) as writer:
        writer.remove([2])
    engine = connect(address)
    engine.push(opened, opened.spaces[0], None, lambda step, done, total: None)
    engine.close()
    run = kvasir("verify", path, "--quick", "--engine", address, "--json")
    findings: list[dict[str, Any]] = json.loads(run.stdout)["findings"]
    assert run.exit_code == 1
    assert [(one["kind"], one["space"], one["ids"]) for one in findings] == [
        ("engine", opened.spaces[0].name, []),
        ("engine", opened.spaces[0].name, [2]),
        ("engine", opened.spaces[1].name, []),
    ]
    assert f"kvasir push --rebuild {path} {address}" in findings[0]["message"]
    assert kvasir("push", "--rebuild", path, address).exit_code == 0
    assert kvasir("verify", path, "--quick", "--engine", address).exit_code == 0


def test_an_engine_that_cannot_be_used_is_one_line_and_exit_status_2(indexed: Any) -> None:
    address = "milvus://nohost.invalid:1?timeout=0.2"
    program = "from retrieval.command_line import main; main()"
    run = subprocess.run(
        [sys.executable, "-c", program, "search", "3", str(indexed.path), "--engine", address],
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[3],
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1)
    assert "milvus://nohost.invalid:1 cannot be reached" in run.stderr
