"""The same rankings through ranx, ir_measures and scikit-learn: equal where definitions agree, pinned where not."""

from __future__ import annotations

import ir_measures
import numpy as np
import pytest
import ranx
from ir_measures import AP, RR, P, R, Rprec, Success, nDCG
from sklearn.metrics import average_precision_score, ndcg_score

from retrieval.evaluation import SpaceResult, SpaceRetriever, evaluate_retriever
from retrieval.index.cosine import Cosine

TOLERANCE = 1e-9
N, CLASSES = 240, 4

pytestmark = [
    # numba and ranx themselves raise these
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaWarning"),
]


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    random = np.random.default_rng(1)
    centres = random.standard_normal((CLASSES, 16))
    made = centres[np.arange(N) % CLASSES] + 2 * random.standard_normal((N, 16))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def result(vectors: np.ndarray) -> SpaceResult:
    return evaluate_retriever(
        SpaceRetriever(vectors, Cosine()), np.arange(N) % CLASSES, [f"class {c}" for c in range(CLASSES)]
    )


@pytest.fixture(scope="module")
def qrels_and_run(vectors: np.ndarray) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, float]]]:
    similarity = 1 - Cosine().distances(vectors, vectors)
    others = [[j for j in range(N) if j != i] for i in range(N)]
    qrels = {str(i): {str(j): 1 for j in others[i] if (i - j) % CLASSES == 0} for i in range(N)}
    run = {str(i): {str(j): float(similarity[i, j]) for j in others[i]} for i in range(N)}
    return qrels, run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        *[(f"precision@{k}", f"precision@{k}") for k in (1, 5, 10, 20)],
        *[(f"recall@{k}", f"recall@{k}") for k in (1, 5, 10, 20)],
        *[(f"hit@{k}", f"hit_rate@{k}") for k in (1, 5, 10, 20)],
        *[(f"nDCG@{k}", f"ndcg@{k}") for k in (1, 5, 10, 20)],
        ("mAP", "map"),
        ("R-precision", "r-precision"),
        ("MRR", "mrr"),
    ],
)
def test_equal_to_ranx(result: SpaceResult, qrels_and_run, ours: str, theirs: str) -> None:
    qrels, run = (kind(data) for kind, data in zip((ranx.Qrels, ranx.Run), qrels_and_run, strict=True))
    ranx.evaluate(qrels, run, theirs)
    expected = [run.scores[theirs][str(i)] for i in range(N)]
    np.testing.assert_allclose(result.measures[ours], expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("precision@10", P @ 10),
        ("recall@10", R @ 10),
        ("hit@10", Success @ 10),
        ("nDCG@20", nDCG @ 20),
        ("mAP", AP),
        ("R-precision", Rprec),
        ("MRR", RR),
    ],
)
def test_equal_to_trec_eval_as_ir_measures_calls_it(result: SpaceResult, qrels_and_run, ours: str, theirs) -> None:
    values = {one.query_id: one.value for one in ir_measures.iter_calc([theirs], *qrels_and_run)}
    np.testing.assert_allclose(result.measures[ours], [values[str(i)] for i in range(N)], rtol=0, atol=TOLERANCE)


def test_equal_to_scikit_learn(result: SpaceResult, vectors: np.ndarray) -> None:
    similarity = 1 - Cosine().distances(vectors, vectors)
    for i in range(0, N, 7):
        others = np.arange(N) != i
        right = ((np.arange(N) - i) % CLASSES == 0)[others]
        scores = similarity[i][others]
        assert result.measures["mAP"][i] == pytest.approx(average_precision_score(right, scores), abs=TOLERANCE)
        assert result.measures["nDCG@10"][i] == pytest.approx(ndcg_score([right], [scores], k=10), abs=TOLERANCE)


@pytest.mark.slow
def test_ranx_and_trec_eval_divide_ap_at_k_by_r_and_we_by_what_k_can_hold(result: SpaceResult, qrels_and_run) -> None:
    qrels, run = (kind(data) for kind, data in zip((ranx.Qrels, ranx.Run), qrels_and_run, strict=True))
    ranx.evaluate(qrels, run, "map@10")
    theirs = np.array([run.scores["map@10"][str(i)] for i in range(N)])
    of_trec_eval = {one.query_id: one.value for one in ir_measures.iter_calc([AP @ 10], *qrels_and_run)}
    relevant = N // CLASSES - 1
    np.testing.assert_allclose(result.measures["AP@10"] * 10 / relevant, theirs, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(theirs, [of_trec_eval[str(i)] for i in range(N)], rtol=0, atol=TOLERANCE)


@pytest.mark.slow
def test_ranx_scores_a_query_with_nothing_relevant_0_and_we_do_not_score_it() -> None:
    qrels = ranx.Qrels({"a": {"b": 1}, "b": {"z": 1}})
    run = ranx.Run({"a": {"b": 0.9}, "b": {"a": 0.9}})
    assert ranx.evaluate(qrels, run, "map") == 0.5
    vectors = np.eye(3, dtype=np.float32)
    result = evaluate_retriever(SpaceRetriever(vectors, Cosine()), np.array([0, 0, 1]), ["two", "one"])
    assert np.isnan(result.measures["mAP"]).tolist() == [False, False, True]
    assert result.scored.tolist() == [True, True, False]


def test_scikit_learn_ranks_equal_scores_together_and_we_by_image_id() -> None:
    same = np.tile(np.array([[1, 0]], np.float32), (4, 1))
    result = evaluate_retriever(SpaceRetriever(same, Cosine()), np.array([0, 1, 1, 0]), ["a", "b"])
    assert result.measures["mAP"].tolist() == [1 / 3, 1 / 2, 1 / 2, 1]
    assert average_precision_score([0, 0, 1], [1, 1, 1]) == pytest.approx(1 / 3)
    assert average_precision_score([1, 0, 0], [1, 1, 1]) == pytest.approx(1 / 3)
