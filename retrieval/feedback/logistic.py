"""Logistic regression on the marks, in its dual form: the weights of the marked images are what is learned.

The score of an image x is f(x) = b - s (sum of w_j d(x, x_j)) over the parts and marked images x_j, with s such that
the kernel has a mean of 1 on its diagonal. In a space of unit vectors this is a linear classifier on them; in any other
the distance takes the place of the inner product. The weights are drawn to those of Rocchio's rule instead of to 0 (a
Gaussian prior around them), since a dozen marks alone say less than the query does. Marks are wrong at times, so the
targets stop short of 0 and 1 (J. Platt, "Probabilistic outputs for support vector machines", 1999, section 2.2).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STRENGTH = 1.0
"""How much each mark counts against the prior (C of other libraries)."""
PRIOR = 0.5
"""How far along Rocchio's weights the prior lies."""
ERROR = 0.1
"""Share of marks that are taken to be wrong."""
_STEPS = 50
_ENOUGH = 1e-9


def logistic_weights(
    distances: Floats, wanted: NDArray[np.bool_], rocchio: Floats, strength: float = STRENGTH, prior: float = PRIOR
) -> Floats:
    """Signed weights (m,) of the parts and marked images of a query.

    distances: (m, m) between them. wanted: (m,) whether each is an example of what is searched for. rocchio: (m,)
    weights by Rocchio's rule. strength and prior: see STRENGTH and PRIOR. Minimises the negative log-likelihood, and
    half the squared norm of what is added to the prior.
    """
    kernel = _centred(-distances)
    size = float(np.trace(kernel)) / len(kernel)
    if size <= 0:  # all examples are alike
        return rocchio
    kernel /= size
    start = prior * rocchio
    offset = kernel @ start
    added = _fitted(kernel, np.where(wanted, 1 - ERROR, ERROR), offset - offset.mean(), strength)
    return start + added


def _centred(kernel: Floats) -> Floats:
    """The kernel (m, m) about the mean of the examples; weights that sum up to 0 see no difference."""
    means = kernel.mean(axis=0)
    return np.asarray(kernel - means - means[:, None] + kernel.mean(), np.float64)


def _fitted(kernel: Floats, targets: Floats, offset: Floats, strength: float) -> Floats:
    """Dual weights (m,), which sum up to 0, of the fit of sigmoid(kernel @ weights + b + offset) to targets (m,).

    Newton's method on weights = strength (targets - sigmoid), with the free b as the last unknown.
    """
    count = len(targets)
    weights, b = np.zeros(count), 0.0
    for _ in range(_STEPS):
        shares = 1 / (1 + np.exp(-np.clip(kernel @ weights + b + offset, -500, 500)))
        slopes = strength * np.maximum(shares * (1 - shares), 1e-12)
        system = np.zeros((count + 1, count + 1))
        system[:count, :count] = np.eye(count) + slopes[:, None] * kernel
        system[:count, count] = slopes
        system[count, :count] = 1
        missing = np.append(strength * (targets - shares) - weights, -weights.sum())
        step = np.linalg.lstsq(system, missing, rcond=None)[0]
        weights += step[:count]
        b += float(step[count])
        if np.abs(step).max() < _ENOUGH:
            break
    return weights
