"""What timm and open_clip publish: architectures, and the tags of their weights."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from retrieval.encoders.spec import EncoderSpec, EncoderSpecError, WeightsNotFoundError


def require_architecture(spec: EncoderSpec) -> None:
    """Raise EncoderSpecError, with near names, for an architecture that its library does not have.

    A tag after timm's architecture must be a published one even where the weights are a local file: it says how
    pictures are prepared. Raises WeightsNotFoundError for one that is not.
    """
    if spec.source in ("hub", "folder") or spec.config:
        return
    if spec.family == "timm":
        _require_timm(spec)
    else:
        _require_open_clip(spec)


def _require_timm(spec: EncoderSpec) -> None:
    import timm

    name, dot, tag = spec.architecture.partition(".")
    if not timm.is_model(name):
        raise EncoderSpecError(f"{spec.text}: timm has no model '{name}'{near_names(name, timm.list_models())}")
    if dot:
        try:
            timm.get_pretrained_cfg(spec.architecture)
        except RuntimeError:
            raise _no_tag(spec, "timm", tag, name, timm_tags(name)) from None


def timm_tags(architecture: str) -> list[str]:
    """The tags of an architecture's published weights."""
    import timm

    parts = (name.partition(".") for name in timm.list_pretrained(f"{architecture}*"))
    return [tag for name, _, tag in parts if name == architecture and tag]


def _require_open_clip(spec: EncoderSpec) -> None:
    import open_clip

    name, known = spec.architecture, open_clip.list_models()
    if name not in known:
        raise EncoderSpecError(f"{spec.text}: open_clip has no architecture '{name}'{near_names(name, known)}")
    if spec.source == "tag" and not open_clip.is_pretrained_cfg(name, spec.weights):
        raise _no_tag(spec, "open_clip", spec.weights, name, open_clip.list_pretrained_tags_by_model(name))


def near_names(name: str, names: Collection[str]) -> str:
    """`; near: A, B` for a misspelt name, or nothing where no known one resembles it."""
    by_lower = {known.lower(): known for known in sorted(names)}
    near = [by_lower[match] for match in get_close_matches(name.lower(), by_lower, 5)]
    return f"; near: {', '.join(near)}" if near else ""


def _no_tag(spec: EncoderSpec, library: str, tag: str, name: str, tags: Collection[str]) -> WeightsNotFoundError:
    return WeightsNotFoundError(
        f"{spec.text}: {library} publishes no weights '{tag}' for {name}; its tags: {', '.join(sorted(tags)) or 'none'}"
    )
