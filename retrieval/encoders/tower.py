"""An image tower as PyTorch has it, with its preparation written down: what both ways of running it start from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
from PIL import Image

from retrieval.encoders.recipe import INTERPOLATIONS, Fit, Recipe
from retrieval.encoders.spec import EncoderSpec, EncoderSpecError
from retrieval.errors import EncoderError
from retrieval.images import from_image


class UnusableEmbeddingError(EncoderError):
    """An encoder gives no embedding of unit length, so nothing could be compared with it."""


class Tower(torch.nn.Module):
    """Pictures (n, h, w, 3) uint8 -> embeddings (n, d) float32 of unit length.

    Normalisation is the first layer, so that pixels travel as bytes and no caller can forget it.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, image_model: torch.nn.Module, recipe: Recipe) -> None:
        super().__init__()
        self.image_model = image_model
        self.recipe = recipe
        self.register_buffer("mean", 255 * torch.tensor(recipe.mean).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(recipe.std).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Embed a batch."""
        pixels = (pictures.permute(0, 3, 1, 2).float() - self.mean) / self.std
        return torch.nn.functional.normalize(self.image_model(pixels), dim=-1)


def load_tower(spec: EncoderSpec, fit: Fit, full_size: bool = False) -> Tower:
    """Build a tower with its weights; the family's module knows how.

    Raises WeightsNotFoundError, WeightsMismatchError, EncoderSpecError, UnusableEmbeddingError.
    """
    if spec.family == "timm":
        from retrieval.encoders.timm import load_image_model
    else:
        from retrieval.encoders.open_clip import load_image_model
    image_model, preprocessing, library = load_image_model(spec)
    image_model.eval()
    width, height = preprocessing["size"]
    if preprocessing["interpolation"] not in INTERPOLATIONS:
        raise EncoderSpecError(
            f"{spec.text}: its configuration names the interpolation '{preprocessing['interpolation']}'; "
            f"only {', '.join(INTERPOLATIONS)} are known"
        )
    with torch.inference_mode():
        dimension = image_model(torch.zeros(1, 3, height, width)).shape[-1]
    recipe = Recipe(
        spec=spec.text,
        weights=weights_digest(image_model.state_dict().items()),
        dimension=int(dimension),
        size=(width, height),
        mean=tuple(preprocessing["mean"]),
        std=tuple(preprocessing["std"]),
        interpolation=preprocessing["interpolation"],
        fit=fit,
        library=library,
        full_size=full_size,
    )
    tower = Tower(image_model, recipe)
    _require_embedding(tower)
    return tower


def _require_embedding(tower: Tower) -> None:
    """Raise UnusableEmbeddingError unless a picture gets a finite embedding of unit length."""
    picture = from_image(Image.radial_gradient("L").convert("RGB"))
    with torch.inference_mode():
        length = float(tower(torch.tensor(tower.recipe.prepare(picture))[None]).norm())
    if not abs(length - 1) < 1e-3:
        raise UnusableEmbeddingError(
            f"{tower.recipe.spec}: a picture's embedding has the length {length:g} instead of 1, so its weights are "
            "damaged or of another model; fetch them again"
        )


def weights_digest(state: Iterable[tuple[str, torch.Tensor]]) -> str:
    """SHA-256 of named tensors, the same for one set of weights whatever file it came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
