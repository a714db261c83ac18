"""The text tower of an open_clip model is read from every layout in which its image tower is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.encoders.parsing import parse_spec
from retrieval.encoders.preprocessing import EncoderOptions
from retrieval.encoders.spec import NoTextTowerError
from retrieval.encoders.text import load_text_tower, tokens

CONFIG: dict[str, Any] = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 64, "layers": 1, "width": 64, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 16, "width": 32, "heads": 2, "layers": 1},
}


def folder_of(path: Path, state: dict[str, Any], config: dict[str, Any] = CONFIG) -> Path:
    import torch

    path.mkdir()
    (path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    torch.save(state, path / "open_clip_pytorch_model.bin")
    return path


def tower_of(place: str) -> Any:
    return load_text_tower(parse_spec(place), EncoderOptions())


@pytest.mark.parametrize("layout", ["clip", "custom", "module", "ema"])
@pytest.mark.parametrize("quick", [False, True])
def test_a_tower_is_read_from_every_layout(tmp_path: Path, layout: str, quick: bool) -> None:
    import open_clip
    import torch

    torch.manual_seed(5)
    config = CONFIG | {"quick_gelu": quick}
    model = (open_clip.CustomTextCLIP if layout == "custom" else open_clip.CLIP)(**config).eval()
    state: dict[str, Any] = dict(model.state_dict())
    if layout == "module":
        state = {"state_dict": {f"module.{name}": value for name, value in state.items()}, "epoch": 3}
    if layout == "ema":
        state = {"model": {name: torch.zeros_like(v) for name, v in state.items()}, "ema_state_dict": state}
    tower = tower_of(f"open_clip:local-dir:{folder_of(tmp_path / 'clip', state, config)}")
    given = tokens(["a polyp", "the z-line"], 16)
    with torch.inference_mode():
        expected = model.encode_text(torch.tensor(given), normalize=True).numpy()
    assert np.allclose(tower.encode(given), expected, atol=1e-6)
    assert tower.context_length == 16
    assert tower.scale == pytest.approx(1 / 0.07, rel=1e-4)


def test_a_local_file_of_a_named_architecture_has_its_text_tower(tmp_path: Path) -> None:
    import open_clip
    import torch

    (tmp_path / "worded-clip.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(tmp_path / "worded-clip.json")
    model = open_clip.CLIP(**CONFIG).eval()
    torch.save(model.state_dict(), tmp_path / "w.pt")
    tower = tower_of(f"open_clip:worded-clip/{tmp_path / 'w.pt'}")
    given = tokens(["polyp"], 16)
    with torch.inference_mode():
        assert np.allclose(tower.encode(given), model.encode_text(torch.tensor(given), normalize=True), atol=1e-6)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ({"vocab_size": 64}, "a tokenizer other than CLIP's (of 64 tokens)"),
        ({"hf_model_name": "bert-base", "hf_tokenizer_name": "bert-base"}, "a tokenizer other than CLIP's (bert-base)"),
    ],
)
def test_other_tokenizers_are_told(tmp_path: Path, text: Any, reason: str) -> None:
    folder = folder_of(tmp_path / "clip", {"logit_scale": None}, CONFIG | {"text_cfg": CONFIG["text_cfg"] | text})
    with pytest.raises(NoTextTowerError) as told:
        tower_of(f"open_clip:local-dir:{folder}")
    assert reason in str(told.value)


def test_weights_of_an_image_tower_alone_have_no_text_tower(tmp_path: Path) -> None:
    import open_clip

    visual = open_clip.CLIP(**CONFIG).visual.state_dict()
    folder = folder_of(tmp_path / "clip", {f"visual.{name}": value for name, value in visual.items()})
    with pytest.raises(NoTextTowerError, match="its weights have no text tower"):
        tower_of(f"open_clip:local-dir:{folder}")
    with pytest.raises(NoTextTowerError, match="only encoders of open_clip"):
        tower_of("timm:test_vit")


def test_a_long_text_is_cut_and_keeps_its_end_mark() -> None:
    long = tokens(["polyp " * 100], 16)
    assert long.shape == (1, 16)
    assert long[0, -1] == 49407
