"""JCD, the joint composite descriptor: CEDD and FCTH in one.

K. Zagoris, S. A. Chatzichristofis, N. Papamarkos and Y. S. Boutalis, "Automatic image annotation and
retrieval using the joint composite descriptor", PCI 2010.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.compilation import compiled
from retrieval.descriptors.cedd import cedd
from retrieval.descriptors.fcth import fcth
from retrieval.descriptors.native_distance import BLOCK, NativeDistance


def extract(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """168 values 0..14 in steps of 0.5: (h, w, 3) uint8 -> (168,) float32, seven rows of 24 colours."""
    edge = cedd(rgb)
    texture = fcth(rgb)
    t = texture[:4] + texture[4:]
    rows = [(t[0] + edge[0]) / 2, (t[1] + edge[2]) / 2, edge[4], (t[2] + edge[3]) / 2, edge[5], t[3], edge[1]]
    return np.concatenate(rows).astype(np.float32)


def _shares(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vectors divided by their sums, and behind each the sum of its squares: (n, 168) -> (n, 169)."""
    shares = np.zeros((len(vectors), vectors.shape[1] + 1))
    _share_out(vectors, shares)
    return shares


@compiled
def _share_out(vectors: NDArray[np.float64], shares: NDArray[np.float64]) -> None:
    length = vectors.shape[1]
    for i in range(len(vectors)):
        total = 0.0
        for c in range(length):
            total += vectors[i, c]
        if total > 0.0:
            squares = 0.0
            for c in range(length):
                share = vectors[i, c] / total
                shares[i, c] = share
                squares += share * share
            shares[i, length] = squares


@compiled
def _tanimoto(queries: NDArray[np.float64], gallery: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """100 - 100 * pq / (pp + qq - pq)."""
    length = gallery.shape[1] - 1
    lanes = np.empty((length, BLOCK))
    products = np.empty(BLOCK)
    used = (queries > 0.0).sum(axis=0) > 0
    for start in range(0, len(gallery), BLOCK):
        count = min(BLOCK, len(gallery) - start)
        for c in range(length):
            if used[c]:
                for j in range(count):
                    lanes[c, j] = gallery[start + j, c]
        for i in range(len(queries)):
            products[:] = 0.0
            for c in range(length):
                share, row = queries[i, c], lanes[c]
                if share > 0.0:  # adding nothing rounds nothing
                    for j in range(count):
                        products[j] += share * row[j]
            for j in range(count):
                one, other = queries[i, length], gallery[start + j, length]
                if one == 0.0 or other == 0.0:  # a vector without values
                    out[i, start + j] = 0.0 if one == other else 100.0
                else:
                    out[i, start + j] = 100.0 - 100.0 * (products[j] / (one + other - products[j]))


def _unit_length(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """On the unit sphere the angle orders nearly as Tanimoto does, which only adds the ratio of lengths."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


DISTANCE = NativeDistance(
    name="lire-jcd",
    length=168,
    levels=None,
    typical=36.0,
    kernel=_tanimoto,
    coordinates=_unit_length,
    proposes_by="L2",
    arrange=_shares,
)
