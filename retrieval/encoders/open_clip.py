"""CLIP encoders of the open_clip library: the image tower, which retrieval by picture needs, and the text tower."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.convert import convert_state_dict
from open_clip.model import resize_pos_embed

from retrieval.encoders.checkpoint import WeightsMismatchError, read_checkpoint
from retrieval.encoders.fitting import Filter, fit, target_of, weights_digest
from retrieval.encoders.hub import hub_file, url_file
from retrieval.encoders.image_model import ImageModel
from retrieval.encoders.known import known_checkpoint
from retrieval.encoders.preprocessing import EncoderOptions, Source, agreed, given_options, resolve, sidecars
from retrieval.encoders.spec import (
    EncoderSpec,
    EncoderSpecError,
    NoTextTowerError,
    TextsNotInstalledError,
    WeightsNotFoundError,
    folder_weights,
    open_clip_config,
)
from retrieval.encoders.tokens import INSTALL

if TYPE_CHECKING:
    from open_clip.tokenizer import HFTokenizer

_CONFIG = "open_clip_config.json"
_TOKENIZER_FILES = ("tokenizer.json", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "vocab.txt")
_TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
_NO_TEXT = {"context_length": 1, "vocab_size": 1, "width": 1, "heads": 1, "layers": 1}
"""A text tower of nothing, in place of one of hundreds of millions of weights: the two are built one by one."""
_DEFAULTS = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD, "interpolation": "bicubic"}
_CONTEXT = 77
"""open_clip's length of a text in tokens, where a configuration states none."""
_VOCABULARY = 49408
"""Tokens of CLIP's byte pair encoding."""
QUICK = "-quickgelu"
"""Ending of open_clip's names of architectures with OpenAI's activation."""


class _ImageTower(torch.nn.Module):
    def __init__(self, visual: torch.nn.Module) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        embedding = self.visual(pixels)
        # CoCa's tower gives its caption decoder's tokens as well.
        pooled: torch.Tensor = embedding[0] if isinstance(embedding, tuple) else embedding
        return pooled


class TextTower(torch.nn.Module):
    """Tokens (n, l) int64 -> embeddings (n, d) float32 of unit length. scale: of the checkpoint's cosines.

    tokenizer: None for CLIP's; tokenizer_settings: what open_clip's configuration says of it.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        context_length: int,
        scale: float,
        digest: str,
        tokenizer: HFTokenizer | None = None,
        tokenizer_settings: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.tokenizer_settings = tokenizer_settings
        self.model = model
        self.context_length = context_length
        self.scale = scale
        self.digest = digest
        self.eval().requires_grad_(False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Embed a batch."""
        embedding = self.model(tokens)
        pooled = embedding[0] if isinstance(embedding, tuple) else embedding  # CoCa gives its tokens as well
        return torch.nn.functional.normalize(pooled, dim=-1)

    def encode(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """The same for arrays."""
        with torch.inference_mode():
            embeddings: NDArray[np.float32] = self(torch.tensor(tokens)).numpy()
        return embeddings


def load_text_tower(spec: EncoderSpec, options: EncoderOptions) -> TextTower:
    """The text tower that belongs to an image tower, with its weights.

    Raises NoTextTowerError where there is none, or one whose tokenizer cannot be had, TextsNotInstalledError where
    it needs the extra `texts`, WeightsNotFoundError, WeightsMismatchError.
    """
    config, _ = _configuration(spec)
    text = config.get("text_cfg")
    if text is None:
        raise NoTextTowerError(f"{spec.text}: its configuration has no text tower")
    tokenizer = _tokenizer(spec, text)
    if text.get("hf_model_name"):
        text = text | {
            "hf_model_name": str(_text_architecture(spec, text["hf_model_name"])),
            "hf_model_pretrained": False,
        }
    quick, _ = _activation(spec, config, options)
    try:
        model = open_clip.model._build_text_tower(config["embed_dim"], text, quick)
    except Exception as error:
        raise NoTextTowerError(f"{spec.text}: open_clip cannot build its text tower ({error!r})") from error
    key = options.weights_key or (known_checkpoint(spec.known).weights_key if spec.known else "")
    checkpoint = read_checkpoint(_weights(spec), spec.text, key)
    target = target_of(model, filters=[_text_of_model])
    try:
        fitted = fit(checkpoint.states, target, spec.text, f"the text tower of {spec.architecture}", surplus=True)
    except WeightsMismatchError as error:
        raise NoTextTowerError(f"{spec.text}: its weights have no text tower ({error})") from error
    model.load_state_dict(fitted.state, strict=True)
    scales = [v for n, v in checkpoint.states[fitted.key].items() if n.rpartition(".")[2] == "logit_scale"]
    scale = float(scales[0].float().exp()) if scales else 100.0  # what CLIP's training is bounded by
    length = int(model.context_length) if tokenizer is None else tokenizer.context_length
    digest = weights_digest(model.state_dict().items())
    return TextTower(model, length, scale, digest, tokenizer, dict(text.get("tokenizer_kwargs") or {}))


def _tokenizer(spec: EncoderSpec, text: Mapping[str, Any]) -> HFTokenizer | None:
    """The tokenizer of a text tower as open_clip reads it; None for CLIP's.

    Raises NoTextTowerError, TextsNotInstalledError.
    """
    name = text.get("hf_tokenizer_name")
    if not name:
        vocabulary = text.get("vocab_size", _VOCABULARY)
        if vocabulary != _VOCABULARY or text.get("hf_model_name") or text.get("tokenizer_kwargs"):
            raise NoTextTowerError(
                f"{spec.text}: its texts need a tokenizer other than CLIP's, of {vocabulary:,} tokens, which its "
                "configuration does not name"
            )
        return None
    if text.get("tokenizer_mode"):
        raise NoTextTowerError(
            f"{spec.text}: tokens are arranged as '{text['tokenizer_mode']}', which is not supported"
        )
    if find_spec("transformers") is None:
        raise TextsNotInstalledError(
            f"{spec.text}: its texts need the tokenizer {name}; {INSTALL} and index into a new collection"
        )
    from open_clip.tokenizer import HFTokenizer

    settings = dict(text.get("tokenizer_kwargs") or {})
    try:
        return HFTokenizer(
            str(_tokenizer_folder(spec, name)), context_length=text.get("context_length", _CONTEXT), **settings
        )
    except (OSError, ValueError, ImportError, TypeError, KeyError) as error:  # whatever transformers cannot read
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise NoTextTowerError(f"{spec.text}: its tokenizer cannot be read ({reason})") from error


def _tokenizer_folder(spec: EncoderSpec, name: str) -> Path:
    """The folder of a tokenizer's files: that of local weights, else of its repository. Raises NoTextTowerError."""
    path = Path(spec.weights)
    local = {"folder": path, "file": path.parent}.get(spec.source)
    if local is not None and any((local / file).is_file() for file in _TOKENIZER_FILES):
        return local
    try:
        if spec.source == "folder":
            raise WeightsNotFoundError("open_clip reads the tokenizer of a folder from that folder alone")
        folder = hub_file(spec, name, _TOKENIZER_FILES).parent
        for file in _TOKENIZER_SETTINGS:
            with suppress(WeightsNotFoundError):  # not every tokenizer has each of them
                hub_file(spec, name, [file])
    except WeightsNotFoundError as error:
        place = (
            "the model hub cannot be reached" if local is None else f"put its tokenizer.json and settings into {local}"
        )
        raise NoTextTowerError(f"{spec.text}: the tokenizer {name} is not on this machine; {place}") from error
    return folder


def _text_architecture(spec: EncoderSpec, name: str) -> Path:
    """The folder with the config.json of a text tower of transformers. Raises NoTextTowerError."""
    if spec.source == "folder" and (Path(spec.weights) / "config.json").is_file():
        return Path(spec.weights)
    try:
        return hub_file(spec, name, ["config.json"]).parent
    except WeightsNotFoundError as error:
        place = spec.weights if spec.source == "folder" else "a folder given as open_clip:local-dir:DIR"
        raise NoTextTowerError(
            f"{spec.text}: its text tower is a {name}, whose config.json is not on this machine and the model hub "
            f"cannot be reached; put that file into {place}"
        ) from error


def _text_of_model(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The text tower of a CustomTextCLIP, whose names begin with `text.`."""
    return {name.removeprefix("text."): value for name, value in state.items() if name.startswith("text.")}


def load_image_model(spec: EncoderSpec, options: EncoderOptions) -> ImageModel:
    """The image tower with its weights and the input that they take; OpenAI's activation where the weights need it.

    open_clip only warns where weights are missing and gives random numbers; here that is an error. Raises
    WeightsNotFoundError, WeightsMismatchError, EncoderSpecError.
    """
    config, sources = _configuration(spec)
    path = _weights(spec)
    key = options.weights_key or (known_checkpoint(spec.known).weights_key if spec.known else "")
    checkpoint = read_checkpoint(path, spec.text, key)
    if spec.source == "file":
        stated = Source("from the weights file", checkpoint.configuration)
        adjacent = [] if spec.known else sidecars(path, lambda table: _describes(table, config))
        sources = [stated, *adjacent, *sources] if not spec.known else [*sources, stated]
    quick, notes = _activation(spec, config, options)
    visual = _build(spec, config, quick, options.size or _size_of(sources, spec))
    if (size := getattr(visual, "image_size", None)) is not None:
        sources.append(Source(f"of open_clip's configuration of {spec.architecture}", {"size": size}))
    preprocessing = resolve([given_options(options), *sources], spec.text)
    target = target_of(visual, filters=_filters(visual), text=True)
    fitted = fit(checkpoint.states, target, spec.text, spec.architecture, surplus=spec.source == "tag")
    visual.load_state_dict(fitted.state, strict=True)
    activation = "quick_gelu" if quick else "gelu"
    library = f"open_clip {open_clip.__version__}"
    return ImageModel(
        _ImageTower(visual), preprocessing, library, fitted, activation, (*checkpoint.notes, *notes), checkpoint.card
    )


def _configuration(spec: EncoderSpec) -> tuple[dict[str, Any], list[Source]]:
    """The model's configuration, and what is published of its preprocessing."""
    if spec.config:
        known = known_checkpoint(spec.known)
        return dict(spec.config), [Source("as its authors prepare pictures", known.preprocessing)]
    if spec.source in ("hub", "folder"):
        file = Path(spec.weights) / _CONFIG if spec.source == "folder" else hub_file(spec, spec.weights, [_CONFIG])
        table = open_clip_config(file, spec.text)
        stated = Source(f"from {_CONFIG}", table.get("preprocess_cfg") or {})
        return table["model_cfg"], [stated, Source("open_clip's default, which is OpenAI's", _DEFAULTS, assumed=True)]
    config: dict[str, Any] = open_clip.get_model_config(spec.architecture)
    if spec.source == "tag":
        tag = open_clip.get_pretrained_cfg(spec.architecture, spec.weights)
        default = Source("open_clip's default, which is OpenAI's", _DEFAULTS, assumed=True)
        return config, [Source(f"of open_clip's tag {spec.weights}", tag), default]
    return config, _published_preprocessing(spec.architecture)


def _published_preprocessing(architecture: str) -> list[Source]:
    """What all published tags of an architecture agree on, then OpenAI's values, which are only assumed."""
    tags = _tags(architecture)
    if not tags:
        place = f"open_clip's default, which is OpenAI's, since it publishes no weights of {architecture}"
        return [Source(place, _DEFAULTS, assumed=True)]
    place = f"open_clip's default, which is OpenAI's, though its tags {', '.join(tags)} differ"
    shared = Source(f"as all of open_clip's tags of {architecture} have it", agreed(tags))
    return [shared, Source(place, _DEFAULTS, assumed=True)]


def _tags(architecture: str) -> dict[str, dict[str, Any]]:
    """Published configurations of an architecture, or of its twin without the ending of OpenAI's activation."""
    for name in (architecture, architecture.removesuffix(QUICK)):
        tags = open_clip.list_pretrained_tags_by_model(name)
        if tags:
            return {tag: open_clip.get_pretrained_cfg(name, tag) for tag in tags}
    return {}


def _activation(spec: EncoderSpec, config: Mapping[str, Any], options: EncoderOptions) -> tuple[bool, tuple[str, ...]]:
    """Whether the tower runs QuickGELU, and what a person should know of it.

    A tag decides for its weights. For a file the architecture's name does, and it is said where published weights of
    the same architecture need the other activation.
    """
    own = bool(config.get("quick_gelu", False))
    if options.activation in ("gelu", "quick_gelu"):
        return options.activation == "quick_gelu", ()
    if spec.source == "tag" and options.activation != "own":
        return own or bool(open_clip.get_pretrained_cfg(spec.architecture, spec.weights).get("quick_gelu", False)), ()
    if spec.source != "file" or spec.config or own:
        return own, ()
    quick = [tag for tag, values in _tags(spec.architecture).items() if values.get("quick_gelu")]
    if not quick:
        return own, ()
    twin = spec.architecture + QUICK
    return own, (
        f"runs GELU, as {spec.architecture} says; weights that come from {', '.join(quick)} need QuickGELU: "
        f"name those open_clip:{twin}/{spec.weights}",
    )


def _weights(spec: EncoderSpec) -> Path:
    if spec.source == "file":
        return Path(spec.weights)
    if spec.source == "folder":
        return folder_weights(Path(spec.weights), spec.text)
    if spec.source == "hub":
        return hub_file(spec, spec.weights, _HUB_FILES)
    tag = open_clip.get_pretrained_cfg(spec.architecture, spec.weights)
    if tag.get("file"):
        return Path(tag["file"])
    if tag.get("hf_hub"):
        repository, _, name = tag["hf_hub"].rpartition("/")
        safe = [] if not name or name.endswith(".safetensors") else [f"{name.rpartition('.')[0]}.safetensors", name]
        return hub_file(spec, repository, safe or [name] if name else _HUB_FILES)
    if tag.get("url"):
        return url_file(spec, tag["url"])
    raise WeightsNotFoundError(f"{spec.text}: open_clip does not say where its weights are")


def _describes(table: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether a configuration in the weights' folder is of this architecture; one that names none is taken to be."""
    model = table.get("model_cfg")
    if isinstance(model, dict):
        return bool(model.get("vision_cfg") == config["vision_cfg"])
    return "architecture" not in table and "architectures" not in table


def _size_of(sources: list[Source], spec: EncoderSpec) -> tuple[int, int] | None:
    """The input that a configuration states otherwise than the architecture, as (width, height)."""
    stated = [
        source for source in sources if any(source.values.get(key) for key in ("size", "crop_size", "input_size"))
    ]
    complete = Source("", {"mean": 0.5, "std": 0.5, "interpolation": "bicubic"})
    return resolve([*stated, complete], spec.text).size if stated else None


def _build(
    spec: EncoderSpec, config: Mapping[str, Any], quick_gelu: bool, size: tuple[int, int] | None
) -> torch.nn.Module:
    """The image tower without weights; size: (width, height) where it is not the configuration's."""
    vision = dict(config.get("vision_cfg") or {})
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    elif size is not None:
        vision["image_size"] = (size[1], size[0])
    try:
        model = open_clip.CustomTextCLIP(
            embed_dim=config["embed_dim"], vision_cfg=vision, text_cfg=_NO_TEXT, quick_gelu=quick_gelu
        )
        visual: torch.nn.Module = model.visual
        if size is not None and "timm_model_name" in vision:
            model.visual.set_input_size((size[1], size[0]))
    except Exception as error:
        raise EncoderSpecError(f"{spec.text}: open_clip cannot build its image tower ({error!r})") from error
    return visual


def _filters(visual: torch.nn.Module) -> list[Filter]:
    """Ways of reading a release of the tower: other projects' layouts, another input size, timm's trunk."""
    whole = SimpleNamespace(visual=visual)

    def release(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """A whole model in open_clip's or another project's layout."""
        converted = convert_state_dict(whole, {"logit_scale": torch.ones(()), **state})
        resize_pos_embed(converted, whole)
        return {name.removeprefix("visual."): value for name, value in converted.items() if name.startswith("visual.")}

    def tower(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The image tower alone."""
        return release({f"visual.{name}": value for name, value in state.items()})

    filters: list[Filter] = [tower]
    if (trunk := getattr(visual, "trunk", None)) is not None:
        from retrieval.encoders.timm import filters_of

        filters += [_on_trunk(function) for function in filters_of(trunk)]
    return [*filters, release]


def _on_trunk(function: Filter) -> Filter:
    """A filter of timm's, applied to the trunk of a tower; its head stays as it is."""

    def convert(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        trunk = {name.removeprefix("trunk."): value for name, value in state.items() if name.startswith("trunk.")}
        rest = {name: value for name, value in state.items() if not name.startswith("trunk.")}
        return rest | {f"trunk.{name}": value for name, value in function(trunk).items()}

    return convert
