"""Evaluation: protocols, measures of every query, means with confidence intervals, comparisons of spaces.

`evaluate_collection` evaluates a collection as `EvaluationOptions` say; `evaluate_retriever` evaluates vectors.
"""

from __future__ import annotations

from retrieval.evaluation.collection import evaluate_collection
from retrieval.evaluation.comparison import Comparison, Contender, NotSameQueriesError, compare
from retrieval.evaluation.options import EvaluationOptions, Fusion, FusionTextError, MeasureOptions
from retrieval.evaluation.protocols import (
    PROTOCOLS,
    Protocol,
    Round,
    hold_out,
    k_fold,
    leave_cluster_out,
    leave_one_out,
    leave_scene_out,
    protocol_named,
)
from retrieval.evaluation.query_set import QuerySetError, load_query_set
from retrieval.evaluation.result import SCHEMA, Evaluation
from retrieval.evaluation.retrievers import FusedRetriever, Member, Retriever, SpaceRetriever
from retrieval.evaluation.run import NothingToEvaluateError, evaluate_retriever
from retrieval.evaluation.space_result import Means, SpaceResult
from retrieval.evaluation.split_file import SplitFileError, split_from_file
from retrieval.evaluation.store import StoredEvaluationError, load_contenders

__all__ = [
    "PROTOCOLS",
    "SCHEMA",
    "Comparison",
    "Contender",
    "Evaluation",
    "EvaluationOptions",
    "FusedRetriever",
    "Fusion",
    "FusionTextError",
    "Means",
    "MeasureOptions",
    "Member",
    "NotSameQueriesError",
    "NothingToEvaluateError",
    "Protocol",
    "QuerySetError",
    "Retriever",
    "Round",
    "SpaceResult",
    "SpaceRetriever",
    "SplitFileError",
    "StoredEvaluationError",
    "compare",
    "evaluate_collection",
    "evaluate_retriever",
    "hold_out",
    "k_fold",
    "leave_cluster_out",
    "leave_one_out",
    "leave_scene_out",
    "load_contenders",
    "load_query_set",
    "protocol_named",
    "split_from_file",
]
