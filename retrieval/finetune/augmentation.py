"""Augmented views of an encoder's input: what differs between devices and moments, and not between findings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def augmented(frame: NDArray[np.uint8], count: int, seed: int) -> NDArray[np.uint8]:
    """The frame (h, w, 3) and count - 1 views of it, (count, h, w, 3); the same seed gives the same views.

    Crops of 55 to 100 % of the area, flips, quarter turns and small rotations, light, contrast, colour, channel gains,
    blur. PyTorch's global state is left as it was.
    """
    import torch
    from torchvision.transforms import InterpolationMode, v2

    height, width = frame.shape[:2]
    views = [frame]
    if count > 1:
        bilinear = InterpolationMode.BILINEAR
        change = v2.Compose(
            [
                v2.RandomResizedCrop((height, width), scale=(0.55, 1), ratio=(0.8, 1.25), interpolation=bilinear),
                v2.RandomHorizontalFlip(),
                v2.RandomChoice([v2.RandomRotation((turn - 12, turn + 12), bilinear) for turn in (0, 90, 180, 270)]),
                v2.ColorJitter(brightness=0.25, contrast=0.25, saturation=0.25, hue=0.03),
                v2.RandomApply([v2.GaussianBlur(5, (0.3, 1.5))], 0.3),
            ]
        )
        source = torch.tensor(frame).permute(2, 0, 1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for _ in range(count - 1):
                gains = 0.9 + 0.2 * torch.rand(3, 1, 1)
                view = (change(source) * gains).clamp(0, 255).to(torch.uint8)
                views.append(view.permute(1, 2, 0).numpy())
    return np.stack(views)
