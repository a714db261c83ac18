from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval.encoders import (
    EncoderMismatchError,
    EncoderSpecError,
    Recipe,
    WeightsNotFoundError,
    build_tower,
    parse_spec,
)
from retrieval.images import from_image

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "endo.v2.safetensors"
    path.write_bytes(b"")
    return path


def test_the_default_takes_its_weights_from_the_package() -> None:
    spec = parse_spec("timm:tf_efficientnet_lite0")
    assert (spec.family, spec.architecture, spec.source) == ("timm", "tf_efficientnet_lite0", "package")
    assert spec.space == "tf_efficientnet_lite0"


@pytest.mark.parametrize(
    ("text", "family", "architecture", "source", "where", "space"),
    [
        ("timm:resnet18.a1_in1k", "timm", "resnet18.a1_in1k", "tag", "resnet18.a1_in1k", None),
        ("timm:hf-hub:org/endo", "timm", "endo", "hub", "hf-hub:org/endo", "endo"),
        ("open_clip:ViT-B-32/laion2b_s34b_b79k", "open_clip", "ViT-B-32", "tag", "laion2b_s34b_b79k", None),
        (
            "open_clip:hf-hub:microsoft/BiomedCLIP",
            "open_clip",
            "BiomedCLIP",
            "hub",
            "microsoft/BiomedCLIP",
            "BiomedCLIP",
        ),
    ],
)
def test_published_weights(
    text: str, family: str, architecture: str, source: str, where: str, space: str | None
) -> None:
    spec = parse_spec(text)
    assert (spec.family, spec.architecture, spec.source, spec.weights) == (family, architecture, source, where)
    assert space is None or spec.space == space


def test_local_files_and_folders(weights: Path, tmp_path: Path) -> None:
    for text in (f"timm:resnet18/{weights}", f"open_clip:ViT-B-32/{weights}"):
        spec = parse_spec(text)
        assert (spec.source, spec.weights) == ("file", str(weights))
        assert spec.space.endswith("-endo.v2")
    folder = tmp_path / "my clip"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text('{"model_cfg": {"text_cfg": {}}}')
    (folder / "open_clip_model.safetensors").touch()
    spec = parse_spec(f"open_clip:local-dir:{folder}")
    assert (spec.source, spec.weights, spec.space) == ("folder", str(folder), "my-clip")


def test_a_local_path_means_the_same_from_any_folder(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_spec(f"timm:resnet18/{weights.name}") == parse_spec(f"timm:resnet18/{weights}")
    assert parse_spec(f"open_clip:ViT-B-32/./{weights.name}").text == f"open_clip:ViT-B-32/{weights}"


def test_the_stamp_of_local_weights_changes_with_the_file(weights: Path) -> None:
    spec = parse_spec(f"timm:resnet18/{weights}")
    before = spec.weights_stamp()
    assert before == spec.weights_stamp()
    weights.write_bytes(b"other")
    assert spec.weights_stamp() != before
    assert parse_spec("timm:resnet18.a1_in1k").weights_stamp() is None


@pytest.mark.parametrize(
    "text", ["", "resnet18", "timm", "timm:", "keras:resnet", ":x", "open_clip:", "open_clip:hf-hub:no-organisation"]
)
def test_what_names_no_encoder_is_told_how_to_write_one(text: str) -> None:
    with pytest.raises(EncoderSpecError, match="does not name"):
        parse_spec(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("open_clip:ViT-B-32", r"random numbers; write open_clip:ViT-B-32/TAG or open_clip:ViT-B-32/FILE"),
        ("open_clip:ViT-B-32/", "random numbers"),
        ("open_clip:ViT-B-32//no/where.pt", "there is no weights file /no/where.pt"),
        ("timm:resnet18//no/where.safetensors", "there is no weights file /no/where.safetensors"),
        ("open_clip:local-dir:/no/where", "not a folder with an open_clip_config.json"),
    ],
)
def test_missing_weights_say_how_to_supply_them(text: str, message: str) -> None:
    with pytest.raises(WeightsNotFoundError, match=message):
        parse_spec(text)


def test_a_folder_without_weights_or_with_a_damaged_configuration_is_told_as_its_name_is_read(tmp_path: Path) -> None:
    config = tmp_path / "open_clip_config.json"
    for text in ("{", "[]", "{}", '{"model_cfg": {"text_cfg": 3}}', "\0\xff"):
        config.write_text(text, "latin-1")
        with pytest.raises(EncoderSpecError, match=f"{config} does not describe an open_clip model"):
            parse_spec(f"open_clip:local-dir:{tmp_path}")
    config.write_text('{"model_cfg": {"text_cfg": {}}}')
    with pytest.raises(WeightsNotFoundError, match=r"has no weights; put an open_clip_model\.safetensors there"):
        parse_spec(f"open_clip:local-dir:{tmp_path}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "instead"),
    [
        ("timm:resnet18", "give them as timm:resnet18/FILE.safetensors"),
        ("open_clip:ViT-B-32/openai", "give them as open_clip:ViT-B-32/FILE.safetensors"),
        ("open_clip:hf-hub:org/name", "open_clip:local-dir:DIR"),
        ("open_clip:ViT-B-32", "open_clip:ViT-B-32/FILE.safetensors"),
    ],
)
@pytest.mark.parametrize("cached", [None, "models--google-bert--bert-base-uncased"])
def test_offline_missing_weights_are_told_within_seconds(
    spec: str, instead: str, cached: str | None, tmp_path: Path
) -> None:
    if cached is not None:
        snapshot = tmp_path / "hub" / cached / "snapshots" / "0123"
        snapshot.mkdir(parents=True)
        (snapshot / "model.safetensors").write_bytes(b"another model")
    script = f"""
from retrieval.spaces.encoder import create
from retrieval.collection import CollectionWriter
from retrieval.encoders import WeightsNotFoundError
try:
    with CollectionWriter({str(tmp_path / "c")!r}, create=True) as writer:
        create(writer, {spec!r})
except WeightsNotFoundError as error:
    print(error)
"""
    # An address that no packet comes back from: the slowest way of being offline.
    offline = {"HF_ENDPOINT": "http://192.0.2.1", "HF_HOME": str(tmp_path)}
    told = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | offline,
        timeout=40,  # seven seconds on an idle machine: half of them loading timm, half waiting for the network
        check=True,
    )
    assert instead in told.stdout


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("timm:nonexistent", "timm has no model 'nonexistent'"),
        ("timm:resnet19", "timm has no model 'resnet19'; near: resnet18, "),
        ("timm:resnet18.nosuch", "timm publishes no weights 'nosuch' for resnet18; its tags: a1_in1k, "),
        ("open_clip:NoArch/openai", "open_clip has no architecture 'NoArch'"),
        ("open_clip:vit-b-32/openai", "open_clip has no architecture 'vit-b-32'; near: ViT-B-32, "),
        ("open_clip:ViT-B-32/nosuchtag", "open_clip publishes no weights 'nosuchtag' for ViT-B-32; its tags: "),
        ("open_clip:EVA01-g-14/openai", "for EVA01-g-14; its tags: laion400m_s11b_b41k"),
    ],
)
def test_a_misspelt_encoder_is_told_before_any_network_is_asked(
    spec: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://no.such.host.invalid")
    with pytest.raises((EncoderSpecError, WeightsNotFoundError), match=message) as told:
        build_tower(spec)
    assert "cannot be reached" not in str(told.value)


RECIPE = Recipe("spec", "weights", 3, (40, 20), (0.5,) * 3, (0.5,) * 3, "bilinear", "squash", "lib 1")


def test_a_recipe_survives_json() -> None:
    import json

    assert Recipe.from_dict(json.loads(json.dumps(RECIPE.to_dict()))) == RECIPE


def test_recipes_that_give_other_vectors_are_told_apart_by_what_differs() -> None:
    from dataclasses import replace

    RECIPE.require(replace(RECIPE, spec="the same weights elsewhere", library="lib 2"))
    with pytest.raises(EncoderMismatchError, match=r"weights other instead of weights; fit pad instead of squash"):
        RECIPE.require(replace(RECIPE, fit="pad", weights="other"))


@pytest.mark.parametrize("fit", ["squash", "pad", "crop", "field"])
@pytest.mark.parametrize("size", [(60, 20), (20, 60), (1, 3000), (3000, 1), (40, 20)])
def test_every_fit_fills_the_input_whatever_the_frame(fit: str, size: tuple[int, int]) -> None:
    from dataclasses import replace

    picture = from_image(Image.new("RGB", size, (200, 100, 50)))
    prepared = replace(RECIPE, fit=fit).prepare(picture)  # type: ignore[arg-type]
    assert (prepared.shape, prepared.dtype) == ((20, 40, 3), np.uint8)


def test_fits_keep_stretch_or_cut_the_sides() -> None:
    from dataclasses import replace

    frame = Image.new("RGB", (80, 20), (255, 255, 255))  # a wide frame whose left quarter is black
    frame.paste((0, 0, 0), (0, 0, 20, 20))
    shares = {}
    for fit in ("squash", "pad", "crop"):
        grey = replace(RECIPE, fit=fit).prepare(from_image(frame))[..., 0]  # type: ignore[arg-type]
        shares[fit] = (grey > 128).mean()
    assert shares["squash"] == pytest.approx(0.75, abs=0.03)
    assert shares["pad"] == pytest.approx(0.375, abs=0.03)  # half of the input is the black around
    assert shares["crop"] == pytest.approx(1, abs=0.03)
