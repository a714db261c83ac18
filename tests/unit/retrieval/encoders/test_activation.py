"""open_clip towers run the activation that their weights were trained with, or say which they run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from retrieval.encoders import EncoderMismatchError, EncoderSpec, build_tower, rebuild_tower
from retrieval.encoders.recipe import Recipe
from retrieval.encoders.tower import load_tower
from retrieval.encoders.tower_module import Tower

CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "layers": 12, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pair of architectures with one tag each, `trained`, whose published configuration has QuickGELU."""
    import open_clip

    configs = tmp_path / "configs"
    configs.mkdir()
    (configs / "small-clip.json").write_text(json.dumps(CONFIG))
    (configs / "small-clip-quickgelu.json").write_text(json.dumps(CONFIG | {"quick_gelu": True}))
    open_clip.add_model_config(configs)
    torch.manual_seed(0)
    file = tmp_path / "w.pt"
    torch.save(open_clip.create_model("small-clip-quickgelu").state_dict(), file)
    tag = {"file": str(file), "quick_gelu": True, "mean": (0.5,) * 3, "std": (0.5,) * 3}
    for name in ("small-clip", "small-clip-quickgelu"):
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, name, {"trained": tag})
    return file


def activations(tower: Tower) -> set[str]:
    return {type(module).__name__ for module in tower.modules() if "GELU" in type(module).__name__}


def test_a_tag_runs_the_activation_of_its_configuration(published: Path, embed: Callable[[Tower], np.ndarray]) -> None:
    vectors = []
    for name in ("small-clip", "small-clip-quickgelu"):
        tower = load_tower(EncoderSpec(f"open_clip:{name}/trained", "open_clip", name, "tag", "trained"), "squash")
        assert activations(tower) == {"QuickGELU"}
        assert tower.recipe.activation == "quick_gelu"
        vectors.append(embed(tower))
    assert np.array_equal(*vectors)


@pytest.mark.parametrize(("name", "activation"), [("small-clip", "gelu"), ("small-clip-quickgelu", "quick_gelu")])
def test_a_file_runs_the_activation_of_its_architecture_and_says_so(
    published: Path, name: str, activation: str, caplog: pytest.LogCaptureFixture
) -> None:
    tower = build_tower(f"open_clip:{name}/{published}")
    assert tower.recipe.activation == activation
    told = [note for note in tower.recipe.notes if "QuickGELU" in note]
    if activation == "gelu":
        assert "weights that come from trained need QuickGELU" in told[0]
        assert f"open_clip:small-clip-quickgelu/{published}" in told[0]
        assert "QuickGELU" in caplog.text
    else:
        assert told == []


def test_an_architecture_of_one_activation_says_nothing(tiny_clip: Any) -> None:
    recipe = build_tower(f"open_clip:tiny-clip/{tiny_clip.pt}").recipe
    assert recipe.activation == "gelu"
    assert not any("GELU" in note for note in recipe.notes)


def test_every_published_tag_that_says_quick_gelu_gets_it() -> None:
    import open_clip

    from retrieval.encoders.open_clip import _activation
    from retrieval.encoders.preprocessing import EncoderOptions

    quick = 0
    for name, tag in open_clip.list_pretrained():
        spec = EncoderSpec(f"open_clip:{name}/{tag}", "open_clip", name, "tag", tag)
        runs, _ = _activation(spec, open_clip.get_model_config(name), EncoderOptions())
        says = open_clip.get_pretrained_cfg(name, tag).get("quick_gelu", False)
        assert runs or not says, spec.text
        quick += runs
    assert quick > 40


def test_a_collection_made_before_activations_were_recorded_is_rebuilt_as_it_was(published: Path) -> None:
    """It ran what the architecture's configuration says, whatever the tag says."""
    spec = EncoderSpec("open_clip:small-clip/trained", "open_clip", "small-clip", "tag", "trained")
    tower = load_tower(spec, "squash")
    old = Recipe.from_dict({**tower.recipe.to_dict(), "activation": ""})
    assert activations(rebuild_tower(old)) == {"GELU"}
    assert activations(rebuild_tower(tower.recipe)) == {"QuickGELU"}
    with pytest.raises(EncoderMismatchError, match="weights "):
        rebuild_tower(Recipe.from_dict({**old.to_dict(), "weights": "0" * 64}))
