"""Known checkpoints load from files in their authors' key layouts, with random weights."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from retrieval.encoders import EncoderOptions, build_tower, known_checkpoint, known_to
from retrieval.encoders.provenance import provenance
from retrieval.encoders.tower_module import Tower

State = dict[str, torch.Tensor]
Embed = Callable[[Tower], np.ndarray]
Untrained = Callable[..., State]
FitShapes = Callable[[str, Callable[[State], State]], None]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def check(
    name: str, content: object, tmp_path: Path, embed: Embed, architecture: str, state: State, size: int
) -> Tower:
    """A known checkpoint gives what its architecture gives of the plain tensors, prepared the same way."""
    torch.save(content, tmp_path / "release.pth")
    torch.save(state, tmp_path / "plain.pth")
    tower = build_tower(f"known:{name}/{tmp_path / 'release.pth'}")
    recipe = tower.recipe
    assert recipe.size == (size, size)
    options = EncoderOptions(recipe.mean, recipe.std, recipe.size, recipe.interpolation)
    plain = build_tower(f"{architecture}/{tmp_path / 'plain.pth'}", options=options)
    assert float(embed(tower) @ embed(plain)) == pytest.approx(1, abs=1e-5)
    assert recipe.known == name
    assert known_to(recipe.to_dict()) is known_checkpoint(name)
    assert any(known_checkpoint(name).licence in phrase for phrase in provenance(recipe))
    return tower


@pytest.mark.slow
def test_gastronet_is_flat_as_timm_names_it(untrained: Untrained, tmp_path: Path, embed: Embed) -> None:
    vit = untrained("vit_small_patch16_224", num_classes=0)
    tower = check("gastronet-5m-vits16", vit, tmp_path, embed, "timm:vit_small_patch16_224", vit, 224)
    assert (tower.recipe.mean, tower.recipe.std, tower.recipe.interpolation) == (*IMAGENET, "bicubic")
    resnet = untrained("resnet50", num_classes=0)
    check("gastronet-5m-resnet50", resnet, tmp_path, embed, "timm:resnet50", resnet, 224)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "architecture", "size"),
    [
        ("surgenetxl-dinov1-vits16", "vit_small_patch16_224", 224),
        ("surgenetxl-dinov2-vits14", "vit_small_patch14_dinov2", 336),
        ("surgenetxl-dinov3-vits16", "vit_small_patch16_dinov3", 336),
    ],
)
def test_surgenet(name: str, architecture: str, size: int, untrained: Untrained, tmp_path: Path, embed: Embed) -> None:
    state = untrained(architecture, num_classes=0, img_size=size)
    released = dict(state) if "dinov3" in name else state | {"mask_token": torch.zeros(1, 384)}
    check(name, released, tmp_path, embed, f"timm:{architecture}", state, size)


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["gamma_{}", "ls{}.gamma"])
def test_surgenet_dinov3_as_its_training_code_names_it(scale: str, tmp_path: Path, embed: Embed) -> None:
    """Without registers, with biases of queries, keys and values in one, and with tensors that only training needs."""
    import timm

    torch.manual_seed(0)
    model = timm.create_model(
        "vit_small_patch16_dinov3", num_classes=0, img_size=336, num_reg_tokens=0, qkv_bias=True
    ).eval()
    official: State = {"mask_token": torch.zeros(1, 384), "rope_embed.periods": torch.ones(16)}
    for name, value in model.state_dict().items():
        official[re.sub(r"gamma_(\d)$", lambda match: scale.format(match[1]), name)] = value
    for index, block in enumerate(model.blocks):
        for part in "qkv":
            getattr(block.attn, f"{part}_bias").data.normal_(0, 0.5)
        official[f"blocks.{index}.attn.qkv.bias"] = torch.cat(
            [getattr(block.attn, f"{p}_bias").detach() for p in "qkv"]
        )
        official[f"blocks.{index}.attn.qkv.bias_mask"] = torch.ones(3 * 384)
        del official[f"blocks.{index}.attn.q_bias"], official[f"blocks.{index}.attn.v_bias"]
    torch.save(official, tmp_path / "w.pth")
    tower = build_tower(f"known:surgenetxl-dinov3-vits16/{tmp_path / 'w.pth'}")
    assert tower.recipe.size == (336, 336)
    expected = Tower(model, tower.recipe)
    assert np.allclose(embed(tower), embed(expected), atol=1e-6)
    without = build_tower(f"timm:vit_small_patch16_dinov3.lvd1689m/{tmp_path / 'w.pth'}")
    assert without.recipe.weights == tower.recipe.weights
    assert any(name.endswith("k_bias") for name in tower.image_model.state_dict())  # so that the digest covers it


@pytest.mark.slow
def test_endovit_is_a_masked_autoencoder_under_model(untrained: Untrained, tmp_path: Path, embed: Embed) -> None:
    state = untrained("vit_base_patch16_224", num_classes=0)
    decoder = {"mask_token": torch.zeros(1, 1, 512), "decoder_embed.weight": torch.zeros(512, 768)}
    content = {"model": state | decoder, "optimizer": {"state": {}}, "epoch": 15, "scaler": {}}
    tower = check("endovit", content, tmp_path, embed, "timm:vit_base_patch16_224", state, 224)
    assert tower.recipe.mean == (0.3464, 0.2280, 0.2228)
    assert tower.recipe.std == (0.2520, 0.2128, 0.2093)
    assert tower.recipe.fit == "squash"
    assert tower.recipe.weights_key == "model"


@pytest.mark.slow
def test_biomedclip_is_an_open_clip_model_of_its_own(tmp_path: Path, embed: Embed) -> None:
    import open_clip

    torch.manual_seed(0)
    known = known_checkpoint("biomedclip")
    text = {"width": 1, "heads": 1, "layers": 1, "vocab_size": 1, "context_length": 1}
    visual = open_clip.CustomTextCLIP(known.config["embed_dim"], dict(known.config["vision_cfg"]), text).visual
    others = {"logit_scale": torch.ones(()), "text.transformer.embeddings.position_ids": torch.arange(4)}
    torch.save({f"visual.{k}": v for k, v in visual.state_dict().items()} | others, tmp_path / "w.bin")
    tower = build_tower(f"known:biomedclip/{tmp_path / 'w.bin'}")
    assert (tower.recipe.dimension, tower.recipe.size) == (512, (224, 224))
    assert tower.recipe.mean == (0.48145466, 0.4578275, 0.40821073)
    pixels = torch.zeros(1, 3, 224, 224)
    with torch.inference_mode():
        assert torch.equal(tower.image_model(pixels), visual.eval()(pixels))
    assert "may have seen images of Kvasir or HyperKvasir in training" in provenance(tower.recipe)


@pytest.mark.skipif(not os.environ.get("KVASIR_LARGE_ENCODERS"), reason="builds towers of 0.3 to 0.4 billion weights")
@pytest.mark.parametrize(("name", "architecture", "size"), [("endofinder", "vit_large_patch16_224", 224)])
def test_large_known_checkpoints(
    name: str, architecture: str, size: int, untrained: Untrained, tmp_path: Path, embed: Embed
) -> None:
    state = untrained(architecture, num_classes=0)
    others = {
        "head.weight": torch.ones(512, 1024),
        "head.bias": torch.ones(512),
        "target_embed.proj.weight": torch.ones(1, 1, 16, 16),
    }
    content = {"model": state | others | {"mask_token": torch.zeros(1, 1, 512), "decoder_pred.bias": torch.zeros(768)}}
    check(name, content, tmp_path, embed, f"timm:{architecture}", state, size)


@pytest.mark.slow  # builds on `meta`, which the lowest timm cannot
@pytest.mark.parametrize("name", ["endofinder", "dinov2-vits14", "dinov2-vitb14", "dinov2-vitl14"])
def test_names_and_shapes_of_large_checkpoints_fill_their_architecture(name: str, fit_shapes: FitShapes) -> None:
    """A release without values, since some have hundreds of millions of parameters."""
    others = ("head.weight", "head.bias", "decoder_embed.weight", "decoder_pred.bias") if name == "endofinder" else ()
    fit_shapes(name, lambda state: state | dict.fromkeys(("mask_token", *others), torch.zeros(1, 2)))


@pytest.mark.slow
def test_dinov3_as_meta_publishes_it(untrained: Untrained, tmp_path: Path, embed: Embed) -> None:
    """With registers, scales of its own name, the mask of the keys' bias, and tensors that only training needs."""
    state = untrained("vit_small_patch16_dinov3", num_classes=0)
    released: State = {"mask_token": torch.zeros(1, 1, 384), "rope_embed.periods": torch.ones(16)}
    for name, value in state.items():
        renamed = re.sub(r"gamma_(\d)$", r"ls\1.gamma", name).replace("reg_token", "storage_tokens")
        released[renamed] = value
    check("dinov3-vits16", released, tmp_path, embed, "timm:vit_small_patch16_dinov3", state, 256)
