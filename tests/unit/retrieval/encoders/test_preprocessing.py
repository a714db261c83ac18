"""Where an encoder's input comes from: it is stated or told, and never assumed in silence."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from retrieval.encoders import (
    EncoderOptions,
    EncoderSpecError,
    WeightsMismatchError,
    WeightsNotFoundError,
    build_tower,
    rebuild_tower,
)
from retrieval.encoders.preprocessing import Source, agreed, canonical, resolve
from retrieval.encoders.recipe import Recipe
from retrieval.encoders.tower_module import Tower

State = dict[str, torch.Tensor]
Build = Callable[..., Tower]

OPENAI = (0.48145466, 0.4578275, 0.40821073)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


# Values


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"mean": 0.5, "std": 1}, {"mean": (0.5,) * 3, "std": (1.0,) * 3}),
        ({"mean": [0.5], "std": (0.1, 0.2, 0.3)}, {"mean": (0.5,) * 3, "std": (0.1, 0.2, 0.3)}),
        ({"mean": None, "std": None, "interpolation": None, "size": None}, {}),
        ({"input_size": [3, 224, 256]}, {"size": (256, 224)}),
        ({"size": 224, "interpolation": "BICUBIC"}, {"size": (224, 224), "interpolation": "bicubic"}),
        ({"size": (224, 256), "interpolation": "random"}, {"size": (256, 224), "interpolation": "bicubic"}),
        (
            {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 3, "size": {"height": 448, "width": 448}},
            {"mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bicubic", "size": (448, 448)},
        ),
        ({"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}, {"size": (224, 224)}),
    ],
)
def test_configurations_of_every_library_are_read(values: dict[str, Any], expected: dict[str, Any]) -> None:
    assert canonical(values, "here") == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mean": [0.5, 0.5]}, r"here: mean is \[0.5, 0.5\], not one number or three"),
        ({"mean": "0.5"}, "not one number or three"),
        ({"mean": [0.5, None, 0.5]}, "not one number or three"),
        ({"std": [0.5, 0, 0.5]}, "it must be above 0"),
        ({"std": float("nan")}, "not one number or three"),
        ({"interpolation": "cubic"}, "names the interpolation 'cubic'; only nearest, box, bilinear"),
        ({"resample": 99}, "the resampling 99, which Pillow does not have"),
        ({"size": "large"}, "size is 'large'"),
        ({"size": 0}, "size is 0"),
        *(({"size": size}, "size is") for size in (160.5, True, [], {"height": "160"}, [[1], 2])),
        ({"mean": [123.675, 116.28, 103.53]}, "of pixels from 0 to 255; divide it by 255"),
        ({"std": 58.395}, "of pixels from 0 to 255; divide it by 255"),
        ({"input_size": [1, 28, 28]}, "takes 1 channels; only RGB models can be used"),
    ],
)
def test_a_value_that_cannot_be_one_is_told_with_its_place(values: dict[str, Any], message: str) -> None:
    with pytest.raises(EncoderSpecError, match=message):
        canonical(values, "here")


def test_each_value_comes_from_the_first_place_that_has_it() -> None:
    first, second = Source("given", {"mean": 0.1}), Source("published", {"mean": 0.2, "std": 0.3, "size": 32})
    last = Source("a default", {"std": 0.9, "interpolation": "bilinear"}, assumed=True)
    made = resolve([first, second, last], "spec")
    assert (made.mean, made.std, made.interpolation, made.size) == ((0.1,) * 3, (0.3,) * 3, "bilinear", (32, 32))
    assert made.provenance == "mean: given; std, size: published; interpolation: a default"
    assert made.assumed == ("interpolation",)


def test_only_what_all_agree_on_is_shared() -> None:
    tags = {"a": {"mean": 0.5, "std": 0.5, "interpolation": "bicubic"}, "b": {"mean": 0.5, "std": 0.4}}
    assert agreed(tags) == {"mean": (0.5,) * 3}
    assert agreed({}) == {}


# timm


def test_tags_that_agree_decide_for_a_file(build: Build, vit_state: State, caplog: pytest.LogCaptureFixture) -> None:
    recipe = build("timm:test_vit", vit_state).recipe
    assert (recipe.mean, recipe.std, recipe.size) == ((0.5,) * 3, (0.5,) * 3, (160, 160))
    assert "as all of timm's tags of test_vit have it" in recipe.preprocessing
    assert caplog.records == []


@pytest.mark.slow
def test_tags_that_differ_are_told(
    build: Build, untrained: Callable[..., State], caplog: pytest.LogCaptureFixture
) -> None:
    """vit_small_patch16_224 has 0.5 by Google's augreg and ImageNet's by DINO, which self-supervision starts from."""
    state = untrained("vit_small_patch16_224", num_classes=0)
    with caplog.at_level(logging.WARNING):
        recipe = build("timm:vit_small_patch16_224", state).recipe
    assert (recipe.mean, recipe.std) == ((0.5,) * 3, (0.5,) * 3)
    told = next(record.getMessage() for record in caplog.records)
    assert "mean 0.5 0.5 0.5, std 0.5 0.5 0.5" in told
    assert "dino" in told
    assert "timm:vit_small_patch16_224.TAG/FILE" in told
    assert any("dino" in note for note in recipe.notes)
    caplog.clear()
    named = build("timm:vit_small_patch16_224.dino", state).recipe
    assert (named.mean, named.std) == IMAGENET
    assert "of timm's tag dino" in named.preprocessing
    assert caplog.records == []


def test_a_tag_that_is_not_published_is_refused_with_those_that_are(build: Build, vit_state: State) -> None:
    with pytest.raises(WeightsNotFoundError, match="no weights 'badtag' for test_vit; its tags: r160_in1k"):
        build("timm:test_vit.badtag", vit_state)


def test_options_go_before_all_else(build: Build, vit_state: State) -> None:
    recipe = build("timm:test_vit.r160_in1k", vit_state, mean=(0.1, 0.2, 0.3), interpolation="lanczos").recipe
    assert (recipe.mean, recipe.std, recipe.interpolation) == ((0.1, 0.2, 0.3), (0.5,) * 3, "lanczos")
    assert "mean, interpolation: as given by --mean, --interpolation" in recipe.preprocessing


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("weights.json", {"mean": [0.3, 0.2, 0.1], "std": 0.25}),
        ("weights.pt.json", {"preprocess_cfg": {"mean": [0.3, 0.2, 0.1], "std": 0.25}}),
        ("config.json", {"architecture": "test_vit", "pretrained_cfg": {"mean": [0.3, 0.2, 0.1], "std": [0.25] * 3}}),
        ("preprocessor_config.json", {"image_mean": [0.3, 0.2, 0.1], "image_std": [0.25] * 3}),
    ],
)
def test_a_configuration_beside_the_file_is_read(
    build: Build, vit_state: State, tmp_path: Path, name: str, content: dict[str, Any]
) -> None:
    (tmp_path / name).write_text(json.dumps(content))
    recipe = build("timm:test_vit", vit_state).recipe
    assert (recipe.mean, recipe.std) == ((0.3, 0.2, 0.1), (0.25,) * 3)
    assert f"from {name} beside the weights" in recipe.preprocessing


def test_a_configuration_of_another_architecture_is_passed_over(build: Build, vit_state: State, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"architecture": "resnet18", "pretrained_cfg": {"mean": [0.3] * 3}})
    )
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {}, "preprocess_cfg": {"mean": 0.3}}))
    assert build("timm:test_vit", vit_state).recipe.mean == (0.5,) * 3


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("weights.json", b"not json"),
        ("weights.pt.json", b'{"mean": [0.3, 0.2,'),
        ("config.json", b"[" * 100_000),
        ("open_clip_config.json", b"\xff\xfe\0"),
        ("preprocessor_config.json", b""),
    ],
)
def test_a_damaged_configuration_beside_the_file_is_an_error(
    build: Build, vit_state: State, tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(EncoderSpecError, match=rf"{name}, which may state how pictures are prepared, cannot be read"):
        build("timm:test_vit", vit_state)


@pytest.mark.parametrize(
    "text", ['{"model_cfg": null}', '{"model_cfg": {"vision_cfg": [1]}}', '{"model_cfg": "x"}', "[1]", "3"]
)
def test_a_configuration_of_wrong_types_is_passed_over(
    build: Build, vit_state: State, tmp_path: Path, text: str
) -> None:
    (tmp_path / "config.json").write_text(text)
    assert build("timm:test_vit", vit_state).recipe.mean == (0.5,) * 3


def test_a_configuration_with_a_byte_order_mark_is_read(build: Build, vit_state: State, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"mean": 0.3, "std": 0.25}', encoding="utf-8-sig")
    assert build("timm:test_vit", vit_state).recipe.mean == (0.3,) * 3


def test_a_configuration_within_the_file_is_read(build: Build, vit_state: State, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    stated = {"mean": [0.3, 0.2, 0.1], "std": [0.25, 0.25, 0.25], "interpolation": "bilinear"}
    recipe = build("timm:test_vit", {"model": vit_state, "pretrained_cfg": stated}).recipe
    assert (recipe.mean, recipe.std, recipe.interpolation) == ((0.3, 0.2, 0.1), (0.25,) * 3, "bilinear")
    assert "from the weights file" in recipe.preprocessing
    save_file(vit_state, tmp_path / "w.safetensors", {"format": "pt", "preprocess_cfg": json.dumps(stated)})
    recipe = build_tower(f"timm:test_vit/{tmp_path / 'w.safetensors'}").recipe
    assert recipe.mean == (0.3, 0.2, 0.1)


def test_numbers_of_a_training_script_are_no_configuration(build: Build, vit_state: State) -> None:
    content = {"model": vit_state, "log": {"mean": [1.0, 2.0], "loss": 3}, "running": {"mean": torch.ones(3)}}
    assert build("timm:test_vit", content).recipe.mean == (0.5,) * 3


def test_a_size_that_the_architecture_cannot_take_is_told(build: Build, vit_state: State) -> None:
    with pytest.raises(WeightsMismatchError, match="1 misshapen: pos_embed"):
        build("timm:test_vit", vit_state, size=(100, 7))


def test_a_tower_is_rebuilt_as_its_recipe_says(build: Build, vit_state: State) -> None:
    """Also the recipe of an older collection, which says nothing of where its values came from."""
    import dataclasses

    tower = build(
        "timm:test_vit", {"a": vit_state, "b": vit_state}, mean=(0.1, 0.2, 0.3), size=(96, 96), weights_key="b"
    )
    again = rebuild_tower(Recipe.from_dict(json.loads(json.dumps(tower.recipe.to_dict()))))
    assert again.recipe == tower.recipe
    old = dataclasses.replace(tower.recipe, mean=(0.9,) * 3, preprocessing="", activation="", weights_key="", notes=())
    assert rebuild_tower(old).recipe == old


# open_clip


def recipe_of(architecture: str, tmp_path: Path, **options: Any) -> Recipe:
    """Of a file with the image tower alone, in half precision."""
    import open_clip

    config = open_clip.get_model_config(architecture)
    visual = open_clip.CustomTextCLIP(
        config["embed_dim"],
        config["vision_cfg"],
        {"width": 1, "heads": 1, "layers": 1, "vocab_size": 1, "context_length": 1},
    ).visual
    torch.save({name: value.half() for name, value in visual.state_dict().items()}, tmp_path / "w.pt")
    return build_tower(f"open_clip:{architecture}/{tmp_path / 'w.pt'}", options=EncoderOptions(**options)).recipe


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "mean", "std", "interpolation"),
    [
        ("ViT-B-16-SigLIP", (0.5,) * 3, (0.5,) * 3, "bicubic"),
        ("MobileCLIP-S1", (0.0,) * 3, (1.0,) * 3, "bilinear"),
        ("ViT-L-14-CLIPA", *IMAGENET, "bilinear"),
    ],
)
def test_published_tags_that_agree_decide_for_a_clip_file(
    architecture: str, mean: tuple[float, ...], std: tuple[float, ...], interpolation: str, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    recipe = recipe_of(architecture, tmp_path)
    assert (recipe.mean, recipe.std, recipe.interpolation) == (mean, std, interpolation)
    assert f"as all of open_clip's tags of {architecture} have it" in recipe.preprocessing
    assert [record for record in caplog.records if record.name.startswith("retrieval")] == []


@pytest.mark.slow
def test_an_architecture_without_published_weights_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = recipe_of("ViT-S-32-alt", tmp_path)
    assert recipe.mean == OPENAI
    assert "mean 0.481 0.458 0.408" in caplog.text
    assert "give --mean, --std" in caplog.text
    caplog.clear()
    assert recipe_of("ViT-S-32-alt", tmp_path, mean=(0.5,) * 3, std=(0.5,) * 3).mean == (0.5,) * 3
    assert [record for record in caplog.records if record.name.startswith("retrieval")] == []


def test_a_folder_says_its_own(tiny_clip: Any) -> None:
    recipe = build_tower(f"open_clip:local-dir:{tiny_clip.folder}").recipe
    assert (recipe.mean, recipe.std) == ((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
    assert "from open_clip_config.json" in recipe.preprocessing


def test_scalars_and_null_in_a_folders_configuration(tiny_clip: Any, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(tiny_clip.folder, tmp_path / "clip")
    config = json.loads((tmp_path / "clip" / "open_clip_config.json").read_text())
    for stated, mean in (({"mean": 0.5, "std": 0.5}, (0.5,) * 3), ({"mean": None}, OPENAI), (None, OPENAI)):
        config["preprocess_cfg"] = stated
        (tmp_path / "clip" / "open_clip_config.json").write_text(json.dumps(config))
        assert build_tower(f"open_clip:local-dir:{tmp_path / 'clip'}").recipe.mean == mean


def test_another_size_of_a_clips_input(tiny_clip: Any) -> None:
    tower = build_tower(f"open_clip:tiny-clip/{tiny_clip.pt}", options=EncoderOptions(size=(96, 64)))
    assert tower.recipe.size == (96, 64)
