"""Which precision of an encoder is taken."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from retrieval.encoders.precision import Trial, chosen, mean_average_precision
from retrieval.encoders.runtime import logging_unchanged


def test_the_fastest_that_keeps_the_quality_is_taken() -> None:
    plain = Trial("f32", 100, 0.700)
    assert chosen([plain, Trial("bf16", 200, 0.6975), Trial("int8", 250, 0.696)]).precision == "bf16"
    assert chosen([plain, Trial("bf16", 200, 0.6975), Trial("int8", 250, 0.698)]).precision == "int8"
    assert chosen([plain, Trial("bf16", 104, 0.700)]).precision == "f32"  # no faster but for noise
    assert chosen([plain, Trial("bf16", 200, 0.6)]).precision == "f32"


def test_quality_is_the_mean_average_precision_among_the_sample() -> None:
    angles = np.array([0.0, 0.1, 0.2, 0.9])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    # 0: 1 (other), 2 (own) -> 1/2; 2: 1, 0 -> 1/2; 1 and 3 share their class: 1: 0, 2, 3 -> 1/3; 3: 2, 1 -> 1/2
    assert mean_average_precision(vectors, np.array([0, 1, 0, 1])) == pytest.approx((1 / 2 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert mean_average_precision(vectors, np.array([0, 1, -1, 2])) == 1.0  # nothing to compare


def test_what_the_tools_change_of_logging_is_put_back() -> None:
    root, handler = logging.getLogger(), logging.NullHandler(logging.INFO)
    root.addHandler(handler)
    before = root.level, list(root.handlers)
    try:
        with logging_unchanged():
            root.setLevel(logging.CRITICAL)
            handler.setLevel(logging.CRITICAL)
            root.handlers[:] = []
        assert (root.level, root.handlers) == before
        assert handler.level == logging.INFO
    finally:
        root.removeHandler(handler)
