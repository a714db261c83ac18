"""The table of known checkpoints, and how an entry is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrieval.encoders import (
    EncoderSpecError,
    WeightsNotFoundError,
    known_checkpoint,
    known_checkpoints,
    parse_spec,
)


def test_every_entry_states_its_licence_and_what_it_has_seen() -> None:
    table = known_checkpoints()
    assert {
        "gastronet-5m-vits16",
        "gastronet-5m-resnet50",
        "endovit",
        "endofinder",
        "biomedclip",
        "medsiglip-448",
    } <= set(table)
    for name, known in table.items():
        assert known.title, name
        assert known.licence, name
        assert known.trained_on, name
        assert known.source.startswith("https://"), name
        assert known.seen in ("none", "HyperKvasir", "Kvasir", "possible", "unknown"), name
        assert bool(known.encoder) != bool(known.config), name


def test_every_entrys_architecture_exists() -> None:
    import timm

    for known in known_checkpoints().values():
        if known.encoder:
            family, _, architecture = known.encoder.partition(":")
            assert family == "timm"
            assert timm.is_model(architecture.partition(".")[0]), known.name
            assert timm.get_pretrained_cfg(architecture) is not None, known.name


def test_a_name_that_is_not_in_the_table_gets_near_ones() -> None:
    with pytest.raises(EncoderSpecError, match="endo-vit is not in the table of known checkpoints; near: endovit"):
        parse_spec("known:endo-vit/x.pth", existing=False)
    with pytest.raises(EncoderSpecError, match="there are gastronet-5m-vits16, "):
        known_checkpoint("zzz")


def test_nothing_is_fetched_unless_it_is_named() -> None:
    with pytest.raises(WeightsNotFoundError, match=r"fetch it from https://.*and give it as known:endovit/FILE"):
        parse_spec("known:endovit")
    spec = parse_spec("known:dinov2-vits14")
    assert (spec.family, spec.source, spec.architecture) == ("timm", "tag", "vit_small_patch14_dinov2.lvd142m")
    with pytest.raises(WeightsNotFoundError, match=r"there is no weights file /no/where\.pth"):
        parse_spec("known:endovit//no/where.pth")


def test_a_path_means_the_same_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w.pth").touch()
    monkeypatch.chdir(tmp_path)
    spec = parse_spec("known:endovit/w.pth")
    assert spec.text == f"known:endovit/{tmp_path / 'w.pth'}"
    assert spec.space == "endovit"
    assert spec == parse_spec(spec.text)
