from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retrieval.collection import Collection
from retrieval.encoders import (
    DEFAULT,
    EncoderSpecError,
    OpenVinoEncoder,
    TorchEncoder,
    WeightsNotFoundError,
    build_tower,
    convert,
)
from retrieval.encoders.tower import Tower, WeightsMismatchError
from retrieval.errors import EncoderError
from retrieval.images import from_image
from retrieval.search import load_encoder


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
    assert (tower.recipe.dimension, tower.recipe.size, tower.recipe.fit) == (1280, (224, 224), "squash")
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
        with pytest.raises(WeightsMismatchError):
            build_tower(spec)


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
    from retrieval.encoders.open_clip import load_image_model
    from retrieval.encoders.spec import parse_spec

    with pytest.raises(WeightsNotFoundError, match=r"no weights 'laion9b' for ViT-B-32; its tags: .*laion2b_s34b_b79k"):
        load_image_model(parse_spec("open_clip:ViT-B-32/laion9b"))


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
