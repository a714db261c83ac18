"""Measures of retrieval, one a file.

Those of a ranking take `Relevance`; those of classification by retrieval take votes and a confusion matrix.
"""

from __future__ import annotations

from retrieval.metrics.average_precision import average_precision, average_precision_at, map_at_r
from retrieval.metrics.confusion import (
    ClassScores,
    OverallScores,
    class_scores,
    confusion_matrix,
    overall_scores,
)
from retrieval.metrics.hit import hit_at
from retrieval.metrics.majority_vote import majority_vote, majority_vote_at
from retrieval.metrics.ndcg import ndcg_at
from retrieval.metrics.precision import precision_at
from retrieval.metrics.precision_recall import interpolated_precision
from retrieval.metrics.r_precision import r_precision
from retrieval.metrics.recall import recall_at, recall_ceiling_at
from retrieval.metrics.reciprocal_rank import reciprocal_rank
from retrieval.metrics.relevance import CutoffError, Relevance

__all__ = [
    "ClassScores",
    "CutoffError",
    "OverallScores",
    "Relevance",
    "average_precision",
    "average_precision_at",
    "class_scores",
    "confusion_matrix",
    "hit_at",
    "interpolated_precision",
    "majority_vote",
    "majority_vote_at",
    "map_at_r",
    "ndcg_at",
    "overall_scores",
    "precision_at",
    "r_precision",
    "recall_at",
    "recall_ceiling_at",
    "reciprocal_rank",
]
