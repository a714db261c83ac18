"""What `kvasir evaluate` writes, in every protocol, against the JSON Schema that a report has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from click.testing import CliRunner

from indexer.commands.evaluate import command
from retrieval.evaluation.result import SCHEMA, SCHEMA_FILE

FUSION = ("--fuse", "tf_efficientnet_lite0=2+test_vit-test_vit")


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    written: dict[str, Any] = json.loads(SCHEMA_FILE.read_text("utf-8"))
    jsonschema_rs.meta.validate(written)
    return written


def evaluated(collection: Path, *arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(command, [str(collection), "--json", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    written: dict[str, Any] = json.loads(result.stdout)
    return written


@pytest.mark.parametrize(
    "arguments",
    [
        ("--samples", "20", *FUSION, "--speed"),
        ("--samples", "0"),
        ("--samples", "0", "--feedback"),
        ("--samples", "20", "--feedback", *FUSION),
        ("--samples", "20", "--fuse", "zscore:tf_efficientnet_lite0=2+test_vit-test_vit"),
        ("--protocol", "leave-one-out", "--samples", "20", "--k", "3"),
        ("--protocol", "hold-out", "--test-share", "0.4", "--samples", "20", *FUSION),
        ("--protocol", "k-fold", "--folds", "3", "--samples", "20", "--space", "tf_efficientnet_lite0"),
    ],
    ids=lambda arguments: " ".join(arguments[:4]),
)
def test_every_protocol_gives_json_of_the_schema(
    two_spaces: Path, schema: dict[str, Any], arguments: tuple[str, ...]
) -> None:
    written = evaluated(two_spaces, *arguments)
    jsonschema_rs.Draft202012Validator(schema).validate(written)
    assert ("comparison" in written) == (len(written["spaces"]) > 1)
    assert ("feedback" in written) == ("--feedback" in arguments)
    assert ("speed" in written) == ("--speed" in arguments)


def test_a_split_file_gives_json_of_the_schema(two_spaces: Path, schema: dict[str, Any], tmp_path: Path) -> None:
    split = tmp_path / "split.csv"
    rows = [f"{name}/{n}.jpg,{'test' if n < 2 else 'train'}" for name in ("cecum", "polyps") for n in range(8)]
    split.write_text("file,split\n" + "\n".join(rows))
    written = evaluated(two_spaces, "--split", str(split), "--samples", "20", *FUSION)
    jsonschema_rs.Draft202012Validator(schema).validate(written)
    assert written["spaces"][0]["protocol"]["name"] == "split file"


@pytest.mark.parametrize(
    "damage",
    [
        lambda written: written.update(schema="kvasir-evaluation/2"),
        lambda written: written["spaces"][0].update(surplus=1),
        lambda written: written["spaces"][0]["measures"].pop("mAP"),
        lambda written: written["spaces"][0]["per_query"]["class"].append(7),
        lambda written: written["spaces"][0]["images"].update(all=-1),
    ],
)
def test_the_schema_refuses_another_form(two_spaces: Path, schema: dict[str, Any], damage: Any) -> None:
    written = evaluated(two_spaces, "--samples", "0", "--space", "tf_efficientnet_lite0")
    assert written["schema"] == SCHEMA
    damage(written)
    assert not jsonschema_rs.Draft202012Validator(schema).is_valid(written)


def test_speed_is_of_each_space_of_the_fusion_and_of_what_is_ranked_anew(two_spaces: Path) -> None:
    """The draft sizes of the two encoders differ, so the fusion decodes twice."""
    written = evaluated(two_spaces, "--samples", "0", "--speed", *FUSION, "--rerank", "query-expansion")
    one, two, both, ranked, _ = written["speed"]
    assert [speed["space"] for speed in written["speed"]] == [space["space"] for space in written["spaces"]]
    assert ranked["space"] == f"{one['space']}, query-expansion"
    assert both["index_size"] == one["index_size"] + two["index_size"] > 0
    assert all(speed["peak_memory"] > 0 for speed in written["speed"])


def test_all_but_the_times_is_the_same_in_every_run(two_spaces: Path) -> None:
    first, second = (evaluated(two_spaces, "--speed", "--samples", "50", *FUSION) for _ in range(2))
    first.pop("speed")
    second.pop("speed")
    assert json.dumps(first) == json.dumps(second)
