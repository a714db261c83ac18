"""Named tensors of any training tool -> exactly those that an architecture has, or an error that lists the others.

Each way of reading the names (prefixes taken off, the architecture's own filter, a known foreign layout) is tried, and
the first in which every tensor of the architecture is filled and nothing but heads and training leftovers remains is
taken. Nothing is ever filled by halves.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from retrieval.encoders.checkpoint import State, WeightsMismatchError, rank

log = logging.getLogger(__name__)

Filter = Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]
"""Turns the names and shapes of a release into those of the architecture, such as timm's `checkpoint_filter_fn`."""

PREFIXES = (
    *("module.", "_orig_mod.", "model.", "backbone.", "encoder.", "net.", "network.", "base_model.", "_model."),
    *("teacher_backbone.", "teacher_model.", "teacher.", "target_encoder.", "ema_model.", "model_ema.", "ema."),
    *("momentum_encoder.", "base_encoder.", "student_backbone.", "student.", "online_encoder."),
    *("encoder_q.", "encoder_k.", "backbone_momentum."),
    *("visual.trunk.", "visual.", "vision_model.", "vision_tower.", "image_encoder.", "vision_encoder.", "trunk."),
    *("feature_extractor.", "vit."),
)
"""What wrappers and parent modules put before every name; averaged weights before those of a student."""
_VISUAL = ("visual.", "visual.trunk.", "vision_model.", "vision_tower.", "image_encoder.", "vision_encoder.", "trunk.")
_HEADS = re.compile(
    r"^(\w*_)?(heads?|fc|classifier|last_layer|head_dist|fc_dist|predictor|projector|prototypes?|projection_head|proj_head"
    r"|projection|mlp_head|linear|cls|clf|logits)(_\w+)?(\.|$)"
)
"""Classifiers and the heads of self-supervision, at the top of the names."""
_LEFTOVERS = re.compile(
    r"^(mask_token|masked_embed|n_averaged|decoder\w*|decode_head|auxiliary_head|criterion|\w*loss\w*"
    r"|(train|val|test)_\w+|metrics?|accuracy|acc|auroc|auc|f1\w*|precision|recall|confmat|confusion_matrix"
    r"|\w*queue\w*|lm_head|momentum_\w+|center|num_updates|decay|initted|steps?|projectors|bn|local_cls_norm)(\.|$)"
    r"|^(.*\.)?total_(ops|params)$"
)
"""Decoders of masked autoencoders, counters of averaging, losses and metrics of Lightning modules, the normalisation of
Barlow Twins' loss, and what thop counts in every module."""
_TEXT = re.compile(
    r"^(transformer|token_embedding|positional_embedding|ln_final|text_projection|logit_scale|logit_bias|text"
    r"|text_model|text_encoder|text_decoder|cls_emb|bert|embeddings_connector|text_\w+)(\.|$)"
)
_PARTNERS = re.compile(r"^(module\.|model\.)*(student|online|predictor|momentum|teacher|ema|target|base)\w*\.")
"""The other network of a pair, where one of the two is taken."""
_PLACE = re.compile(r"((?:.*\.)?)(\d+)\.")
"""A place in a Sequential, of which the heads follow the network."""
_TRANSPARENT = re.compile(r"^((module|model|net)\.)+")
"""Parent modules that say nothing of what is in them."""
_WRAPPERS = {"_module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Modules that torch.compile, Opacus, Lightning Fabric, FSDP and activation checkpointing wrap around any part of a
network; DataParallel's `module` may be a part's own name."""
_SHOWN = 6
"""Names that an error lists of each kind."""


@dataclass(frozen=True)
class Fitted:
    """Tensors in an architecture's own names.

    key: of the state in the file. notes: what was left out, taken or changed, for a person. computed: values of what
    the architecture computes itself, where the file has them.
    """

    state: dict[str, torch.Tensor]
    key: str
    notes: tuple[str, ...] = ()
    computed: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """What an architecture takes.

    shapes: of every parameter and persistent buffer; filters: ways of reading a release's names, tried in turn;
    heads: names of its classifiers; optional: tensors that it computes itself, so that they may be there or not;
    text: whether tensors of a text tower may accompany it.
    """

    shapes: Mapping[str, torch.Size]
    filters: Sequence[Filter] = ()
    heads: tuple[str, ...] = ()
    optional: frozenset[str] = frozenset()
    text: bool = False

    @cached_property
    def parts(self) -> frozenset[str]:
        """All names of modules in it."""
        return frozenset(part for name in self.shapes for part in name.split("."))


@dataclass
class _Problems:
    missing: list[str] = field(default_factory=list)
    surplus: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.missing) + len(self.surplus) + len(self.misshapen)

    def __str__(self) -> str:
        kinds = {"missing": self.missing, "surplus": self.surplus, "misshapen": self.misshapen}
        return "; ".join(f"{len(names)} {kind}: {_listed(names)}" for kind, names in kinds.items() if names)


def fit(states: Mapping[str, State], target: Target, spec: str, architecture: str, *, surplus: bool = False) -> Fitted:
    """The first of the states, in the first reading of its names, that fills the architecture exactly.

    surplus: whether tensors that the architecture does not have are left out instead of refused, as in releases that
    the library itself publishes for it. Raises WeightsMismatchError, which lists the names of the nearest reading.
    """
    nearest: tuple[int, _Problems, str] | None = None
    for key, state in states.items():
        tensors = {_without_wrappers(name, target): _single(value) for name, value in state.items()}
        best: tuple[int, Fitted] | None = None
        for reading, prefix in _readings(tensors, target):
            fitted, problems, left_out = _compare(reading, prefix, tensors, target)
            unclear = problems.surplus or not problems.count
            copies = _copies(tensors, prefix, target) if unclear else {}
            copied = [name for names in copies.values() for name in names]
            problems.surplus = [name for name in problems.surplus if name not in set(copied)]
            if surplus:
                left_out += problems.surplus
                problems.surplus = []
            if not problems.count:
                notes = _notes(key, states, left_out, prefix, tensors, fitted, sorted(copies))
                values = {n: v for n, v in reading.items() if n in target.optional}
                if best is None or _prefix_rank(prefix) < best[0]:
                    best = _prefix_rank(prefix), Fitted(fitted, key, notes, values)
                if all(best[0] <= _prefix_rank(copy) for copy in copies):
                    return best[1]
            if nearest is None or (len(fitted), -problems.count) > (nearest[0], -nearest[1].count):
                nearest = (len(fitted), problems, key)
        if best is not None:
            return best[1]
    _, problems, key = nearest or (0, _Problems(list(target.shapes)), "")
    where = f" (under '{key}')" if key else ""
    raise WeightsMismatchError(f"{spec}: these weights{where} are not of {architecture}: {problems}")


def _without_wrappers(name: str, target: Target) -> str:
    """A tensor's name without modules that are wrapped around parts and that the architecture itself does not have.

    `module` at the start stays, as a prefix like others.
    """
    parts, within = [], False
    for part in name.split("."):
        if part in target.parts or not (part in _WRAPPERS or (within and part == "module")):
            parts.append(part)
        within |= part in target.parts
    return ".".join(parts)


def _prefix_rank(prefix: str) -> int:
    """The averaged one of several networks first, a student last."""
    return rank(prefix.rstrip("."))


def _copies(tensors: dict[str, torch.Tensor], prefix: str, target: Target) -> dict[str, list[str]]:
    """Other networks of the same architecture in a state: the text before their names -> their tensors.

    One that lacks a tensor, or has one of another shape, is no copy.
    """
    network = {
        name.removeprefix(prefix): value.shape
        for name, value in tensors.items()
        if prefix and name.startswith(prefix) and not _droppable(name.removeprefix(prefix), target, "")
    }
    if not network:
        return {}
    first = next(iter(network))
    others = [
        name.removesuffix(first) for name in tensors if f".{name}".endswith(f".{first}") and name != prefix + first
    ]
    copies = {}
    for other in others:
        if all(other + name in tensors and tensors[other + name].shape == shape for name, shape in network.items()):
            inner = [name for name in tensors if name.startswith(other) and not name.startswith(prefix)]
            copies[other] = [
                name
                for name in inner
                if name.removeprefix(other) in network or _droppable(name.removeprefix(other), target, "")
            ]
    return copies


def _single(value: torch.Tensor) -> torch.Tensor:
    """In single precision: half precision cannot be resampled on a CPU."""
    return value.float() if value.is_floating_point() else value


def _readings(tensors: dict[str, torch.Tensor], target: Target) -> Iterator[tuple[dict[str, torch.Tensor], str]]:
    """Ways of reading names: prefixes taken off in any order, then each filter; with the prefix taken off.

    Known prefixes go before any other that a network's names may have.
    """
    waiting: list[tuple[dict[str, torch.Tensor], str]] = [(tensors, "")]
    seen = {""}
    while waiting:
        state, prefix = waiting.pop(0)
        yield from _filtered(state, prefix, target)
        if prefix.count(".") > 5:
            continue
        for one in PREFIXES:
            if prefix + one not in seen and any(name.startswith(one) for name in state):
                seen.add(prefix + one)
                waiting.append((_under(one, state), prefix + one))
    for prefix in _other_prefixes(tensors, target):
        if prefix not in seen:
            yield from _filtered(_under(prefix, tensors), prefix, target)


def _filtered(
    state: dict[str, torch.Tensor], prefix: str, target: Target
) -> Iterator[tuple[dict[str, torch.Tensor], str]]:
    """A state as it is, then by each of the architecture's filters."""
    yield state, prefix
    for convert in target.filters:
        try:
            converted = convert(dict(state))
        except MemoryError:
            raise
        except Exception:  # made for another layout, it raises anything
            log.debug("%s does not read names such as %s", convert, next(iter(state)), exc_info=True)
        else:
            if converted:
                yield converted, prefix


def _under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _other_prefixes(tensors: Mapping[str, torch.Tensor], target: Target) -> list[str]:
    """What stands before most of the architecture's own names, such as `0.` of a Sequential or an attribute's name."""
    first, half = next(iter(target.shapes)), len(target.shapes) / 2
    prefixes = [name.removesuffix(first) for name in tensors if name.endswith(f".{first}")]
    return [prefix for prefix in prefixes if sum(prefix + name in tensors for name in target.shapes) > half]


def _compare(
    reading: dict[str, torch.Tensor], prefix: str, tensors: dict[str, torch.Tensor], target: Target
) -> tuple[dict[str, torch.Tensor], _Problems, list[str]]:
    """What fits of a reading, what does not, and the names that are left out rightly."""
    problems = _Problems()
    fitted: dict[str, torch.Tensor] = {}
    left_out: list[str] = []
    for name, value in reading.items():
        if name not in target.shapes:
            known = name in target.optional or _droppable(name, target, prefix)
            (left_out if known else problems.surplus).append(name)
        elif value.shape != target.shapes[name]:
            problems.misshapen.append(f"{name} {tuple(value.shape)} instead of {tuple(target.shapes[name])}")
        else:
            fitted[name] = value
    problems.missing = [
        name
        for name in target.shapes
        if name not in reading and not name.endswith("num_batches_tracked") and name not in target.optional
    ]
    for name in tensors:  # what the prefix does not stand before
        if prefix and not name.startswith(prefix):
            known = _droppable(name, target, prefix)
            (left_out if known else problems.surplus).append(name)
    return fitted, problems, left_out


def _droppable(name: str, target: Target, prefix: str) -> bool:
    """Whether a tensor is a head, a decoder, a counter, a loss, a text tower, or the other network of a pair."""
    bare = _TRANSPARENT.sub("", name)
    if _HEADS.match(bare) or _LEFTOVERS.match(bare):
        return True
    if any(bare == head or bare.startswith(f"{head}.") for head in target.heads):
        return True
    if (target.text or prefix.endswith(_VISUAL)) and _TEXT.match(bare):
        return True
    if (place := _PLACE.fullmatch(prefix)) and (later := re.match(rf"{re.escape(place[1])}(\d+)\.", name)):
        return int(later[1]) > int(place[2])
    paired = _PARTNERS.match(prefix)
    return bool(paired) and bool(_PARTNERS.match(name))


def _notes(
    key: str,
    states: Mapping[str, State],
    left_out: Sequence[str],
    prefix: str,
    tensors: dict[str, torch.Tensor],
    fitted: dict[str, torch.Tensor],
    copies: Sequence[str],
) -> tuple[str, ...]:
    notes = []
    others = [name or "the file itself" for name in states if name != key]
    if key and others:
        notes.append(f"weights taken from '{key}', not from {', '.join(others)}")
    elif key:
        notes.append(f"weights taken from '{key}'")
    if copies:
        rest = ", ".join(copy.rstrip(".") or "the others" for copy in copies)
        notes.append(f"weights of '{prefix.rstrip('.')}' taken, not of {rest}")
    elif _PARTNERS.match(prefix):
        notes.append(f"weights of '{prefix.rstrip('.')}' taken")
    heads = sorted({_TRANSPARENT.sub("", name).split(".")[0] for name in left_out})
    if heads:
        notes.append(f"left out: {_listed(heads)}")
    before = {name.removeprefix(prefix): value.shape for name, value in tensors.items()}
    notes += [
        f"{name} resampled from {tuple(before[name])} to {tuple(value.shape)}"
        for name, value in fitted.items()
        if name.rpartition(".")[2] in ("pos_embed", "positional_embedding")
        and before.get(name, value.shape) != value.shape
    ]
    return tuple(notes)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def target_of(model: torch.nn.Module, **options: Any) -> Target:
    """What a model takes; what it computes itself (its buffers that are not stored) may be there or not."""
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    computed = frozenset(name for name, _ in model.named_buffers() if name not in shapes)
    return Target(shapes, optional=computed, **options)


def weights_digest(state: Iterable[tuple[str, torch.Tensor]]) -> str:
    """SHA-256 of named tensors, the same for one set of weights whatever file it came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
