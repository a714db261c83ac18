"""Self-supervised releases and other libraries' layouts, with random weights in their exact names."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from retrieval.encoders import WeightsMismatchError
from retrieval.encoders.tower_module import Tower

State = dict[str, torch.Tensor]
Build = Callable[..., Tower]
Embed = Callable[[Tower], np.ndarray]


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: value for name, value in state.items()}


def cosine(build: Build, embed: Embed, encoder: str, state: State, content: Any) -> float:
    return float(embed(build(encoder, state, "plain.pt")) @ embed(build(encoder, content, "form.pt")))


HEAD = {"head.mlp.0.weight": torch.zeros(8, 64), "head.last_layer.weight_v": torch.zeros(9, 8)}
DECODER = {
    "mask_token": torch.zeros(1, 1, 48),
    "decoder_pos_embed": torch.zeros(1, 101, 48),
    "decoder_embed.weight": torch.zeros(48, 64),
    "decoder_blocks.0.norm1.weight": torch.zeros(48),
    "decoder_norm.weight": torch.zeros(48),
    "decoder_pred.weight": torch.zeros(768, 48),
}


def test_dino_gives_its_teachers_backbone(build: Build, embed: Embed, vit_state: State) -> None:
    noise = {name: torch.randn_like(value) for name, value in vit_state.items()}
    release = {
        "student": prefixed(noise | HEAD, "module.backbone."),
        "teacher": prefixed(vit_state, "backbone.") | HEAD,
        "epoch": 1,
        "args": argparse.Namespace(arch="vit_tiny"),
        "dino_loss": {"center": torch.zeros(1, 9)},
    }
    assert cosine(build, embed, "timm:test_vit", vit_state, release) == pytest.approx(1)
    chosen = build("timm:test_vit", release, "student.pt", weights_key="student")
    assert abs(float(embed(chosen) @ embed(build("timm:test_vit", vit_state, "plain.pt")))) < 0.99


def test_pairs_in_one_table_give_the_teacher(build: Build, embed: Embed, vit_state: State) -> None:
    noise = {name: torch.randn_like(value) for name, value in vit_state.items()}
    pair = (
        prefixed(noise, "student_backbone.")
        | prefixed(vit_state, "teacher_backbone.")
        | {"student_head.a": torch.ones(1)}
    )
    tower = build("timm:test_vit", {"state_dict": pair}, "pair.pt")
    assert np.allclose(embed(tower), embed(build("timm:test_vit", vit_state, "plain.pt")), atol=1e-6)
    assert "weights of 'teacher_backbone' taken, not of student_backbone" in tower.recipe.notes


def test_a_masked_autoencoder_leaves_its_decoder_out(build: Build, embed: Embed, vit_state: State) -> None:
    assert cosine(build, embed, "timm:test_vit", vit_state, {"model": vit_state | DECODER}) == pytest.approx(1)


def test_positions_are_resampled_to_the_input_and_it_is_said(build: Build, embed: Embed, vit_state: State) -> None:
    place = vit_state["pos_embed"]
    grid = place[:, 1:].reshape(1, 10, 10, -1).permute(0, 3, 1, 2)
    larger = torch.nn.functional.interpolate(grid, (14, 14), mode="bicubic").permute(0, 2, 3, 1).reshape(1, 196, -1)
    state = vit_state | {"pos_embed": torch.cat([place[:, :1], larger], 1)}
    tower = build("timm:test_vit", {"model": state})
    assert "pos_embed resampled from (1, 197, 64) to (1, 101, 64)" in tower.recipe.notes
    assert float(embed(tower) @ embed(build("timm:test_vit", vit_state, "plain.pt"))) > 0.999


def test_another_size_of_input_is_built_for(build: Build, vit_state: State) -> None:
    tower = build("timm:test_vit", vit_state, size=(96, 128))
    assert tower.recipe.size == (96, 128)
    assert tower.image_model.pos_embed.shape == (1, 8 * 6 + 1, 64)  # type: ignore[union-attr]


@pytest.mark.slow
def test_dinov2_under_its_official_names(build: Build, embed: Embed, untrained: Callable[..., State]) -> None:
    """With registers the release gives the class token a place of its own, which timm adds to the token."""
    encoder = "timm:vit_small_patch14_reg4_dinov2"
    state = untrained("vit_small_patch14_reg4_dinov2", num_classes=0, img_size=112)
    state["cls_token"] = torch.randn_like(state["cls_token"])  # untrained, it is so small that sums lose its digits
    first = torch.full((1, 1, 384), 0.02)
    official = {name: value for name, value in state.items() if name != "reg_token"} | {
        "register_tokens": state["reg_token"],
        "mask_token": torch.zeros(1, 384),
        "cls_token": state["cls_token"] - first,
        "pos_embed": torch.cat([first, state["pos_embed"]], 1),
    }
    plain = embed(build(encoder, state, "plain.pt", size=(112, 112)))
    assert np.allclose(embed(build(encoder, official, "form.pt", size=(112, 112))), plain, atol=1e-5)
    chunked = {
        re.sub(r"^blocks\.(\d+)", lambda m: f"blocks.{int(m[1]) // 4}.{m[1]}", name): v for name, v in official.items()
    }
    training = {"teacher": prefixed(chunked, "backbone.") | {"dino_head.mlp.0.weight": torch.ones(2, 2)}}
    assert np.allclose(embed(build(encoder, training, "training.pt", size=(112, 112))), plain, atol=1e-5)


def parts(state: State, name: str, names: tuple[str, str, str]) -> State:
    return {part: value.clone() for part, value in zip(names, state[name].chunk(3), strict=True)}


def test_a_vision_transformer_of_transformers(build: Build, embed: Embed, vit_state: State) -> None:
    """As ViTForImageClassification writes it, whose blocks have names and three projections of their own."""
    renamed: State = {
        "embeddings.cls_token": vit_state["cls_token"],
        "embeddings.position_embeddings": vit_state["pos_embed"],
        "embeddings.patch_embeddings.projection.weight": vit_state["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.projection.bias": vit_state["patch_embed.proj.bias"],
        "layernorm.weight": vit_state["norm.weight"],
        "layernorm.bias": vit_state["norm.bias"],
    }
    pairs = [("norm1", "layernorm_before"), ("norm2", "layernorm_after"), ("mlp.fc1", "intermediate.dense"),
             ("mlp.fc2", "output.dense"), ("attn.proj", "attention.output.dense")]  # fmt: skip
    for index in range(len({name.split(".")[1] for name in vit_state if name.startswith("blocks.")})):
        block, layer = f"blocks.{index}", f"encoder.layer.{index}"
        for kind in ("weight", "bias"):
            for ours, theirs in pairs:
                renamed[f"{layer}.{theirs}.{kind}"] = vit_state[f"{block}.{ours}.{kind}"]
            names = tuple(f"{layer}.attention.attention.{part}.{kind}" for part in ("query", "key", "value"))
            renamed |= parts(vit_state, f"{block}.attn.qkv.{kind}", names)  # type: ignore[arg-type]
    content = prefixed(renamed, "vit.") | {"classifier.weight": torch.ones(2, 64), "classifier.bias": torch.ones(2)}
    assert cosine(build, embed, "timm:test_vit", vit_state, content) == pytest.approx(1)


def siglip_of_transformers(state: State, blocks: int) -> State:
    """timm's tensors of a SigLIP image tower under the names of transformers' SiglipModel."""
    made: State = {
        "embeddings.patch_embedding.weight": state["patch_embed.proj.weight"],
        "embeddings.patch_embedding.bias": state["patch_embed.proj.bias"],
        "embeddings.position_embedding.weight": state["pos_embed"][0],
        "post_layernorm.weight": state["norm.weight"],
        "post_layernorm.bias": state["norm.bias"],
        "head.probe": state["attn_pool.latent"],
    }
    pairs = [("norm1", "layer_norm1"), ("norm2", "layer_norm2"), ("mlp.fc1", "mlp.fc1"), ("mlp.fc2", "mlp.fc2"),
             ("attn.proj", "self_attn.out_proj")]  # fmt: skip
    for kind in ("weight", "bias"):
        made[f"head.attention.in_proj_{kind}"] = torch.cat(
            [state[f"attn_pool.q.{kind}"], state[f"attn_pool.kv.{kind}"]]
        )
        made[f"head.attention.out_proj.{kind}"] = state[f"attn_pool.proj.{kind}"]
        made[f"head.layernorm.{kind}"] = state[f"attn_pool.norm.{kind}"]
        for layer in ("fc1", "fc2"):
            made[f"head.mlp.{layer}.{kind}"] = state[f"attn_pool.mlp.{layer}.{kind}"]
        for index in range(blocks):
            block, layer = f"blocks.{index}", f"encoder.layers.{index}"
            for ours, theirs in pairs:
                made[f"{layer}.{theirs}.{kind}"] = state[f"{block}.{ours}.{kind}"]
            names = tuple(f"{layer}.self_attn.{part}_proj.{kind}" for part in "qkv")
            made |= parts(state, f"{block}.attn.qkv.{kind}", names)  # type: ignore[arg-type]
    return made


@pytest.mark.slow
def test_siglip_of_transformers(build: Build, embed: Embed, untrained: Callable[..., State]) -> None:
    """As MedSigLIP is published: a text tower beside it, a probe that pools, one projection each for q, k and v."""
    state = untrained("vit_base_patch16_siglip_224", num_classes=0)
    text = {"text_model.embeddings.token_embedding.weight": torch.ones(3, 4), "logit_scale": torch.ones(1)}
    content = prefixed(siglip_of_transformers(state, 12), "vision_model.") | text | {"logit_bias": torch.ones(1)}
    assert cosine(build, embed, "timm:vit_base_patch16_siglip_224", state, content) == pytest.approx(1)


@pytest.mark.slow  # builds on `meta`, which the lowest timm cannot
def test_names_and_shapes_of_medsiglip_fill_its_architecture(fit_shapes: Callable[..., None]) -> None:
    def release(state: State) -> State:
        texts = ("text_model.embeddings.token_embedding.weight", "text_model.head.bias", "logit_scale", "logit_bias")
        tower = prefixed(siglip_of_transformers(state, 27), "vision_model.")
        return {**tower, **dict.fromkeys(texts, torch.zeros(1, 2))}

    fit_shapes("medsiglip-448", release)


@pytest.mark.parametrize("name", ["blocks.0.norm1.extra", "extra_tokens"])
def test_what_belongs_to_none_of_them_is_an_error(build: Build, vit_state: State, name: str) -> None:
    with pytest.raises(WeightsMismatchError, match="1 surplus"):
        build("timm:test_vit", {"model": vit_state | DECODER | {name: torch.ones(3)}})
    backbone = prefixed(vit_state, "backbone.") | HEAD | {name: torch.ones(3)}
    with pytest.raises(WeightsMismatchError, match="1 surplus"):
        build("timm:test_vit", {"teacher": backbone})
