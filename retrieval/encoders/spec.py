"""An encoder's name, taken apart, and what a folder of an open_clip model holds."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from retrieval.errors import EncoderError

DEFAULT = "timm:tf_efficientnet_lite0"
_FOLDER_FILES = (".safetensors", ".bin", ".pth")


class EncoderSpecError(EncoderError):
    """The text does not name an encoder."""


class WeightsNotFoundError(EncoderError):
    """The encoder has no weights here, so it could only give random numbers."""


class NoTextTowerError(EncoderError):
    """An encoder has no text tower, or one whose texts cannot be tokenised here."""


class TextsNotInstalledError(NoTextTowerError):
    """The extra `texts`, which a text tower needs, is not installed."""


@dataclass(frozen=True)
class EncoderSpec:
    """An encoder's name, taken apart.

    text: the name with local paths in full, so that it means the same from any folder
    architecture: of the library, with timm's tag where one is named
    source: where the weights are: `package` (installed with this project), `file`, `folder`, `hub` (a repository) or
        `tag` (published weights of an architecture)
    weights: the file, folder, repository or tag
    known: the name in the table of known checkpoints; config: an open_clip model configuration that stands in for a
        named architecture; both empty for other encoders
    """

    text: str
    family: Literal["timm", "open_clip"]
    architecture: str
    source: Literal["package", "file", "folder", "hub", "tag"]
    weights: str
    known: str = ""
    config: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def space(self) -> str:
        """The name of the space that this encoder makes, of letters, digits, `.`, `_` and `-`."""
        name = self.known or self.architecture
        if self.source in ("file", "tag") and not self.known:
            name += f"-{Path(self.weights).stem}"
        return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:90] or self.family

    def weights_stamp(self) -> list[list[str | int]] | None:
        """Name, size and modification time (ns) of each local weights file; None where the weights lie elsewhere.

        It shows at once whether a file may have changed; the weights themselves are identified by their digest.
        """
        if self.source not in ("file", "folder"):
            return None
        path = Path(self.weights)
        files = [path] if self.source == "file" else sorted(file for file in path.iterdir() if file.is_file())
        return [[file.name, (status := file.stat()).st_size, status.st_mtime_ns] for file in files]


def open_clip_config(file: Path, text: str) -> dict[str, Any]:
    """An open_clip_config.json: its `model_cfg`, and `preprocess_cfg` where there is one. Raises EncoderSpecError."""
    try:
        config: dict[str, Any] = json.loads(file.read_text("utf-8"))
        model = config["model_cfg"]
        if not isinstance(model["text_cfg"], dict) or not isinstance(config.get("preprocess_cfg") or {}, dict):
            raise TypeError("text_cfg or preprocess_cfg is no table")
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
