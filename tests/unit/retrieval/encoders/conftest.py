from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from retrieval.encoders import EncoderOptions, build_tower, known_checkpoint
from retrieval.encoders.fitting import fit, target_of
from retrieval.encoders.timm import filters_of
from retrieval.encoders.tower_module import Tower
from retrieval.images import Picture, from_image

State = dict[str, torch.Tensor]


@pytest.fixture(scope="session")
def rings() -> Picture:
    y, x = np.mgrid[0:240, 0:320]
    waves = [127 + 120 * np.sin(np.hypot(x - 90, y - 80) / size) for size in (5, 11, 23)]
    return from_image(Image.fromarray(np.stack(waves, 2).astype(np.uint8)))


@pytest.fixture(scope="session")
def embed(rings: Picture) -> Callable[[Tower], np.ndarray]:
    """The embedding of one picture by a tower."""
    return lambda tower: tower(torch.tensor(tower.recipe.prepare(rings))[None])[0].numpy()


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Tower]:
    """(family and architecture, what a file holds, options) -> the tower, from a checkpoint of that content."""

    def from_content(encoder: str, content: Any, name: str = "weights.pt", **options: Any) -> Tower:
        path = tmp_path / name
        if isinstance(content, torch.jit.ScriptModule):
            torch.jit.save(content, path)
        else:
            torch.save(content, path)
        return build_tower(f"{encoder}/{path}", options=EncoderOptions(**options))

    return from_content


def timm_state(architecture: str, seed: int = 0, **arguments: Any) -> State:
    import timm

    torch.manual_seed(seed)
    state: State = timm.create_model(architecture, **arguments).state_dict()
    return state


@pytest.fixture(scope="session")
def resnet_state() -> State:
    return timm_state("test_resnet")


@pytest.fixture(scope="session")
def vit_state() -> State:
    return timm_state("test_vit", num_classes=0)


@pytest.fixture(scope="session")
def untrained() -> Callable[..., State]:
    """(timm architecture, seed, arguments) -> the tensors of an untrained model."""
    return timm_state


@pytest.fixture
def fit_shapes() -> Callable[[str, Callable[[State], State]], None]:
    """(known checkpoint, timm's tensors -> those of the release): the release fills the architecture exactly.

    Names and shapes alone (PyTorch's `meta`), for checkpoints that are too large to be made.
    """

    def check(name: str, release: Callable[[State], State]) -> None:
        import timm

        known = known_checkpoint(name)
        architecture = known.encoder.removeprefix("timm:").partition(".")[0]
        overlay = {} if known.size is None else {"input_size": (3, known.size[1], known.size[0])}
        with torch.device("meta"):
            model = timm.create_model(architecture, num_classes=0, pretrained_cfg_overlay=overlay)
            target = target_of(model, filters=filters_of(model), heads=known.left_out)
            states = {known.weights_key: release(model.state_dict())}
            fitted = fit(states, target, f"known:{name}", architecture)
        assert {key: value.shape for key, value in fitted.state.items()} == target.shapes

    return check
