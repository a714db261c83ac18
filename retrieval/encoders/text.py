"""Texts -> embeddings comparable with those of pictures, by the text tower of a CLIP encoder.

A tower is converted to OpenVINO when its space is made and lies next to the image tower; it loads with the first text.
"""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval.cores import available_cores
from retrieval.encoders.parsing import parse_spec
from retrieval.encoders.preprocessing import EncoderOptions
from retrieval.encoders.recipe import EncoderMismatchError, Recipe
from retrieval.encoders.runtime import (
    LEAST_COSINE,
    ConversionError,
    DamagedTowerError,
    converted_digest,
    logging_unchanged,
    openvino_runtime,
)
from retrieval.encoders.spec import EncoderSpec, NoTextTowerError
from retrieval.encoders.tokens import (
    CLIP_TOKENS,
    ClipTokenizer,
    Tokenizer,
    open_tokenizer,
    store_tokenizer,
    tokenizer_fault,
)

if TYPE_CHECKING:
    from retrieval.encoders.open_clip import TextTower

log = logging.getLogger(__name__)

TEXT_MODEL = "text.xml"
"""File of a converted text tower, in the folder of its image tower; its weights are in text.bin next to it."""
TEMPLATES = (
    "{}",
    "an image of {}.",
    "an endoscopic image of {}.",
    "a colonoscopy frame that shows {}.",
    "a gastroscopy frame that shows {}.",
    "{}, seen in the gastrointestinal tract.",
)
"""Prompts for endoscopy; the embedding of a text is the mean direction of those of its prompts."""
_CHECKED = ("an endoscopic image of a polyp.", "the z-line")
_CACHED = 256
"""Texts whose embeddings a space remembers."""


class TextEncoder:
    """The text tower of a space; loads with the first text. Safe to share between threads.

    folder: of the converted encoder. recipe: of the image tower. stored: the recipe's field `text`, see `add_text`.
    """

    def __init__(self, folder: Path, recipe: Recipe, stored: dict[str, Any]) -> None:
        self._folder = folder
        self._recipe = recipe
        self._stored = stored
        self._lock = Lock()
        self._cache: dict[str, NDArray[np.float32]] = {}

    @property
    def scale(self) -> float:
        """What cosines of a picture with texts are multiplied by before the softmax over the texts."""
        return float(self._stored["scale"])

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings (n, d) of unit length, each the mean direction over TEMPLATES."""
        with self._lock:
            for text in dict.fromkeys(texts):
                if text not in self._cache:
                    mean = self._run(self._tokens([template.format(text) for template in TEMPLATES])).mean(axis=0)
                    self._cache[text] = (mean / np.linalg.norm(mean)).astype(np.float32)
            embeddings = np.stack([self._cache[text] for text in texts])
            for text in list(self._cache)[:-_CACHED]:
                del self._cache[text]
            return embeddings

    def fault(self) -> str | None:
        """Whether the converted tower is missing or is not what was written; None where it is whole or never was."""
        if fault := tokenizer_fault(self._folder, self._stored):
            return fault
        if "converted" not in self._stored:
            return None
        try:
            digest = converted_digest(self._folder, TEXT_MODEL)
        except OSError:
            return "its converted text encoder is missing"
        return None if digest == self._stored["converted"] else "its converted text encoder is damaged"

    @cached_property
    def _tokens(self) -> Tokenizer:
        return open_tokenizer(self._folder, self._stored)

    @cached_property
    def _run(self) -> Callable[[NDArray[np.int64]], NDArray[np.float32]]:
        """Tokens (n, l) -> embeddings (n, d) of unit length, by OpenVINO or else by PyTorch.

        Raises DamagedTowerError, EncoderMismatchError for other weights under the same name.
        """
        if "converted" in self._stored and (self._folder / TEXT_MODEL).is_file():
            if converted_digest(self._folder, TEXT_MODEL) != self._stored["converted"]:
                raise DamagedTowerError(
                    f"the converted text encoder in {self._folder} is damaged; "
                    "`kvasir verify --repair` converts it anew"
                )
            return _compiled(self._folder)
        spec = parse_spec(self._recipe.spec)
        tower = load_text_tower(spec, EncoderOptions(weights_key=self._recipe.weights_key))
        if tower.digest != self._stored["weights"]:
            raise EncoderMismatchError(
                f"{self._recipe.spec} has another text encoder than the one that the space was made with"
            )
        return tower.encode


def load_text_tower(spec: EncoderSpec, options: EncoderOptions) -> TextTower:
    """The text tower that belongs to an encoder. Raises NoTextTowerError and what reading weights raises."""
    if spec.family != "open_clip":
        raise NoTextTowerError(f"{spec.text}: only encoders of open_clip have a text tower")
    from retrieval.encoders.open_clip import load_text_tower as load

    return load(spec, options)


def text_fields(spec: EncoderSpec, options: EncoderOptions, folder: Path) -> dict[str, Any]:
    """The recipe's field `text` of an encoder, its tower converted into a folder; raises NoTextTowerError.

    weights: SHA-256 of the tensors; scale: the checkpoint's; converted: SHA-256 of the files, where OpenVINO converts
    it and the embeddings stay the same.
    """
    tower = load_text_tower(spec, options)
    fields: dict[str, Any] = {
        "context_length": tower.context_length,
        "tokenizer": CLIP_TOKENS,
        "weights": tower.digest,
        "scale": tower.scale,
    }
    try:
        fields["converted"] = _convert(tower, folder, spec.text)
    except ConversionError as error:
        log.warning("%s; texts are embedded by PyTorch instead, more slowly", error)
    if tower.tokenizer is not None:
        fields |= store_tokenizer(tower.tokenizer, tower.tokenizer_settings, folder, spec.text)
    return fields


def tokens_of(tower: TextTower, texts: Sequence[str]) -> NDArray[np.int64]:
    """The tokens (n, l) of texts as the tower takes them, before its tokenizer is stored."""
    if tower.tokenizer is None:
        return ClipTokenizer(tower.context_length)(texts)
    made: NDArray[np.int64] = tower.tokenizer(list(texts)).numpy()
    return made


def _convert(tower: TextTower, folder: Path, name: str) -> str:
    import torch

    openvino = openvino_runtime()
    shape = [1, tower.context_length]
    try:
        with logging_unchanged(), torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing warns of its own future, and of shapes that are fixed here
            model = openvino.convert_model(
                tower, example_input=torch.zeros(shape, dtype=torch.int64), input=[openvino.PartialShape(shape)]
            )
        folder.mkdir(parents=True, exist_ok=True)
        openvino.save_model(model, folder / TEXT_MODEL, compress_to_fp16=False)
        given = tokens_of(tower, _CHECKED)
        cosine = float((_compiled(folder)(given) * tower.encode(given)).sum(1).min())
    except Exception as error:
        _remove(folder)
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConversionError(f"{name}: OpenVINO cannot convert its text tower ({reason})") from error
    if not cosine >= LEAST_COSINE:
        _remove(folder)
        raise ConversionError(f"{name}: OpenVINO's text tower gives other embeddings (cosine {cosine:.4f})")
    return converted_digest(folder, TEXT_MODEL)


def _remove(folder: Path) -> None:
    for path in folder.glob("text.*"):
        path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        shutil.rmtree(folder)


def _compiled(folder: Path) -> Callable[[NDArray[np.int64]], NDArray[np.float32]]:
    openvino = openvino_runtime()
    settings = {"INFERENCE_NUM_THREADS": available_cores(), "INFERENCE_PRECISION_HINT": "f32"}
    settings["ENABLE_CPU_PINNING"] = False
    try:
        model = openvino.Core().compile_model(folder / TEXT_MODEL, "CPU", settings)
    except RuntimeError as error:
        raise DamagedTowerError(f"OpenVINO cannot load the converted text encoder in {folder}") from error
    request = model.create_infer_request()

    def run(given: NDArray[np.int64]) -> NDArray[np.float32]:
        rows = [np.array(request.infer([row[None]])[0][0], np.float32) for row in given]
        return np.stack(rows)

    return run
