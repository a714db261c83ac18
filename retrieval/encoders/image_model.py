"""What a family's module gives: an image model with its weights, and how they came to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from retrieval.encoders.fitting import Fitted
from retrieval.encoders.preprocessing import Preprocessing


@dataclass(frozen=True)
class ImageModel:
    """Pixels (n, 3, h, w) float32, normalised -> embeddings (n, d).

    library: name and version. fitted: how the weights were read; None where they need no reading. activation: of an
    open_clip tower, `gelu` or `quick_gelu`. notes: what a person should know. card: see `Checkpoint`.
    """

    model: torch.nn.Module
    preprocessing: Preprocessing
    library: str
    fitted: Fitted | None = None
    activation: str = ""
    notes: tuple[str, ...] = field(default=())
    card: Mapping[str, Any] = field(default_factory=dict)
