"""A two-layer head trained as a classifier on directions: normalised softmax (Zhai and Wu, BMVC 2019)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.learn.whitening import Arrays, Floats

HIDDEN, DIMENSION = 512, 128
SCALE, SMOOTHING = 16.0, 0.05
EPOCHS, BATCH, RATE, DECAY = 20, 128, 1e-2, 1e-2
MOST_STEPS = 600
"""Of the optimiser: large collections need fewer epochs."""


def fit(features: Floats, labels: NDArray[np.int64], seed: int) -> dict[str, NDArray[np.float32]]:
    """Weights and biases of both layers for features (n, p); batches draw every class equally often.

    Several fits may run at once; the same seed gives the same weights on the same machine.
    """
    import torch

    threads = torch.get_num_threads()
    if threads > 1:
        torch.set_num_threads(1)  # layers this small wait longer for each other's threads than they compute
    try:
        return _fit(features, labels, seed)
    finally:
        if threads > 1:
            torch.set_num_threads(threads)


def _fit(features: Floats, labels: NDArray[np.int64], seed: int) -> dict[str, NDArray[np.float32]]:
    import torch
    from torch.nn import functional

    classes, targets = np.unique(labels, return_inverse=True)
    mean, deviation = features.mean(axis=0), float(features.std()) or 1.0
    inputs = torch.tensor((features - mean) / deviation, dtype=torch.float32)
    wanted = torch.tensor(targets)
    random = torch.Generator().manual_seed(seed)  # its own: PyTorch's global one is not for several threads

    def uniform(*shape: int, bound: float) -> torch.nn.Parameter:
        return torch.nn.Parameter(torch.empty(shape).uniform_(-bound, bound, generator=random))

    def dropped(values: torch.Tensor, share: float) -> torch.Tensor:
        kept = torch.empty_like(values).bernoulli_(1 - share, generator=random)
        return values * kept / (1 - share)

    size = inputs.shape[1]
    first, first_bias = uniform(HIDDEN, size, bound=size**-0.5), uniform(HIDDEN, bound=size**-0.5)
    second, second_bias = uniform(DIMENSION, HIDDEN, bound=HIDDEN**-0.5), uniform(DIMENSION, bound=HIDDEN**-0.5)
    norm = torch.nn.BatchNorm1d(HIDDEN)
    proxies = torch.nn.Parameter(torch.randn(len(classes), DIMENSION, generator=random))
    parameters = [first, first_bias, *norm.parameters(), second, second_bias, proxies]
    optimiser = torch.optim.AdamW(parameters, RATE, weight_decay=DECAY)
    steps = min(MOST_STEPS, EPOCHS * max(1, len(inputs) // BATCH))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    share = torch.tensor(1 / np.bincount(targets)[targets])
    for _ in range(steps):
        rows = torch.multinomial(share, min(BATCH, max(2, len(inputs))), replacement=True, generator=random)
        hidden = norm(functional.linear(dropped(inputs[rows], 0.2), first, first_bias)).relu()
        embedded = functional.normalize(functional.linear(dropped(hidden, 0.3), second, second_bias), dim=1)
        logits = SCALE * embedded @ functional.normalize(proxies, dim=1).T
        loss = functional.cross_entropy(logits, wanted[rows], label_smoothing=SMOOTHING)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    with torch.no_grad():  # batch normalisation becomes part of the first layer
        assert norm.running_var is not None
        assert norm.running_mean is not None
        gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        weights = (first * gain[:, None]).T.numpy() / deviation
        bias = (norm.bias + gain * (first_bias - norm.running_mean)).numpy() - mean @ weights
        return {
            "first": weights.astype(np.float32),
            "first_bias": bias.astype(np.float32),
            "second": second.T.numpy().copy(),
            "second_bias": second_bias.numpy().copy(),
        }


def apply(arrays: Arrays, features: Floats) -> Floats:
    """Features (n, p) -> (n, DIMENSION)."""
    hidden = np.maximum(features @ arrays["first"].astype(np.float64) + arrays["first_bias"], 0)
    embedded: Floats = hidden @ arrays["second"].astype(np.float64) + arrays["second_bias"]
    return embedded
