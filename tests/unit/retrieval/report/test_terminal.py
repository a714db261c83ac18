from __future__ import annotations

import io
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from retrieval.evaluation import Evaluation, MeasureOptions, SpaceRetriever, evaluate_retriever
from retrieval.evaluation.mark_bias import MarkBias
from retrieval.index.cosine import Cosine
from retrieval.report import print_evaluation, terminal
from retrieval.report.formats import latex
from retrieval.report.tables import overview_table


def evaluated(spaces: int) -> Evaluation:
    random = np.random.default_rng(0)
    labels = np.array([0] * 20 + [1] * 20 + [2] + [-1] * 3)
    results = []
    for number in range(spaces):
        vectors = random.standard_normal((len(labels), 8)) + 2 * random.standard_normal((4, 8))[labels]
        unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        names = ["dyed-resection-margins", "polyps", "alone"]
        results.append(evaluate_retriever(SpaceRetriever(unit, Cosine()), labels, names, space=f"space {number}"))
    return Evaluation("sample", tuple(results))


def printed(width: int, spaces: int = 1) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_evaluation(evaluated(spaces), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_the_summary_is_printed_in_full(width: int) -> None:
    text = printed(width)
    for part in (
        "leave-one-out, every image queries all the others",
        "44 in 3 classes, 3 of them unlabelled",
        "44 clusters",
        "Queries: 40; 1 more have nothing relevant",
        "its ceiling",
        "dyed-resection-margins",
    ):
        assert part in " ".join(text.split())


@pytest.mark.parametrize("width", [80, 120])
def test_no_figure_is_cut_off(width: int) -> None:
    text = printed(width)
    assert "…" not in text
    assert all(len(line) <= width for line in text.splitlines())


def test_a_space_that_learned_from_its_queries_is_named_so_and_ranked_last() -> None:
    first, *others = evaluated(3).best_first()
    result = Evaluation("sample", (replace(first, learned_from=5), *others))
    expected = [*(space.space for space in others), f"{first.space} (not clean)"]
    assert [row[0] for row in overview_table(result).rows] == expected
    assert f"{first.space} (not clean) &" in latex(result)
    console = Console(file=io.StringIO(), width=120)
    print_evaluation(result, console)
    assert isinstance(console.file, io.StringIO)
    overview = console.file.getvalue().partition("All spaces")[2]
    places = [overview.index(name) for name in expected]
    assert places == sorted(places)


def test_a_table_of_all_spaces_says_how_they_follow_the_device() -> None:
    of_spaces = {"JCD": MarkBias(0.8, 0.43, 0.9, 0.74, 0.6, 0.39, 0.844), "x" * 60: MarkBias(1, 0, 1, 0, 1, 0, 0.844)}
    console = Console(file=io.StringIO(), width=80)
    terminal._print(terminal._device(of_spaces), console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "marks and frame size alone have a precision@1 of 0.844" in " ".join(text.split())
    (line,) = (line.split() for line in text.splitlines() if "JCD" in line)
    assert line == ["JCD", "80%", "43%", "90%", "74%", "60%", "39%"]
    assert all(len(line) <= 80 for line in text.splitlines())


@pytest.mark.parametrize("width", [40, 75, 80, 100])
def test_the_gain_of_marks_is_printed_with_its_interval_however_narrow_the_terminal(width: int) -> None:
    users = SimpleNamespace(shown=20, marks=5, rounds=3)
    gains = {"marked": [0.7, 0.8, 0.8, 0.9], "unmarked": [0.7, 0.6], "gain": 0.45, "gain_low": 0.39, "gain_high": 0.5}
    curves: Any = [SimpleNamespace(space=name, users=users, **gains) for name in ("JCD", "zscore:JCD+" + "Tamura" * 9)]
    console = Console(file=io.StringIO(), width=width)
    terminal._print(terminal._feedback(curves), console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert text.count("45% (39% to 50%)") == 2
    if width >= 80:
        assert max(map(len, text.splitlines())) <= width


def test_several_spaces_end_in_one_table() -> None:
    assert "All spaces, best mAP first" in printed(80, spaces=2)
    assert "All spaces" not in printed(80)


def test_queries_without_a_vote_have_a_column_of_their_own() -> None:
    """Image 0's only near neighbours have no class."""
    angles = np.radians([0, 1, 2, 90, 91, 92])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    labels = np.array([0, -1, -1, 0, 1, 1])
    result = evaluate_retriever(SpaceRetriever(vectors, Cosine()), labels, ["a", "b"], options=MeasureOptions(vote_k=1))
    console = Console(file=io.StringIO(), width=80)
    print_evaluation(Evaluation("sample", (result,)), console)
    assert isinstance(console.file, io.StringIO)
    lines = [line.split() for line in console.file.getvalue().split("Confusion")[1].splitlines()[1:]]
    assert ["a", "b", "none"] in lines
    assert ["a", "a", "0", "1", "1"] in lines


def test_a_title_is_not_folded_to_a_small_table() -> None:
    assert "Confusion: rows are the true class, columns the voted one" in printed(80)
