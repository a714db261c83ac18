"""What CEDD and FCTH measure of a block of pixels: the luma of its cells, and its mean colour."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.compilation import compiled


@compiled
def block_sums(
    rgb: NDArray[np.uint8],
    top: int,
    left: int,
    height: int,
    width: int,
    whole: bool,
    lumas: NDArray[np.float64],
) -> tuple[int, int, int]:
    """Overwrite lumas, (n, n) float64, with the sum over each of n x n cells; returns the mean R, G, B of the block.

    whole: whether a pixel's luma is cut to a whole number. Pixels are added row by row: the sums of CEDD often lie on
    whole numbers, so that their rounding decides.
    """
    n = len(lumas)
    red = green = blue = 0
    for j in range(n):
        for i in range(n):
            total = 0.0
            for y in range(top + j * height // n, top + (j + 1) * height // n):
                for x in range(left + i * width // n, left + (i + 1) * width // n):
                    r, g, b = int(rgb[y, x, 0]), int(rgb[y, x, 1]), int(rgb[y, x, 2])
                    red += r
                    green += g
                    blue += b
                    luma = 0.114 * b + 0.587 * g + 0.299 * r
                    total += int(luma) if whole else luma
            lumas[j, i] = total
    pixels = height * width
    return red // pixels, green // pixels, blue // pixels
