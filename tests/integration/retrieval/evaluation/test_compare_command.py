from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from retrieval.commands.compare import command
from retrieval.evaluation import Evaluation, NotSameQueriesError, SpaceRetriever, evaluate_retriever
from retrieval.evaluation.protocols import Protocol, k_fold, leave_one_out
from retrieval.evaluation.store import StoredEvaluationError
from retrieval.index.cosine import Cosine

LABELS = np.arange(60) % 3


def stored(
    path: Path,
    strength: float,
    count: int = 60,
    *,
    reverse: bool = False,
    per_query: bool = True,
    protocol: Protocol | None = None,
) -> Path:
    """An evaluation of one space; reverse numbers the same images the other way round."""
    random = np.random.default_rng(0)
    vectors = random.standard_normal((60, 12)) + strength * random.standard_normal((3, 12))[LABELS]
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    order = np.arange(60)[::-1] if reverse else np.arange(60)
    order = order[:count]
    files = [f"{row}.jpg" for row in order]
    result = evaluate_retriever(
        SpaceRetriever(unit[order], Cosine()),
        LABELS[order],
        list("abc"),
        files=files,
        space="tower",
        protocol=protocol or leave_one_out(order),
    )
    path.write_text(json.dumps(Evaluation("c", (result,)).to_dict(per_query=per_query)), encoding="utf-8")
    return path


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(command, [str(one) for one in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_better_run_is_named_by_its_file(tmp_path: Path) -> None:
    weak, strong = stored(tmp_path / "weak.json", 0.3), stored(tmp_path / "strong.json", 2)
    text = " ".join(run(weak, strong).split())
    assert "tower (strong) is better than tower (weak): mAP higher by" in text


def test_evaluations_with_the_same_file_name_are_labelled_by_path(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    runs = [stored(tmp_path / name / "evaluation.json", at + 1) for at, name in enumerate(("one", "two"))]
    names = [standing["name"] for standing in json.loads(run(*runs, "--json"))["standings"]]
    assert sorted(names) == sorted(f"tower ({path})" for path in runs)


def test_an_evaluation_given_twice_has_two_labels(tmp_path: Path) -> None:
    one, other = stored(tmp_path / "one.json", 1), stored(tmp_path / "other.json", 2)
    names = [standing["name"] for standing in json.loads(run(one, other, one, "--json"))["standings"]]
    assert sorted(names) == ["tower (one, 1)", "tower (one, 2)", "tower (other)"]


def test_queries_are_matched_by_file_and_not_by_id(tmp_path: Path) -> None:
    one, other = stored(tmp_path / "one.json", 1), stored(tmp_path / "other.json", 1, reverse=True)
    (difference,) = json.loads(run(one, other, "--json"))["differences"]
    assert difference["by"] == pytest.approx(0, abs=1e-12)


def test_other_queries_are_refused(tmp_path: Path) -> None:
    one, other = stored(tmp_path / "one.json", 1), stored(tmp_path / "other.json", 1, count=59)
    with pytest.raises(NotSameQueriesError, match="1 are only in the first"):
        run(one, other)


def test_other_folds_are_refused_though_each_query_has_as_much_to_find(tmp_path: Path) -> None:
    alone = np.arange(60)
    runs = [stored(tmp_path / f"{seed}.json", 1, protocol=k_fold(LABELS, alone, 2, seed)) for seed in (0, 1)]
    with pytest.raises(NotSameQueriesError, match=r"different protocols: .*seed 0.*seed 1"):
        run(*runs)


def test_a_file_that_is_no_evaluation_or_damaged_is_an_error_with_the_reason(tmp_path: Path) -> None:
    good = stored(tmp_path / "good.json", 1)
    bad = tmp_path / "bad.json"
    bad.write_text("[]")
    with pytest.raises(StoredEvaluationError, match="is not an evaluation"):
        run(good, bad)
    bad.write_text('{"schema": "kvasir-evaluation/99"}')
    with pytest.raises(StoredEvaluationError, match="kvasir-evaluation/99"):
        run(good, bad)
    bad.write_text('{"schema": "kvasir-eval')
    with pytest.raises(StoredEvaluationError, match="is damaged and is not JSON"):
        run(good, bad)
    bad.write_text("[" * 100_000)
    with pytest.raises(StoredEvaluationError, match="is damaged"):
        run(good, bad)
    bad.write_bytes(bytes(range(200, 256)))
    with pytest.raises(StoredEvaluationError, match="is damaged"):
        run(good, bad)
    bad.write_text('{"schema": "kvasir-evaluation/1"}')
    with pytest.raises(StoredEvaluationError, match="damaged"):
        run(good, bad)
    bad.write_text('{"schema": "kvasir-evaluation/1", "spaces": []}')
    with pytest.raises(StoredEvaluationError, match="has no space"):
        run(good, bad)
    for wrong, told in (("much", "damaged"), (None, "tower has no mAP of the query 3.jpg")):
        evaluation = json.loads(good.read_text())
        evaluation["spaces"][0]["per_query"]["measures"]["mAP"][3] = wrong
        bad.write_text(json.dumps(evaluation))
        with pytest.raises(StoredEvaluationError, match=told):
            run(good, bad)
    bad.write_text('{"schema": "kvasir-evaluation/1", "spaces": [{"space": "a", "per_query": {}}]}')
    with pytest.raises(StoredEvaluationError, match="damaged"):
        run(good, bad)
    with pytest.raises(StoredEvaluationError, match="no figures of single queries"):
        run(good, stored(bad, 1, per_query=False))
    with pytest.raises(StoredEvaluationError, match="no measure 'beauty'; it has mAP"):
        run(good, good, "--measure", "beauty")
    with pytest.raises(StoredEvaluationError, match="no space 'sea'; it has tower"):
        run(good, "--space", "sea")
