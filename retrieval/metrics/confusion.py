"""Classification by retrieval: the confusion matrix, and what follows from it for each class and over all.

The measures are those that the authors of Kvasir suggest (Pogorelov et al., KVASIR: A Multi-Class Image Dataset for
Computer Aided Gastrointestinal Disease Detection, MMSys 2017, section 5). A ratio without cases is 0, as in
scikit-learn, except for a class without queries: it is NaN and is left out of the macro means.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Each class against the rest; every field (C,). The counts are whole numbers."""

    TP: Floats
    TN: Floats
    FP: Floats
    FN: Floats
    recall: Floats
    precision: Floats
    specificity: Floats
    accuracy: Floats
    MCC: Floats
    F1: Floats


@dataclass(frozen=True, eq=False)
class OverallScores:
    """All classes together: accuracy, macro means over the classes that have queries, and the multi-class MCC.

    Every field is () for one confusion matrix, (b,) for b of them.
    """

    accuracy: Floats
    macro_precision: Floats
    macro_recall: Floats
    macro_specificity: Floats
    macro_F1: Floats  # noqa: N815 -- the field's name
    MCC: Floats


def confusion_matrix(truth: NDArray[np.integer], predicted: NDArray[np.integer], class_count: int) -> NDArray[np.int64]:
    """Queries by true class (row) and voted class (column), (C, C + 1); the last column is "no class voted" (-1)."""
    columns = class_count + 1
    cells = truth.astype(np.int64) * columns + np.where(predicted < 0, class_count, predicted)
    return np.bincount(cells, minlength=class_count * columns).reshape(class_count, columns)


def class_scores(counts: NDArray[np.generic]) -> ClassScores:
    """Every class of a confusion matrix (..., C, C + 1) against the rest, fields (..., C).

    recall = TP / (TP + FN), precision = TP / (TP + FP), specificity = TN / (TN + FP), accuracy = (TP + TN) / all,
    F1 = 2 TP / (2 TP + FP + FN), MCC = (TP TN - FP FN) / sqrt((TP + FP)(TP + FN)(TN + FP)(TN + FN))
    (Matthews 1975; 0 where the root is 0, Chicco and Jurman 2020).
    """
    table = np.asarray(counts, np.float64)
    total = table.sum(axis=(-2, -1))[..., None]
    of_class = table.sum(axis=-1)
    voted = table[..., :-1].sum(axis=-2)
    tp = np.diagonal(table, axis1=-2, axis2=-1).copy()
    fn, fp = of_class - tp, voted - tp
    tn = total - tp - fn - fp
    root = np.sqrt(voted * of_class * (tn + fp) * (tn + fn))
    scores = ClassScores(
        TP=tp,
        TN=tn,
        FP=fp,
        FN=fn,
        recall=_ratio(tp, of_class),
        precision=_ratio(tp, voted),
        specificity=_ratio(tn, tn + fp),
        accuracy=_ratio(tp + tn, np.broadcast_to(total, tp.shape)),
        MCC=_ratio(tp * tn - fp * fn, root),
        F1=_ratio(2 * tp, 2 * tp + fp + fn),
    )
    for field in fields(ClassScores)[4:]:
        getattr(scores, field.name)[of_class == 0] = np.nan
    return scores


def overall_scores(counts: NDArray[np.generic]) -> OverallScores:
    """Confusion matrices (..., C, C + 1) in six numbers each, (...); NaN where there are no queries.

    MCC is R_K = (c s - sum p_k t_k) / sqrt((s² - sum p_k²)(s² - sum t_k²)) with c right ones of s, p_k voted for and
    t_k truly of class k (Gorodkin, Comparing two K-category assignments by a K-category correlation coefficient, 2004).
    """
    table = np.asarray(counts, np.float64)
    each = class_scores(table)
    of_class, voted = table.sum(axis=-1), table.sum(axis=-2)
    total, right = of_class.sum(axis=-1), each.TP.sum(axis=-1)
    present = (of_class > 0).sum(axis=-1)
    root = np.sqrt((total**2 - (voted**2).sum(axis=-1)) * (total**2 - (of_class**2).sum(axis=-1)))
    scores = OverallScores(
        accuracy=_ratio(right, total),
        macro_precision=_ratio(np.nansum(each.precision, axis=-1), present),
        macro_recall=_ratio(np.nansum(each.recall, axis=-1), present),
        macro_specificity=_ratio(np.nansum(each.specificity, axis=-1), present),
        macro_F1=_ratio(np.nansum(each.F1, axis=-1), present),
        MCC=_ratio(right * total - (voted[..., :-1] * of_class).sum(axis=-1), root),
    )
    for field in fields(OverallScores):
        getattr(scores, field.name)[total == 0] = np.nan
    return scores


def _ratio(above: Floats, below: NDArray[np.generic]) -> Floats:
    above = np.asarray(above)
    out: Floats = np.divide(above, below, out=np.zeros(above.shape), where=below != 0)
    return out
