"""A layout that keeps neighbours together: UMAP on a neighbour graph, from landmark scaling.

McInnes, Healy and Melville, UMAP: Uniform Manifold Approximation and Projection (2018), sections 3 and 4, without
their packages: the graph comes from the space's own distance, and the seeded optimisation is one kernel.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from retrieval.compilation import compiled
from retrieval.index.protocol import Metric
from retrieval.space_map.landmarks import map_of
from retrieval.space_map.neighbours import nearest_images

NEIGHBOURS = 15
EPOCHS = 300
_ROUNDS = 15
"""Parts that the optimisation is run in, to tell its progress."""
_REPELLED = 5
"""Images that each step of attraction pushes away."""
_A, _B = 0.5, 0.9
"""Of the curve 1 / (1 + a d^(2b)): flatter near 0 than umap-learn's, so that neighbours do not lie on each other."""
_GRAVITY = 0.02
"""Share by which each epoch draws all to the middle, so that groups without ties do not drift apart. On the subset this
curve and gravity fill 0.36 of a grid of 20 x 20 instead of 0.08, at the same trustworthiness."""
_EXTENT = 10.0
_FEW = 5


def layout_of(
    vectors: NDArray[np.generic], metric: Metric, seed: int = 0, on_progress: Callable[[int, int], None] | None = None
) -> NDArray[np.float32]:
    """A place (n, 2) float32 for each vector (n, d); the same for the same seed.

    Fewer than five images are placed by landmark scaling alone. on_progress(done, all) is called on the way.
    """
    n = len(vectors)
    places = np.zeros((n, 2)) if n < 2 else map_of(vectors, metric, seed)
    if n < _FEW:
        return places.astype(np.float32)
    nearest, apart = nearest_images(vectors, metric, min(NEIGHBOURS, n - 1))
    tell = on_progress or (lambda done, total: None)
    tell(1, _ROUNDS + 1)
    heads, tails, weights = neighbour_graph(nearest, apart)
    noise = np.random.default_rng(seed).normal(0, 1e-3, places.shape)
    start = _EXTENT * (places - places.mean(axis=0)) / max(float(np.abs(places).max()), 1e-12) + noise
    state = np.array([seed + 1], np.uint64)
    due = (weights.max() / weights).astype(np.float64)
    every = due.copy()
    for part in range(_ROUNDS):
        first, last = (EPOCHS * at // _ROUNDS for at in (part, part + 1))
        _optimise(start, heads, tails, every, due, first, last, EPOCHS, _REPELLED, _A, _B, _GRAVITY, state)
        tell(part + 2, _ROUNDS + 1)
    return np.asarray(start - start.mean(axis=0), np.float32)


def neighbour_graph(
    nearest: NDArray[np.int64], apart: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Edges of the fuzzy graph of neighbours (n, k) and distances (n, k): heads, tails and weights (e,), 0 to 1.

    An image is tied to its nearest by 1 and to the others by less, so that the sum is log2(k); the ties of both
    directions are united as probabilities. Each edge is listed in both directions.
    """
    n, k = nearest.shape
    shift = apart[:, :1]
    width = _widths(apart - shift, np.log2(k) if k > 1 else 1.0)
    strength = np.exp(-(apart - shift) / width[:, None])
    heads, tails = np.repeat(np.arange(n), k), nearest.ravel()
    keys = np.concatenate([heads * n + tails, tails * n + heads])
    order, at = np.unique(keys, return_inverse=True)
    there, back = (
        np.bincount(at, np.concatenate([own, other]), len(order))
        for own, other in (
            (strength.ravel(), np.zeros(n * k)),
            (np.zeros(n * k), strength.ravel()),
        )
    )
    united = there + back - there * back
    strong = united >= united.max() / EPOCHS  # a weaker one would never be pulled
    return order[strong] // n, order[strong] % n, united[strong]


def _widths(beyond: NDArray[np.float64], target: float) -> NDArray[np.float64]:
    """The width (n,) at which the sum over a row of exp(-beyond / width) is `target`, by bisection."""
    low, high = np.zeros(len(beyond)), np.full(len(beyond), np.inf)
    width = np.ones(len(beyond))
    for _ in range(64):
        too_much = np.exp(-beyond / width[:, None]).sum(axis=1) > target
        high = np.where(too_much, width, high)
        low = np.where(too_much, low, width)
        width = np.where(np.isinf(high), width * 2, (low + high) / 2)
    # Where nearly all are equally far, no width fits; the mean distance bounds it as in umap-learn.
    return np.clip(width, 1e-3 * np.maximum(beyond.mean(axis=1), 1e-12), 1e12)


@compiled
def _optimise(
    places: NDArray[np.float64],
    heads: NDArray[np.int64],
    tails: NDArray[np.int64],
    every: NDArray[np.float64],
    due: NDArray[np.float64],
    first: int,
    last: int,
    epochs: int,
    repelled: int,
    a: float,
    b: float,
    gravity: float,
    state: NDArray[np.uint64],
) -> None:
    """Stochastic gradient descent, in place: an edge attracts each `every` epochs, and random images repel."""
    n = len(places)
    seed = state[0]
    for epoch in range(first, last):
        rate = 1.0 - epoch / epochs
        for i in range(n):
            places[i, 0] *= 1.0 - gravity * rate
            places[i, 1] *= 1.0 - gravity * rate
        for edge in range(len(heads)):
            if due[edge] > epoch + 1:
                continue
            due[edge] += every[edge]
            i, j = heads[edge], tails[edge]
            dx, dy = places[i, 0] - places[j, 0], places[i, 1] - places[j, 1]
            square = dx * dx + dy * dy
            if square > 0.0:
                power = square**b
                pull = -2.0 * a * b * power / square / (a * power + 1.0)
                gx, gy = min(max(pull * dx, -4.0), 4.0) * rate, min(max(pull * dy, -4.0), 4.0) * rate
                places[i, 0] += gx
                places[i, 1] += gy
                places[j, 0] -= gx
                places[j, 1] -= gy
            for _ in range(repelled):
                seed = seed * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)  # Knuth's LCG
                other = np.int64((seed >> np.uint64(33)) % np.uint64(n))
                dx, dy = places[i, 0] - places[other, 0], places[i, 1] - places[other, 1]
                square = dx * dx + dy * dy
                if square > 0.0:
                    push = 2.0 * b / (0.001 + square) / (a * square**b + 1.0)
                    places[i, 0] += min(max(push * dx, -4.0), 4.0) * rate
                    places[i, 1] += min(max(push * dy, -4.0), 4.0) * rate
    state[0] = seed
