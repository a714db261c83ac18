"""What timm and open_clip publish, read from their source: to load them takes many seconds."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from retrieval.encoders.spec import EncoderSpec, EncoderSpecError, WeightsNotFoundError


def require_published(spec: EncoderSpec) -> None:
    """Raise EncoderSpecError or WeightsNotFoundError, with near names, for published weights that do not exist.

    A doubt counts as published: then the library itself is asked, or the hub.
    """
    if spec.source != "tag":
        return
    if spec.family == "timm":
        _require_timm(spec)
    else:
        _require_open_clip(spec)


def _require_timm(spec: EncoderSpec) -> None:
    sources = list(_source("timm", "models/*.py"))
    architectures = {
        name for text in sources for name in re.findall(r"^@register_model\s+def (\w+)", text, re.MULTILINE)
    }
    keys = {key for text in sources for key in re.findall(r"^\s+['\"]([\w.-]+)['\"]\s*:", text, re.MULTILINE)}
    name, dot, tag = spec.architecture.partition(".")
    if name not in architectures and name not in keys:  # the name before a deprecation is a key
        raise EncoderSpecError(f"{spec.text}: timm has no model '{name}'{near_names(name, architectures)}")
    stem = f"{name.replace('_quickgelu', '')}."  # the same weights, run with another activation
    tags = {key.removeprefix(stem) for key in keys if key.startswith(stem)}
    if dot and tags and tag not in tags:
        raise _no_tag(spec, "timm", tag, name, tags)


def _require_open_clip(spec: EncoderSpec) -> None:
    architectures = {file.stem for file in _files("open_clip", "model_configs/*.json")}
    name = spec.architecture
    if architectures and name not in architectures:
        raise EncoderSpecError(f"{spec.text}: open_clip has no architecture '{name}'{near_names(name, architectures)}")
    published = _open_clip_tags()
    tags = published.get(name, set()) or published.get(name.removesuffix("-quickgelu"), set())
    if published and spec.weights.lower().replace("-", "_") not in tags:  # as open_clip itself reads a tag
        raise _no_tag(spec, "open_clip", spec.weights, name, tags)


def _open_clip_tags() -> dict[str, set[str]]:
    """Architecture -> its tags, from the tables `_RN50 = dict(openai=…)` and `_PRETRAINED = {"RN50": _RN50, …}`."""
    tables: dict[str, set[str]] = {}
    published: dict[str, set[str]] = {}
    for text in _source("open_clip", "pretrained.py"):
        for node in ast.parse(text).body:
            if not isinstance(node, ast.Assign) or not isinstance(target := node.targets[0], ast.Name):
                continue
            if isinstance(node.value, ast.Call):
                tables[target.id] = _keywords(node.value)
            elif target.id == "_PRETRAINED" and isinstance(node.value, ast.Dict):
                for key, value in zip(node.value.keys, node.value.values, strict=True):
                    if isinstance(key, ast.Constant):
                        tags = tables.get(value.id) if isinstance(value, ast.Name) else _keywords(value)
                        published[str(key.value)] = tags or set()
    return published


def _keywords(node: ast.expr) -> set[str]:
    return {keyword.arg for keyword in node.keywords if keyword.arg} if isinstance(node, ast.Call) else set()


def near_names(name: str, names: Collection[str]) -> str:
    """`; near: A, B` for a misspelt name, or nothing where no known one resembles it."""
    by_lower = {known.lower(): known for known in sorted(names)}
    near = [by_lower[found] for found in get_close_matches(name.lower(), by_lower, 5)]
    return f"; near: {', '.join(near)}" if near else ""


def _no_tag(spec: EncoderSpec, library: str, tag: str, name: str, tags: Collection[str]) -> WeightsNotFoundError:
    return WeightsNotFoundError(
        f"{spec.text}: {library} publishes no weights '{tag}' for {name}; its tags: {', '.join(sorted(tags)) or 'none'}"
    )


def may_hold(repository: str, spec: EncoderSpec) -> bool:
    """Whether a repository (ORG/NAME) can hold an encoder's weights, told without loading timm or open_clip.

    A doubt counts as yes.
    """
    if spec.source == "hub":
        return repository == spec.weights.partition(":")[2].partition("@")[0] or repository == spec.weights
    if spec.family == "timm":
        wanted = spec.architecture.replace("_quickgelu", "")  # the same weights, run with another activation
        organisation, _, name = repository.partition("/")
        if organisation == "timm":
            return name == wanted or name.startswith(f"{wanted}.")
        return any(repository in text for text in _source("timm", "models/*.py"))
    entries = [
        entry
        for text in _source("open_clip", "pretrained.py")
        for entry in re.findall(rf"\b{re.escape(spec.weights)}\s*=\s*\w+\((.*?)\)", text, re.DOTALL)
    ]
    return not entries or any(f"{repository}/" in entry for entry in entries)


def _source(package: str, pattern: str) -> Iterator[str]:
    for file in _files(package, pattern):
        yield file.read_text("utf-8")


def _files(package: str, pattern: str) -> Iterator[Path]:
    found = find_spec(package)
    for folder in (found.submodule_search_locations or []) if found else []:
        yield from sorted(Path(folder).glob(pattern))
