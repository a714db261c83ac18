from __future__ import annotations

import numpy as np
import pytest

from retrieval.feedback.rocchio import IRRELEVANT, RELEVANT, rocchio_weights


def test_the_query_and_the_means_of_the_marked_are_weighed() -> None:
    weights = rocchio_weights(np.array([0.75, 0.25]), 2, 3)
    assert weights == pytest.approx([0.75, 0.25, *[RELEVANT / 2] * 2, *[-IRRELEVANT / 3] * 3])


def test_marks_of_one_kind_alone_are_enough() -> None:
    assert rocchio_weights(np.ones(1), 1, 0).tolist() == [1, RELEVANT]
    assert rocchio_weights(np.ones(1), 0, 1).tolist() == [1, -IRRELEVANT]
    assert rocchio_weights(np.ones(1), 0, 0).tolist() == [1]
