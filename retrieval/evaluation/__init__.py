"""Evaluation: protocols, measures of every query, means."""

from __future__ import annotations

from retrieval.evaluation.evaluate import KS, VOTE_K, NothingToEvaluateError, evaluate_space
from retrieval.evaluation.protocols import (
    PROTOCOLS,
    Protocol,
    Round,
    leave_cluster_out,
    leave_one_out,
    protocol_named,
)
from retrieval.evaluation.result import SCHEMA, Evaluation, Means, SpaceResult

__all__ = [
    "KS",
    "PROTOCOLS",
    "SCHEMA",
    "VOTE_K",
    "Evaluation",
    "Means",
    "NothingToEvaluateError",
    "Protocol",
    "Round",
    "SpaceResult",
    "evaluate_space",
    "leave_cluster_out",
    "leave_one_out",
    "protocol_named",
]
