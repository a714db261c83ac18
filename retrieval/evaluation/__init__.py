"""Evaluation: protocols, every query's measures, means with intervals, comparisons."""

from __future__ import annotations

from retrieval.evaluation.choices import Choices, Measuring
from retrieval.evaluation.comparison import Comparison, Contender, NotSameQueriesError, compare, contender
from retrieval.evaluation.evaluate import NothingToEvaluateError, evaluate_ranker
from retrieval.evaluation.fusions import Fusion, FusionTextError
from retrieval.evaluation.protocols import (
    PROTOCOLS,
    Protocol,
    Round,
    hold_out,
    k_fold,
    leave_cluster_out,
    leave_one_out,
    protocol_named,
)
from retrieval.evaluation.rankers import FusedRanker, Member, Ranker, SpaceRanker
from retrieval.evaluation.result import SCHEMA, Evaluation, Means, SpaceResult
from retrieval.evaluation.splits import SplitFileError, split_from_file

__all__ = [
    "PROTOCOLS",
    "SCHEMA",
    "Choices",
    "Comparison",
    "Contender",
    "Evaluation",
    "FusedRanker",
    "Fusion",
    "FusionTextError",
    "Means",
    "Measuring",
    "Member",
    "NotSameQueriesError",
    "NothingToEvaluateError",
    "Protocol",
    "Ranker",
    "Round",
    "SpaceRanker",
    "SpaceResult",
    "SplitFileError",
    "compare",
    "contender",
    "evaluate_ranker",
    "hold_out",
    "k_fold",
    "leave_cluster_out",
    "leave_one_out",
    "protocol_named",
    "split_from_file",
]
