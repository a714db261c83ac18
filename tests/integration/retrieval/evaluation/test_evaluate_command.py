from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from indexer.commands.evaluate import command
from retrieval.collection import Collection, CollectionWriter, NewImage, SpaceNameError
from retrieval.evaluation import NothingToEvaluateError
from retrieval.report.store import stored_evaluations

CLASSES = ("esophagitis", "polyps")


@pytest.fixture(scope="module")
def collection(write_collection: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images: each is an exact copy of its neighbour by content, so that clusters matter."""
    vectors = np.random.default_rng(0).standard_normal((12, 2, 8)).astype(np.float32)
    numbers = np.arange(12)
    vectors[numbers, 0, numbers % 2] += 4
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    return write_collection(
        tmp_path_factory.mktemp("evaluate") / "small",
        {"one": vectors[:, 0], "two": vectors[:, 1]},
        [CLASSES[number % 2] for number in range(12)],
        contents=[(number // 4, number % 2) for number in range(12)],
    )


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(command, [str(one) for one in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_json_has_the_protocol_the_images_and_the_figures_of_every_query(collection: Path) -> None:
    written = json.loads(run(collection, "--json"))
    assert written["schema"] == "kvasir-evaluation/1"
    assert [space["space"] for space in written["spaces"]] == ["one", "two"]
    one = written["spaces"][0]
    assert one["protocol"]["name"] == "leave-cluster-out"
    assert one["images"] == {
        "all": 12,
        "unlabelled": 0,
        "clusters": 6,
        "per_class": {"esophagitis": 6, "polyps": 6},
    }
    assert one["per_query"]["relevant"] == [4] * 12
    assert one["per_query"]["file"][1] == "polyps/1.jpg"
    assert len(one["per_query"]["measures"]["mAP"]) == 12


def test_simulated_marks_are_in_the_table_and_the_report(collection: Path, tmp_path: Path) -> None:
    printed = run(collection, "--samples", "20", "--feedback", "--report", tmp_path / "r")
    assert "Simulated marks on hits: precision@20 of images not shown yet" in printed
    page = (tmp_path / "r" / "index.html").read_text()
    assert "After marks on hits" in page
    assert "after 15 marks" in page
    assert "After marks on hits" not in run(collection, "--samples", "0")


def test_no_figure_loses_its_end_in_a_narrow_terminal(collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    printed = run(collection, "--samples", "20", "--full")
    assert "precision@k" in printed
    assert "…" not in printed


def test_copies_help_a_query_unless_they_are_left_out(collection: Path) -> None:
    honest = json.loads(run(collection, "--json", "--space", "one"))
    with_copies = json.loads(run(collection, "--json", "--space", "one", "--protocol", "leave-one-out"))
    assert [space["per_query"]["relevant"][0] for result in (honest, with_copies) for space in result["spaces"]] == [
        4,
        5,
    ]


def test_same_run_twice_gives_the_same_bytes(collection: Path) -> None:
    assert run(collection, "--json") == run(collection, "--json")


def test_a_fusion_stands_among_the_spaces(collection: Path) -> None:
    written = json.loads(run(collection, "--json", "--fuse", "two+one=2"))
    assert [space["space"] for space in written["spaces"]] == ["one", "two", "two+one=2"]
    assert "two + one=2" in run(collection, "--fuse", "two+one=2")


def test_the_same_fusion_twice_is_measured_once(collection: Path) -> None:
    written = json.loads(run(collection, "--json", "--space", "one", "--fuse", "one+two", "--fuse", "one=1+two"))
    assert [space["space"] for space in written["spaces"]] == ["one", "one+two"]


def test_a_fusion_of_an_unknown_space_is_refused_before_anything_is_measured(collection: Path) -> None:
    with pytest.raises(SpaceNameError, match="one, two"):
        run(collection, "--fuse", "one+three")


def test_a_collection_without_spaces_cannot_be_evaluated(tmp_path: Path) -> None:
    with CollectionWriter(tmp_path / "c", create=True):
        pass
    with pytest.raises(NothingToEvaluateError, match="no spaces yet"):
        run(tmp_path / "c")


def test_k_can_be_chosen(collection: Path) -> None:
    written = json.loads(run(collection, "--json", "--k", "3", "--k", "2"))
    assert [name for name in written["spaces"][0]["measures"] if name.startswith("precision")] == [
        "precision@2",
        "precision@3",
    ]


def test_several_spaces_are_one_table_and_their_own_tables_are_in_full(collection: Path) -> None:
    brief = run(collection, "--samples", "20")
    assert len(brief.splitlines()) < 20
    assert "Confusion" not in brief
    full = run(collection, "--samples", "20", "--full")
    assert full.count("Confusion") == 2
    assert brief[brief.index("All spaces") :] == full[full.index("All spaces") :]
    assert "Confusion" in run(collection, "--samples", "20", "--space", "one")


def test_a_long_name_of_a_space_stays_whole_at_80_columns(collection: Path, tmp_path: Path) -> None:
    path = tmp_path / "c"
    shutil.copytree(collection, path)
    name = "vit_base_patch16_224.augreg_in21k-multi-pca"
    with CollectionWriter(path) as writer:
        ids, vectors = Collection.open(path).vectors("one")
        writer.add_space(name, "encoder", vectors.shape[1], "cosine", {}, vectors=iter([(ids, vectors)]))
    printed = run(path, "--samples", "20", "--fuse", f"{name}+two")
    table = printed[printed.index("All spaces") :].splitlines()
    assert any(line.split()[:1] == [name] and "-" in line.split()[2] for line in table)
    assert "hit@10" not in printed
    assert "hit@10" in run(collection, "--samples", "20")


def test_table_names_both_spaces_and_the_protocol(collection: Path) -> None:
    text = run(collection)
    assert "All spaces, best mAP first" in text
    assert "leave-cluster-out, every image queries all the others but its own near duplicates" in " ".join(text.split())


def test_what_is_stored_already_is_stored_once_and_every_option_makes_another(collection: Path, tmp_path: Path) -> None:
    path = tmp_path / "c"
    shutil.copytree(collection, path)
    folds = ("--keep", "--samples", "0", "--protocol", "k-fold", "--folds")
    for choices in ((*folds, "2"), (*folds, "2"), (*folds, "3"), (*folds, "3", "--k", "2"), (*folds, "2")):
        run(path, *choices)
    requests = [one.request for one in stored_evaluations(path)]
    assert [(one["sentence"][:9], one["k"]) for one in requests] == [
        ("each of 3", [2]),
        ("each of 3", [1, 5, 10, 20]),
        ("each of 2", [1, 5, 10, 20]),
    ]


def test_the_images_of_a_table_alone_query_and_have_the_figures_that_they_have_among_all(
    collection: Path, tmp_path: Path
) -> None:
    table = tmp_path / "selection.csv"
    table.write_text("id,file\n7,polyps/7.jpg\n2,esophagitis/2.jpg\n")
    every, some = (
        json.loads(run(collection, "--json", "--samples", "0", *more))["spaces"] for more in ((), ("--queries", table))
    )
    for whole, part in zip(every, some, strict=True):
        assert part["protocol"]["sentence"].endswith("; 2 of 12 queries, which were selected")
        assert part["per_query"]["id"] == [2, 7]
        for name, values in part["per_query"]["measures"].items():
            assert values == [whole["per_query"]["measures"][name][at] for at in (2, 7)]


def test_names_of_classes_are_printed_as_they_are(tmp_path: Path) -> None:
    names = ("[/b]", "[red]cecum")
    with CollectionWriter(tmp_path / "c", create=True) as writer:
        writer.add_space("one", "encoder", 2, "cosine", {})
        source = writer.source(tmp_path, "folder")
        vector = np.array([1, 0], np.float32)
        for number in range(6):
            file = f"{number}.jpg"
            writer.append(
                [NewImage(source, file, names[number % 2], 1, 1, 1, 0, bytes([number]) * 32, {"one": vector})]
            )
    text = run(tmp_path / "c", "--samples", "0")
    assert text.count("[/b]") == text.count("[red]cecum") == 3


def test_an_unknown_space_is_an_error_that_names_those_there_are(collection: Path) -> None:
    with pytest.raises(SpaceNameError, match="one, two"):
        run(collection, "--space", "three")


@pytest.mark.parametrize(
    ("choice", "queries"),
    [(("--protocol", "hold-out", "--test-share", "0.34"), 4), (("--protocol", "k-fold", "--folds", "3"), 12)],
)
def test_splits_keep_copies_together(collection: Path, choice: tuple[str, ...], queries: int) -> None:
    written = json.loads(run(collection, "--json", "--space", "one", *choice))["spaces"][0]["queries"]
    assert written == {"all": queries, "scored": queries, "nothing_relevant": 0, "leaking": 0}


def test_queries_of_a_split_file_that_parts_copies_are_counted_as_leaking(collection: Path, tmp_path: Path) -> None:
    split = tmp_path / "split.csv"
    parts = ["test" if number < 2 else "train" for number in range(12)]
    lines = [f"{CLASSES[number % 2]}/{number}.jpg,{part}" for number, part in enumerate(parts)]
    split.write_text("file,split\n" + "\n".join(lines), encoding="utf-8")
    written = json.loads(run(collection, "--json", "--space", "one", "--split", split))
    assert written["spaces"][0]["queries"] == {"all": 2, "scored": 2, "nothing_relevant": 0, "leaking": 2}
    text = run(collection, "--space", "one", "--split", split)
    assert "2 queries can find a near duplicate of themselves" in " ".join(text.split())


def test_the_gap_to_leave_one_out_is_in_json_and_in_words(collection: Path) -> None:
    written = json.loads(run(collection, "--json", "--space", "one"))
    (one_out,) = written["leave_one_out"]
    alone = json.loads(run(collection, "--json", "--space", "one", "--protocol", "leave-one-out"))
    assert one_out["measures"]["mAP"]["macro"] == alone["spaces"][0]["measures"]["mAP"]["macro"]
    mean = f"{one_out['measures']['mAP']['macro']:.4f}"
    assert f"Leave-one-out, which lets near duplicates help, would give mAP {mean}" in " ".join(run(collection).split())
    assert "leave_one_out" not in alone
