"""Evaluations that a stop left, or that are damaged, are told by `kvasir verify` and removed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from filelock import FileLock

from indexer.verification import Finding, check
from retrieval.command_line import kvasir
from retrieval.json_digest import checked_fields, json_bytes
from retrieval.report.store import FOLDER, load_report, load_result, stored_evaluations


def evaluated(collection: Path) -> Path:
    result = CliRunner().invoke(kvasir, ["evaluate", str(collection), "--keep", "--samples", "0"])
    assert result.exit_code == 0, result.output
    return collection / FOLDER / stored_evaluations(collection)[0].id


@pytest.fixture(scope="module")
def with_evaluation(drawn_in_two_spaces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    collection = Path(shutil.copytree(drawn_in_two_spaces, tmp_path_factory.mktemp("e") / "c"))
    evaluated(collection)
    return collection


@pytest.fixture
def collection(with_evaluation: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(with_evaluation, tmp_path / "c"))


def told(collection: Path) -> list[Finding]:
    return [finding for finding in check(collection, pictures=False) if finding.kind == "evaluation"]


def test_one_that_a_stop_left_is_told_and_removed_by_repair_and_by_the_next(collection: Path) -> None:
    left = collection / FOLDER / "0123.new"
    for remove in ("verify", "evaluate"):
        left.mkdir()
        (left / "means.csv").write_text("space")
        assert [finding.path for finding in told(collection)] == [left]
        if remove == "verify":
            assert CliRunner().invoke(kvasir, ["verify", str(collection), "--repair", "--quick"]).exit_code == 0
        else:
            evaluated(collection)
        assert not left.exists()
    assert told(collection) == []


def test_one_that_is_being_written_is_not_taken_for_one_that_a_stop_left(collection: Path) -> None:
    (collection / FOLDER / "0123.new").mkdir()
    with FileLock(collection / FOLDER / "writer.lock"):
        assert told(collection) == []


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "a list": lambda data: b"[]",
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["facts.json", "report.json", "result.json"])
def test_a_damaged_one_is_told_and_removed_and_the_others_are_shown(
    collection: Path, name: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    sound = next((collection / FOLDER).glob("*/facts.json")).parent
    damaged = sound.with_name("0123456789abcdef")
    shutil.copytree(sound, damaged)
    facts = json.loads((damaged / "facts.json").read_text()) | {"id": damaged.name}
    (damaged / "facts.json").write_text(json.dumps(facts))
    (damaged / name).write_bytes(DAMAGE[damage]((damaged / name).read_bytes()))

    assert sound.name in [evaluation.id for evaluation in stored_evaluations(collection)]
    assert [finding.path for finding in told(collection)] == [damaged]
    assert CliRunner().invoke(kvasir, ["verify", str(collection), "--repair", "--quick"]).exit_code == 0
    assert not damaged.exists()
    assert sound.exists()


@pytest.mark.parametrize("name", ["facts.json", "report.json", "result.json"])
def test_a_field_that_a_later_version_wrote_is_passed_over(collection: Path, name: str) -> None:
    path = next((collection / FOLDER).glob(f"*/{name}"))
    value: dict[str, Any] = json.loads(path.read_text())
    path.write_text(json.dumps(value | {"later": [1]}))
    if name != "facts.json":  # which has the digests of the others
        facts = checked_fields(path.with_name("facts.json").read_bytes())
        facts["files"][name] = hashlib.sha256(path.read_bytes()).hexdigest()
        path.with_name("facts.json").write_bytes(json_bytes(facts))
    (evaluation,) = stored_evaluations(collection)
    load_result(collection, evaluation)
    load_report(collection, evaluation)
    assert told(collection) == []
