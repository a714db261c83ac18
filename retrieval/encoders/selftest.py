"""What a freshly loaded tower must do: tell drawn pictures apart, each the same way twice, with finite unit vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import EncoderError
from retrieval.images import Picture, from_image

if TYPE_CHECKING:
    from retrieval.encoders.tower_module import Tower

_SIDE = 384
_APART = 2e-6
"""Least distance of the embeddings of two different pictures. Single precision rounds at 1e-7; untrained towers with
layer scales of 1e-5, which keep pictures closest, reach 1.7e-5, trained ones 0.1 and more."""
_STABLE = 1e-4
"""Largest distance of two embeddings of the same picture, alone and among others."""


class UnusableEmbeddingError(EncoderError):
    """An encoder gives no embedding of unit length, the same for every picture, or another one each time."""


def drawn_pictures() -> list[Picture]:
    """Three pictures that differ in colour, structure and brightness, always the same."""
    from PIL import Image, ImageDraw  # drawing takes a while to import, and only a new tower is tested

    y, x = np.mgrid[:_SIDE, :_SIDE] / _SIDE
    ramp = np.stack([220 * x, 90 + 60 * y, 40 + 150 * (1 - x) * y], -1)
    blobs = Image.new("RGB", (_SIDE, _SIDE), (40, 10, 8))
    pen, random = ImageDraw.Draw(blobs), np.random.default_rng(0)
    for centre in random.uniform(0, _SIDE, (40, 2)):
        radius = random.uniform(5, 50)
        colour = tuple(int(value) for value in random.integers((120, 30, 20), (250, 140, 110)))
        pen.ellipse((*(centre - radius), *(centre + radius)), fill=colour)
    noise = random.integers(0, 256, (_SIDE // 8, _SIDE // 8, 3)).repeat(8, 0).repeat(8, 1)
    arrays = [array.clip(0, 255).astype(np.uint8) for array in (ramp, noise)]
    return [from_image(image) for image in (blobs, *map(Image.fromarray, arrays))]


def drawn_inputs(tower: Tower) -> NDArray[np.uint8]:
    """The drawn pictures as the tower takes them: (3, h, w, 3) uint8."""
    return np.stack([tower.recipe.prepare(picture) for picture in drawn_pictures()])


def require_embeddings(tower: Tower) -> None:
    """Raise UnusableEmbeddingError unless the tower's embeddings are finite, apart and stable."""
    import torch

    spec = tower.recipe.spec
    pixels = torch.tensor(drawn_inputs(tower))
    with torch.inference_mode():
        together = tower(pixels).numpy()
        alone = tower(pixels[:1]).numpy()
    lengths = np.linalg.norm(together, axis=1)
    if not (np.abs(lengths - 1) < 1e-3).all():
        worst = lengths[np.argmax(np.nan_to_num(np.abs(lengths - 1), nan=np.inf))]
        raise UnusableEmbeddingError(
            f"{spec}: a picture's embedding has the length {worst:g} instead of 1, so its weights are "
            "damaged or of another model; fetch them again"
        )
    moved = float(np.linalg.norm(together[:1] - alone))
    if not moved < _STABLE:
        raise UnusableEmbeddingError(
            f"{spec}: the embedding of one picture changes by {moved:.2g} when others are encoded with it; "
            "such a model cannot make a space"
        )
    apart = np.linalg.norm(together[:, None] - together[None], axis=-1)[np.triu_indices(len(together), 1)]
    if not apart.min() > _APART:
        raise UnusableEmbeddingError(
            f"{spec}: different pictures get the same embedding (distance {apart.min():.2g}), so its weights are "
            "damaged, untrained or of another model"
        )
