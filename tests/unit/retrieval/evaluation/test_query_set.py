from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retrieval.evaluation.protocols import k_fold, leave_cluster_out
from retrieval.evaluation.query_set import QuerySetError, load_query_set, with_query_set
from retrieval.evaluation.run import NothingToEvaluateError

IDS, LABELS = np.array([3, 5, 8, 9]), np.array([0, 1, -1, 0])


def test_the_chosen_images_alone_query_and_what_they_are_searched_in_stays() -> None:
    every = leave_cluster_out(np.full(4, -1))

    protocol = with_query_set(every, frozenset({9, 8, 3, 77}), IDS, LABELS)

    (only,) = protocol.rounds
    assert only.queries.tolist() == [0, 3]  # image 8 has no class, and 77 is none
    assert only.gallery.tolist() == [0, 1, 2, 3]
    assert protocol.sentence.endswith("near duplicates; 2 of 3 queries, which were selected")


def test_a_fold_without_a_chosen_image_is_no_round_and_without_any_there_is_nothing_to_evaluate() -> None:
    folds = k_fold(LABELS, np.full(4, -1), folds=2)
    assert len(with_query_set(folds, frozenset({3}), IDS, LABELS).rounds) == 1
    with pytest.raises(NothingToEvaluateError, match="none of the 1 selected images"):
        with_query_set(folds, frozenset({8}), IDS, LABELS)


def written(folder: Path, text: str) -> Path:
    path = folder / "selection.csv"
    path.write_text(text)
    return path


def test_a_table_of_the_map_names_them_by_id(tmp_path: Path) -> None:
    path = written(tmp_path, "id,file,class,x JCD\n5,b.jpg,polyps,0.1\n3,a.jpg,,-1\n")
    assert load_query_set(path, IDS.tolist()) == {3, 5}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,class\na.jpg,polyps\n", "columns `id` and `file`"),
        ("", "columns `id` and `file`"),
        ("id,file\n", "names no image"),
        ("id,file\n3,a.jpg\n4,b.jpg\n", "line 3: the collection has no image '4'"),
        ("id,file\n-3,a.jpg\n", "line 2: the collection has no image '-3'"),
        (f"id,file\n{'1' * 5000},a.jpg\n", "line 2: the collection has no image"),
        ('id,file\n3,"a.jpg\n', "a quotation mark is not closed"),
    ],
)
def test_a_table_that_does_not_fit_is_told_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(QuerySetError, match=message):
        load_query_set(written(tmp_path, text), IDS.tolist())
