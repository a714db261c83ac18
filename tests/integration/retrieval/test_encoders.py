from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexer.verification import check
from retrieval.collection import Collection, CollectionWriter
from retrieval.encoders import (
    DEFAULT,
    EncoderSpecError,
    OpenVinoEncoder,
    TorchEncoder,
    UnusableEmbeddingError,
    WeightsMismatchError,
    WeightsNotFoundError,
    build_tower,
    convert,
    parse_spec,
)
from retrieval.encoders.tower_module import Tower
from retrieval.errors import EncoderError
from retrieval.images import from_image
from retrieval.spaces.encoder import create, load_encoder


def batch(draw: Callable[..., Image.Image], tower: Tower, count: int = 6) -> np.ndarray:
    sizes = [(240, 180), (120, 160), (90, 90)]
    pictures = [from_image(draw(n, (40 * n % 255, 90, 200 - 30 * n), sizes[n % 3])) for n in range(count)]
    return np.stack([tower.recipe.prepare(picture) for picture in pictures])


def eager(tower: Tower, pixels: np.ndarray) -> np.ndarray:
    return TorchEncoder(tower).encode(pixels)


def check_conversion(tower: Tower, pixels: np.ndarray, folder: Path) -> None:
    digest = convert(tower, folder)
    assert len(digest) == 64
    made = OpenVinoEncoder(folder, tower.recipe).encode(pixels)
    plain = eager(tower, pixels)
    assert made.dtype == np.float32
    assert made.shape == (len(pixels), tower.recipe.dimension)
    assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)
    assert (made * plain).sum(1).min() >= 0.9999
    assert (plain[:1] * plain[1:]).sum(1).min() < 0.9999  # pictures are told apart at all


def test_the_default_through_openvino_is_the_eager_one(indexed: Any, draw: Callable[..., Image.Image]) -> None:
    tower = build_tower(DEFAULT)
    collection = Collection.open(indexed.path)
    encoder = load_encoder(indexed.path, collection.spaces[0])
    assert isinstance(encoder, OpenVinoEncoder)
    assert encoder.recipe == tower.recipe
    assert (tower.recipe.dimension, tower.recipe.size, tower.recipe.fit) == (1280, (224, 224), "field")
    pixels = batch(draw, tower)
    assert (encoder.encode(pixels) * eager(tower, pixels)).sum(1).min() >= 0.9999


def test_many_threads_get_the_vectors_that_one_gets(indexed: Any, draw: Callable[..., Image.Image]) -> None:
    space = Collection.open(indexed.path).spaces[0]
    for purpose in ("throughput", "latency"):
        encoder = load_encoder(indexed.path, space, purpose)  # type: ignore[arg-type]
        pixels = np.stack([encoder.recipe.prepare(from_image(draw(n))) for n in range(8)])
        alone = np.concatenate([encoder.encode(pixels[n : n + 1]) for n in range(8)])
        parts = [pixels[n % 8 : n % 8 + 1 + n % 3] for n in range(24)]
        with ThreadPoolExecutor(6) as pool:
            for n, made in enumerate(pool.map(encoder.encode, parts)):
                assert np.allclose(made, alone[n % 8 : n % 8 + 1 + n % 3], atol=1e-5)
        assert encoder.encode(pixels[:0]).shape == (0, 1280)


@pytest.mark.parametrize(("architecture", "suffix"), [("test_vit", ".safetensors"), ("test_convnext", ".pth")])
def test_a_timm_architecture_with_a_local_file(
    architecture: str, suffix: str, timm_weights: Any, draw: Callable[..., Image.Image], tmp_path: Path
) -> None:
    tower = build_tower(f"timm:{architecture}/{timm_weights(architecture, suffix)}")
    assert tower.recipe.size == (160, 160)
    check_conversion(tower, batch(draw, tower), tmp_path / "tower")


def test_the_three_forms_of_one_clip_are_one_encoder(
    tiny_clip: Any, draw: Callable[..., Image.Image], tmp_path: Path
) -> None:
    towers = [
        build_tower(f"open_clip:tiny-clip/{tiny_clip.pt}"),
        build_tower(f"open_clip:tiny-clip/{tiny_clip.safetensors}"),
        build_tower(f"open_clip:local-dir:{tiny_clip.folder}"),
    ]
    assert len({tower.recipe.weights for tower in towers}) == 1
    assert {(tower.recipe.dimension, tower.recipe.size) for tower in towers} == {(24, (64, 64))}
    assert towers[2].recipe.mean == (0.5, 0.4, 0.3)  # the folder's own preprocessing, not the library's default
    assert towers[2].recipe.std == (0.2, 0.25, 0.3)
    for number, tower in enumerate(towers):
        check_conversion(tower, batch(draw, tower), tmp_path / str(number))


def test_a_coca_tower_gives_its_pooled_embedding(draw: Callable[..., Image.Image], tmp_path: Path) -> None:
    import open_clip
    import torch

    vision = {"image_size": 64, "layers": 2, "width": 64, "head_width": 16, "patch_size": 16, "output_tokens": True}
    text = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    decoder = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1, "n_queries": 4}
    config = {
        "embed_dim": 32,
        "vision_cfg": vision | {"attentional_pool": True, "attn_pooler_queries": 4, "attn_pooler_heads": 2},
        "text_cfg": text | {"embed_cls": True, "output_tokens": True},
        "multimodal_cfg": decoder | {"attn_pooler_heads": 2},
        "custom_text": True,
    }
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "tiny-coca.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "configs")
    torch.manual_seed(13)
    model = open_clip.create_model("tiny-coca").eval()
    torch.save(model.state_dict(), tmp_path / "coca.pt")
    tower = build_tower(f"open_clip:tiny-coca/{tmp_path / 'coca.pt'}")
    pixels = batch(draw, tower)
    check_conversion(tower, pixels, tmp_path / "tower")
    normal = (torch.tensor(pixels).permute(0, 3, 1, 2).float() - tower.mean) / tower.std
    with torch.inference_mode():
        theirs = model.encode_image(normal).numpy()
    assert np.allclose(eager(tower, pixels), theirs, atol=1e-5)


def test_an_image_tower_loads_without_the_language_model_beside_it(
    draw: Callable[..., Image.Image], tmp_path: Path
) -> None:
    """As BiomedCLIP comes: a timm image tower, and a text tower that the hub would be asked for."""
    import open_clip
    import torch

    vision = {"timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear", "image_size": 160}
    text = {"hf_model_name": "nobody/no-such-language-model", "hf_proj_type": "mlp", "context_length": 256}
    preprocess = {"mean": [0.48, 0.45, 0.40], "std": [0.26, 0.26, 0.27], "interpolation": "bicubic"}
    config = {"model_cfg": {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": preprocess}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsNotFoundError, match=r"has no weights; put an open_clip_model\.safetensors there"):
        build_tower(f"open_clip:local-dir:{tmp_path}")

    torch.manual_seed(17)
    visual = open_clip.model.CustomTextCLIP(24, vision, {"layers": 1, "width": 8, "heads": 1, "vocab_size": 9}).visual
    state = {f"visual.{name}": tensor for name, tensor in visual.eval().state_dict().items()}
    others = {"logit_scale": torch.ones(()), "text.transformer.embeddings.position_ids": torch.arange(4)}
    torch.save(state | others, tmp_path / "open_clip_pytorch_model.bin")
    tower = build_tower(f"open_clip:local-dir:{tmp_path}")
    assert (tower.recipe.dimension, tower.recipe.size, tower.recipe.mean) == (24, (160, 160), (0.48, 0.45, 0.40))
    pixels = batch(draw, tower)
    check_conversion(tower, pixels, tmp_path / "tower")
    normal = (torch.tensor(pixels).permute(0, 3, 1, 2).float() - tower.mean) / tower.std
    with torch.inference_mode():
        theirs = torch.nn.functional.normalize(visual(normal), dim=-1).numpy()
    assert np.allclose(eager(tower, pixels), theirs, atol=1e-5)

    del state["visual.head.proj.weight"]
    torch.save(state | others, tmp_path / "open_clip_pytorch_model.bin")
    with pytest.raises(WeightsMismatchError, match=r"head\.proj\.weight"):
        build_tower(f"open_clip:local-dir:{tmp_path}")


def test_weights_of_another_architecture_are_refused(timm_weights: Any, tiny_clip: Any) -> None:
    for spec in (
        f"timm:test_convnext/{timm_weights('test_vit')}",
        f"timm:test_vit/{tiny_clip.pt}",
        f"open_clip:RN50/{tiny_clip.safetensors}",
        f"open_clip:tiny-clip/{timm_weights('test_vit')}",
    ):
        with pytest.raises(WeightsMismatchError, match="weights are not of"):
            build_tower(spec)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_files_that_hold_no_weights_are_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(b"not weights" * 100)
    for spec in (f"timm:test_vit/{path}", f"open_clip:ViT-S-32/{path}"):
        with pytest.raises(WeightsMismatchError, match=f"{path} cannot be read as weights") as told:
            build_tower(spec)
        assert "weights_only" not in str(told.value)
        assert str(told.value).endswith("since no code of a checkpoint is run")


def test_the_first_tensors_that_do_not_fit_are_named_whole(timm_weights: Any, tiny_clip: Any) -> None:
    for spec in (f"timm:test_convnext/{timm_weights('test_vit')}", f"open_clip:tiny-clip/{timm_weights('test_vit')}"):
        with pytest.raises(WeightsMismatchError) as told:
            build_tower(spec)
        assert re.search(r": \d+ missing: ([\w.]+, )+[\w.]+ and \d+ more; \d+ surplus: ", str(told.value)), told.value


@pytest.mark.parametrize("value", [float("nan"), 0.0])
def test_weights_that_give_no_embedding_of_unit_length_make_no_space(
    value: float, tiny_clip: Any, indexed: Any, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(tiny_clip.safetensors)
    state["visual.proj"].fill_(value)
    save_file(state, tmp_path / "w.safetensors")
    shutil.copytree(indexed.path, tmp_path / "c")
    with CollectionWriter(tmp_path / "c") as writer:
        with pytest.raises(UnusableEmbeddingError, match=rf"tiny-clip/{tmp_path}/w\.safetensors: .* has the length "):
            create(writer, f"open_clip:tiny-clip/{tmp_path / 'w.safetensors'}")
        assert [space.name for space in writer.manifest.spaces] == ["tf_efficientnet_lite0"]
    assert check(tmp_path / "c", pictures=False) == []  # and leaves nothing behind


def test_a_resampling_that_pillow_does_not_have_is_told_as_the_tower_is_built(tiny_clip: Any, tmp_path: Path) -> None:
    shutil.copytree(tiny_clip.folder, tmp_path / "clip")
    config = tmp_path / "clip" / "open_clip_config.json"
    config.write_text(config.read_text().replace('"bicubic"', '"cubic"'))
    with pytest.raises(EncoderSpecError, match="names the interpolation 'cubic'; only nearest, box, bilinear"):
        build_tower(f"open_clip:local-dir:{tmp_path / 'clip'}")


def test_a_checkpoint_that_runs_code_is_not_run(tmp_path: Path) -> None:
    import torch

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"state_dict": Trap()}, tmp_path / "trap.pt")
    for spec in (f"timm:test_vit/{tmp_path / 'trap.pt'}", f"open_clip:ViT-S-32/{tmp_path / 'trap.pt'}"):
        with pytest.raises(EncoderError):
            build_tower(spec)
    assert not (tmp_path / "sprung").exists()


def test_architectures_that_do_not_exist_name_near_ones(timm_weights: Any, tiny_clip: Any) -> None:
    with pytest.raises(EncoderSpecError, match="timm has no model 'test_vitt'; near: test_vit"):
        build_tower(f"timm:test_vitt/{timm_weights('test_vit')}")
    with pytest.raises(EncoderSpecError, match=r"open_clip has no architecture 'ViT-B-31'; near: .*ViT-B-16"):
        build_tower(f"open_clip:ViT-B-31/{tiny_clip.pt}")


def test_a_tag_that_is_not_published_lists_those_that_are() -> None:
    with pytest.raises(WeightsNotFoundError, match=r"no weights 'laion9b' for ViT-B-32; its tags: .*laion2b_s34b_b79k"):
        build_tower("open_clip:ViT-B-32/laion9b")
    with pytest.raises(WeightsNotFoundError, match=r"no weights 'a9_in1k' for resnet18; its tags: a1_in1k, a2_in1k"):
        build_tower("timm:resnet18.a9_in1k")


def test_no_published_encoder_is_taken_for_a_misspelt_one() -> None:
    import open_clip
    import timm

    from retrieval.encoders.published import require_architecture

    names = [*timm.list_pretrained()[::9], *timm.list_models()[::9], "vit_base_patch16_224_in21k"]
    specs = [f"timm:{name}" for name in names]
    specs += [f"open_clip:{name}/{tag}" for name, tag in open_clip.list_pretrained()][::3]
    assert len(specs) > 400
    for spec in [*specs, "open_clip:ViT-B-32/laion2B-s34B-b79K", "timm:hf-hub:org/name", "open_clip:hf-hub:org/name"]:
        require_architecture(parse_spec(spec))


def test_preprocessing_is_timms_own(draw: Callable[..., Image.Image]) -> None:
    import timm

    tower = build_tower(DEFAULT)
    image = draw(5, size=(300, 200))
    config = timm.data.resolve_model_data_config(tower.image_model)
    transform = timm.data.create_transform(**config | {"crop_mode": "squash", "crop_pct": 1.0})
    theirs = transform(image).permute(1, 2, 0).numpy()
    ours = tower.recipe.prepare(from_image(image)).astype(np.float32) / 255
    ours = (ours - np.array(tower.recipe.mean, np.float32)) / np.array(tower.recipe.std, np.float32)
    # These weights were trained with (x - 127) / 128, timm says (x - 127.5) / 127.5: half a grey level apart.
    assert np.abs(ours - theirs).max() < 1 / 127


def test_preprocessing_is_open_clips_own(tiny_clip: Any, draw: Callable[..., Image.Image]) -> None:
    import open_clip

    _, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tiny_clip.folder}")
    tower = build_tower(f"open_clip:local-dir:{tiny_clip.folder}", "crop")
    image = draw(5, size=(192, 128))
    theirs = transform(image).permute(1, 2, 0).numpy()
    ours = tower.recipe.prepare(from_image(image)).astype(np.float32) / 255
    ours = (ours - np.array(tower.recipe.mean, np.float32)) / np.array(tower.recipe.std, np.float32)
    assert np.abs(ours - theirs).max() <= 1.01 / 255 / min(tower.recipe.std)
