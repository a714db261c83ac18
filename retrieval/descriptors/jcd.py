"""JCD, the joint composite descriptor: CEDD and FCTH in one.

K. Zagoris, S. A. Chatzichristofis, N. Papamarkos and Y. S. Boutalis, "Automatic image annotation and
retrieval using the joint composite descriptor", PCI 2010.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.descriptors.cedd import cedd
from retrieval.descriptors.fcth import fcth


def extract(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """168 values 0..14 in steps of 0.5: (h, w, 3) uint8 -> (168,) float32, seven rows of 24 colours."""
    edge = cedd(rgb)
    texture = fcth(rgb)
    t = texture[:4] + texture[4:]
    rows = [(t[0] + edge[0]) / 2, (t[1] + edge[2]) / 2, edge[4], (t[2] + edge[3]) / 2, edge[5], t[3], edge[1]]
    return np.concatenate(rows).astype(np.float32)
