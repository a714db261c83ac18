"""An image tower in PyTorch with its recipe; converted to OpenVINO or run as it is."""

from __future__ import annotations

import torch

from retrieval.encoders.recipe import Recipe


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
        return torch.nn.functional.normalize(self.image_model(self.pixels(pictures)), dim=-1)

    def pixels(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pictures as the model takes them, (n, 3, h, w) float32, normalised."""
        return (pictures.permute(0, 3, 1, 2).float() - self.mean) / self.std
