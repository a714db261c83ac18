"""What each measure of a report is, in one line each; the docstrings of `retrieval.metrics` have the sources."""

from __future__ import annotations

import re

NOTATION = (
    "For one query: rel(i) is 1 where hit i has the query's class, what the protocol leaves out being no hit; "
    "h(k) = rel(1) + ... + rel(k); R is the number of relevant images in what was searched. A query with R = 0 is in "
    "no figure. Means are over queries (micro) and over the means of the classes (macro)."
)

DEFINITIONS = (
    ("mAP", "mean of AP = sum of precision@i · rel(i) over the whole list, / R"),
    ("MAP@R", "the same sum up to R, / R"),
    ("R-precision", "h(R) / R"),
    ("MRR", "mean of 1 / rank of the first relevant hit, over the whole list"),
    ("precision@k", "h(k) / k, also where fewer than k hits exist"),
    ("recall@k", "h(k) / R"),
    ("recall ceiling@k", "min(k, R) / R, what a perfect ranking reaches"),
    ("hit@k", "1 if h(k) > 0; papers on metric learning print it as “Recall@k”"),
    ("AP@k", "the sum of AP up to k, / min(R, k); ranx and trec_eval divide by R"),
    ("nDCG@k", "binary gain, discount log2(i + 1), over that of a list with min(R, k) relevant first"),
    ("mMV@k", "1 if the majority class of the first k is the query's; ties by summed similarity, a negative one as 0"),
    (
        "TP, TN, FP, FN",
        "each class against the rest, a query's class being elected by its first k, each with its similarity, "
        "or with 0 where that is negative",
    ),
    ("recall, precision, specificity", "TP / (TP + FN), TP / (TP + FP), TN / (TN + FP)"),
    ("accuracy, F1", "(TP + TN) / all, 2 TP / (2 TP + FP + FN); over all classes: right ones / all, mean of the F1"),
    ("MCC", "Matthews' correlation coefficient; over all classes Gorodkin's R_K"),
)
"""Name and definition, in the order of the tables."""

_BY_NAME = {name: definition for names, definition in DEFINITIONS for name in names.split(", ")}


def definition_of(heading: str) -> str | None:
    """The definition of the measure in a table's heading, such as `precision@10`; None where it is no measure."""
    return _BY_NAME.get(re.sub(r"@\d+$", "@k", heading))
