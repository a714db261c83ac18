from __future__ import annotations

import csv
from pathlib import Path

import ir_measures
import numpy as np
import pytest
import pytrec_eval
import ranx
from ir_measures import RR, P, R, nDCG

from retrieval.evaluation import (
    Evaluation,
    MeasureOptions,
    Protocol,
    Round,
    SpaceRetriever,
    evaluate_retriever,
    leave_cluster_out,
)
from retrieval.index.cosine import Cosine
from retrieval.report.formats import latex, means_csv, queries_csv, run_name, trec_qrels, trec_run

pytestmark = [
    # numba and ranx themselves raise these
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaWarning"),
]

LABELS = np.array([0, 1, 2, -1] * 15)
IDS = np.arange(60) * 3
CLUSTERS = np.arange(60) // 8


@pytest.fixture(scope="module")
def protocol() -> Protocol:
    return leave_cluster_out(CLUSTERS)


@pytest.fixture(scope="module")
def evaluation(protocol: Protocol) -> Evaluation:
    random = np.random.default_rng(0)
    vectors = random.standard_normal((60, 8))
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    names = ["normal_cecum", "polyps & more", "100 %"]
    space = evaluate_retriever(
        SpaceRetriever(unit, Cosine()),
        LABELS,
        names,
        CLUSTERS,
        IDS,
        protocol=protocol,
        space="my space",
        options=MeasureOptions(samples=50),
    )
    return Evaluation("c", (space,))


def test_trec_eval_computes_our_figures_from_run_and_qrels(evaluation: Evaluation, protocol: Protocol) -> None:
    (space,) = evaluation.spaces
    run = list(ir_measures.read_trec_run("".join(trec_run(space))))
    qrels = list(ir_measures.read_trec_qrels("".join(trec_qrels(protocol, IDS, LABELS))))
    for ours, theirs in (("precision@10", P @ 10), ("recall@20", R @ 20), ("nDCG@10", nDCG @ 10), ("MRR", RR)):
        theirs_by_query = {int(one.query_id): one.value for one in ir_measures.iter_calc([theirs], qrels, run)}
        assert [theirs_by_query[query] for query in space.ids] == pytest.approx(space.measures[ours].tolist(), abs=1e-9)


@pytest.mark.slow
def test_ranx_and_pytrec_eval_read_the_same_files(evaluation: Evaluation, protocol: Protocol, tmp_path: Path) -> None:
    (space,) = evaluation.spaces
    run, qrels = tmp_path / "space.run", tmp_path / "qrels.txt"
    run.write_text("".join(trec_run(space)))
    qrels.write_text("".join(trec_qrels(protocol, IDS, LABELS)))
    as_qrels = ranx.Qrels.from_file(str(qrels), kind="trec")
    as_run = ranx.Run.from_file(str(run), kind="trec")
    assert ranx.evaluate(as_qrels, as_run, ["precision@5", "mrr", "map"]) == pytest.approx(
        {
            "precision@5": space.means("precision@5").micro,
            "mrr": space.means("MRR").micro,
            "map": space.means("mAP").micro,
        }
    )
    with run.open() as run_lines, qrels.open() as qrels_lines:
        evaluator = pytrec_eval.RelevanceEvaluator(pytrec_eval.parse_qrel(qrels_lines), {"map", "P_10", "recip_rank"})
        theirs_by_query = evaluator.evaluate(pytrec_eval.parse_run(run_lines))
    for name, theirs in (("mAP", "map"), ("precision@10", "P_10"), ("MRR", "recip_rank")):
        ours = dict(zip(map(str, space.ids), space.measures[name], strict=True))
        assert {query: values[theirs] for query, values in theirs_by_query.items()} == pytest.approx(ours)


def test_trec_eval_keeps_the_order_of_a_long_list() -> None:
    """Image ids fall with the rank, which is how trec_eval orders what has one score."""
    count = 70_000
    angles = np.linspace(1, 0, count)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    labels = np.zeros(count, np.int64)
    labels[[1, 20_000, count - 1]] = 1
    protocol = Protocol("one query", "", (Round(np.array([count - 1]), np.arange(count - 1)),), np.arange(count))
    result = evaluate_retriever(
        SpaceRetriever(vectors, Cosine()), labels, ["a", "b"], protocol=protocol, options=MeasureOptions((count,))
    )
    assert (result.relevant.tolist(), result.neighbours[0, :2].tolist()) == ([2], [count - 2, count - 3])
    evaluator = pytrec_eval.RelevanceEvaluator(
        pytrec_eval.parse_qrel(trec_qrels(protocol, np.arange(count), labels)), {"map", "recip_rank"}
    )
    ((_, figures),) = evaluator.evaluate(pytrec_eval.parse_run(trec_run(result))).items()
    assert figures["recip_rank"] == result.measures["MRR"][0] == 1 / (count - 1 - 20_000)
    assert figures["map"] == pytest.approx(result.measures["mAP"][0], abs=1e-15)


def test_a_run_of_many_fused_spaces_has_a_name_that_disks_take() -> None:
    long, other = ("+".join(f"{letter * 90}{number}" for number in range(3)) for letter in "ab")
    assert run_name("A=2+B") == "A=2+B.run"
    assert run_name("zscore:A+B") == "zscore,A+B.run"
    assert len(run_name(long)) < 130
    assert len({run_name(long), run_name(other), run_name(long + "1")}) == 3


def test_means_are_one_line_each_with_their_interval(evaluation: Evaluation) -> None:
    lines = list(csv.DictReader(means_csv(evaluation).splitlines()))
    (macro,) = [line for line in lines if line["measure"] == "mAP" and line["mean"] == "macro"]
    assert float(macro["value"]) == evaluation.spaces[0].means("mAP").macro
    assert float(macro["low"]) < float(macro["value"]) < float(macro["high"])
    assert {line["mean"] for line in lines} == {"micro", "macro", "normal_cecum", "polyps & more", "100 %"}


def test_every_query_is_a_line(evaluation: Evaluation) -> None:
    lines = list(csv.DictReader(queries_csv(evaluation).splitlines()))
    assert [int(line["id"]) for line in lines] == evaluation.spaces[0].ids.tolist()
    assert float(lines[7]["mAP"]) == evaluation.spaces[0].measures["mAP"][7]


def test_latex_escapes_what_latex_reads_otherwise(evaluation: Evaluation) -> None:
    text = latex(evaluation)
    assert r"normal\_cecum" in text
    assert r"polyps \& more" in text
    assert r"100 \%" in text
    assert text.count("\\toprule") == text.count("\\bottomrule") == 2
