"""A weights file -> the named tensors in it, under every wrapper that training tools put around them.

A file is recognised by its content: safetensors, or a PyTorch checkpoint of plain data. No code of a checkpoint is
run: PyTorch's `weights_only` loading stays on, and lets only plain data through that checkpoints carry along.
"""

from __future__ import annotations

import argparse
import collections
import errno
import json
import pathlib
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from retrieval.errors import EncoderError
from retrieval.formats import ARCHIVE, HEAD_BYTES, format_of_content
from retrieval.terminal import counted

State = Mapping[str, Any]
"""Tensors by name."""

_AVERAGED = re.compile(r"(^|_)(ema|teacher|target|momentum|averaged?|swa|shadow)(_|$)")
"""Wrappers of averaged weights, which are the better ones to embed with: EMA of any tool, a self-distillation teacher
(DINO, iBOT), the target encoder of I-JEPA and BYOL."""
_PLAIN = re.compile(
    r"^((model|net|network|module|encoder|backbone|weights|params|base|checkpoint|student|online)(_|$)|state(_dict)?$)"
    r"|state_dict$"
)
_STUDENT = re.compile(r"(^|_)(student|online)(_|$)")
_NOT_WEIGHTS = re.compile(
    r"optim|sched|scaler|(^|_)(loss|args|config|cfg|hyper|hparams|loops|metrics?|rng|amp|criterion)|^opt$"
)
_INPUT = {"interpolation", "input_size", "size", "image_size", "crop_pct", "crop_size", "resize_mode", "mode"}
"""Fields of a configuration of preprocessing."""
_WITHOUT_NAMES = (
    "the weights under '{}' are a list without names, as torch-ema writes its averages (shadow_params); to use them, "
    "save the state_dict() of the model within the library's average_parameters()"
)
CARD = "kvasir_finetune"
"""Key of the card in the metadata of a weights file that this project wrote."""
_DEPTH = 4
"""Wrappers within wrappers that are opened."""


class WeightsMismatchError(EncoderError):
    """A weights file does not belong to the architecture."""


class UnreadableWeightsError(WeightsMismatchError):
    """A file cannot be read as weights, or holds what must not be loaded; the message says what it is."""


@dataclass(frozen=True)
class Checkpoint:
    """What a weights file holds.

    states: named tensors by the key that they stand under, the preferred ones first; the key is empty where the file
    is nothing but tensors, and dotted where wrappers stand within wrappers.
    configuration: preprocessing that the file itself states, under the libraries' names (mean, std, ...).
    notes: averaged weights that cannot be used.
    card: what `kvasir finetune` states of a file that it wrote.
    """

    states: dict[str, State]
    configuration: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    card: Mapping[str, Any] = field(default_factory=dict)


def read_checkpoint(path: Path, spec: str, key: str = "") -> Checkpoint:
    """The tensors of a weights file.

    spec: the encoder's name, for messages. key: which of several states to take, as `Checkpoint.states` names them.
    Raises UnreadableWeightsError.
    """
    content, configuration, card = _content(path, spec)
    states = dict(_states(content))
    unnamed = list(_unnamed(content))
    if key:
        if key not in states:
            states |= _submodule(states, key)
        if key not in states:
            if key in unnamed:
                raise UnreadableWeightsError(f"{spec}: {path}: {_WITHOUT_NAMES.format(key)}")
            there = ", ".join(name or "(the file itself)" for name in states) or "nothing"
            raise UnreadableWeightsError(f"{spec}: {path} has no weights under '{key}'; it has: {there}")
        states, unnamed = {key: states[key]}, []
    if not states:
        what = f": {_WITHOUT_NAMES.format(unnamed[0])}" if unnamed else _keys_of(content)
        raise UnreadableWeightsError(f"{spec}: {path} holds no named tensors{what}")
    notes = tuple(f"not used: {_WITHOUT_NAMES.format(name)}" for name in unnamed)
    return Checkpoint(dict(sorted(states.items(), key=lambda item: rank(item[0]))), configuration, notes, card)


def _submodule(states: Mapping[str, State], key: str) -> dict[str, State]:
    """The tensors of one of several networks that share a state, such as `state_dict.ema_model` or `model`."""
    for outer, state in states.items():
        prefix = key.removeprefix(f"{outer}.") + "."
        if inner := {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}:
            return {key: inner}
    return {}


def _keys_of(content: Any) -> str:
    if isinstance(content, Mapping) and content:
        return f"; its keys are {', '.join(str(key) for key in list(content)[:10])}"
    if isinstance(content, list | tuple):
        return (
            f", but a {type(content).__name__} of {', '.join(type(part).__name__ for part in content[:5]) or 'nothing'}"
        )
    return f", but a {type(content).__name__}"


def rank(key: str) -> int:
    """Averaged weights first, then plain ones, then what has no known name; a student's last."""
    parts = [part for part in key.split(".") if not part.isdecimal()]  # a place in a list says nothing
    if any(_STUDENT.search(part) for part in parts):
        return 3
    if any(_AVERAGED.search(part) for part in parts):
        return 0
    return 1 if all(_PLAIN.search(part) for part in parts) else 2


def _states(content: Any, key: str = "", depth: int = 0) -> Iterator[tuple[str, State]]:
    """Every mapping of names to tensors in a checkpoint, with its key; states of optimisers are passed over."""
    import torch

    content = _named_parts(content)
    if not isinstance(content, Mapping) or depth > _DEPTH:
        return
    tensors = {name: value for name, value in content.items() if isinstance(value, torch.Tensor)}
    if tensors and all(isinstance(name, str) for name in tensors) and not _is_callback_state(key):
        yield key, tensors
    for name, value in content.items():
        if isinstance(name, str) and isinstance(value, Mapping | list | tuple) and not _NOT_WEIGHTS.search(name):
            yield from _states(value, f"{key}.{name}" if key else name, depth + 1)


def _named_parts(content: Any) -> Any:
    """A list as a mapping: pairs of name and tensor by their names, parts such as (state, epoch) by their places.

    A list of tensors alone has no names, so it stays as it is.
    """
    import torch

    if not isinstance(content, list | tuple):
        return content
    pairs = {part[0]: part[1] for part in content if _is_pair(part)}
    if pairs and all(map(_is_pair, content)):
        return pairs
    parts = {str(at): part for at, part in enumerate(content) if isinstance(part, Mapping | list | tuple)}
    return {} if any(isinstance(part, torch.Tensor) for part in content) else parts


def _is_pair(part: Any) -> bool:
    return isinstance(part, list | tuple) and len(part) == 2 and isinstance(part[0], str)


def _unnamed(content: Any, key: str = "", depth: int = 0) -> Iterator[str]:
    """Keys of lists of averaged tensors, which have lost their names."""
    import torch

    content = _named_parts(content)
    if isinstance(content, Mapping) and depth <= _DEPTH:
        for name, value in content.items():
            inner = f"{key}.{name}" if key else str(name)
            if isinstance(value, list | tuple) and value and all(isinstance(part, torch.Tensor) for part in value):
                if any(_AVERAGED.search(part) for part in inner.split(".")):
                    yield inner
            elif not _NOT_WEIGHTS.search(str(name)):
                yield from _unnamed(value, inner, depth + 1)


def _is_callback_state(key: str) -> bool:
    """Whether a state is that of a callback of Lightning, which is none of weights unless it averages them."""
    return key.startswith("callbacks") and not any(_AVERAGED.search(part) for part in key.split("."))


def _content(path: Path, spec: str) -> tuple[Any, Mapping[str, Any], Mapping[str, Any]]:
    """What a file holds as Python values, the preprocessing that it states, and its card."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise _unreadable(path, spec, error.strerror or type(error).__name__) from error
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000:
        return _safetensors(path, spec)
    if (what := _foreign(path, head)) is not None:
        raise _unreadable(path, spec, what)
    content = _pytorch(path, spec)
    return content, _configuration(content), {}


def _safetensors(path: Path, spec: str) -> tuple[Any, Mapping[str, Any], Mapping[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            content = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
    except (OSError, SafetensorError, ValueError) as error:
        raise _unreadable(path, spec, "damaged or cut short") from error
    stated: dict[str, Any] = {}
    for name, text in metadata.items():
        try:
            stated[name] = json.loads(text)
        except ValueError:
            continue  # a plain word, such as the format's name
    card = stated.pop(CARD, {})
    return content, _configuration(stated), card if isinstance(card, dict) else {}


def _configuration(content: Any) -> Mapping[str, Any]:
    """The first table with a mean in a checkpoint, such as timm's `pretrained_cfg` or open_clip's `preprocess_cfg`.

    One number alone may as well be the mean of a measure, so it counts only where a standard deviation and another
    field of the input accompany it.
    """
    content = _named_parts(content)
    if not isinstance(content, Mapping):
        return {}
    tables = [content, *(value for value in content.values() if isinstance(value, Mapping))]
    tables += [inner for table in tables[1:] for inner in table.values() if isinstance(inner, Mapping)]
    for table in tables:
        mean = table.get("mean", table.get("image_mean"))
        channels = isinstance(mean, list | tuple) and len(mean) in (1, 3)
        if channels or (isinstance(mean, int | float) and "std" in table and _INPUT.intersection(table)):
            return {str(name): value for name, value in table.items() if not hasattr(value, "shape")}
    return {}


def _foreign(path: Path, head: bytes) -> str | None:
    """What a file is that is no checkpoint at all, recognised by its first bytes; None where PyTorch is to read it."""
    if not head:
        return "it is empty"
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the file itself; `git lfs pull` fetches that"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page, as a download that needs a login leaves it"
    if head.startswith(b"\x89HDF"):
        return "it is an HDF5 file, as Keras writes them"
    if head.startswith(b"\x93NUMPY"):
        return "it is a NumPy array"
    if format_of_content(head) is ARCHIVE:
        return f"it is {ARCHIVE.noun}; unpack it and give the weights file in it"
    if not head.startswith(b"PK"):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return None
    if any("/code/" in name or name.endswith("constants.pkl") for name in names):
        return (
            "it is TorchScript, a program; where you trust it, save the weights alone: "
            "torch.save(torch.jit.load(FILE).state_dict(), NEW)"
        )
    if names and all(name.endswith(".npy") for name in names):
        return "it is a NumPy archive, as JAX code writes them"
    if not any(name.endswith("/data.pkl") for name in names):
        inside = f", the first {names[0]}" if names else ""
        return f"it is a zip of {counted(len(names), 'file')}{inside}; unpack it and give the weights file in it"
    return None


def _pytorch(path: Path, spec: str) -> Any:
    import torch

    try:
        with torch.serialization.safe_globals(_plain_data()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        blocked = _blocked(path) or re.findall(r"GLOBAL (\S+) was not an allowed global", str(error))
        if any(name.startswith(("torch.nn.", "timm.", "open_clip.", "torchvision.")) for name in blocked):
            what = (
                f"it is a whole pickled module ({', '.join(blocked[:3])}), whose code would be run; where you trust "
                "it, save the weights alone: torch.save(torch.load(FILE, weights_only=False).state_dict(), NEW)"
            )
        elif blocked:
            what = (
                f"it holds objects of {', '.join(blocked[:8])}, which are not plain data; where you trust it, save the "
                "weights alone"
            )
        elif isinstance(error, OSError) and error.strerror and error.errno != errno.EINVAL:  # of a cut zip
            what = error.strerror
        elif refused := re.search(r"(Can only|Trying to call|Tried to instantiate) [^\n]+", str(error)):
            what = f"it holds more than plain data: {refused[0]}"
        else:
            what = "damaged, cut short or another thing"
        raise _unreadable(path, spec, what) from error


def _unreadable(path: Path, spec: str, what: str) -> UnreadableWeightsError:
    return UnreadableWeightsError(
        f"{spec}: {path} cannot be read as weights ({what}); give a .safetensors file, or a PyTorch "
        "checkpoint of plain tensors only, since no code of a checkpoint is run"
    )


def _blocked(path: Path) -> list[str]:
    """The types in a checkpoint that are no plain data, by their full names."""
    import torch

    allowed = {entry[1] if isinstance(entry, tuple) else _full_name(entry) for entry in _plain_data()}
    try:
        unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # not a checkpoint, or its first pickle is cut short
        return []
    return sorted(set(unsafe) - allowed)


def _ordered(*factory: Any) -> collections.OrderedDict[Any, Any]:
    """A defaultdict without its default, which PyTorch does not fill."""
    return collections.OrderedDict()


def _listed(items: Any = (), length: int | None = None) -> list[Any]:
    """A deque as a list, which PyTorch fills."""
    return list(items)


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _plain_data() -> list[Any]:
    """Types without behaviour that checkpoints carry in addition to tensors: settings, NumPy values, paths, containers.

    Under the names of NumPy 1 and 2 alike; a path of either system is read as a pure path.
    """
    scalar = np.float64(0).__reduce__()[0]
    reconstruct = np.zeros(0).__reduce__()[0]
    allowed: list[Any] = [argparse.Namespace, np.ndarray, np.dtype]
    allowed += [(_ordered, "collections.defaultdict"), (_listed, "collections.deque")]
    allowed += [list, dict, tuple, set, frozenset, slice, range, complex, int, float, str, SimpleNamespace]
    allowed += [date, time, datetime, timedelta, timezone]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        allowed += [(scalar, f"{module}.scalar"), (reconstruct, f"{module}._reconstruct")]
    allowed += [type(np.dtype(code)) for code in "?bhilqBHILQefdgFDGUSOVMm"]
    posix, windows = pathlib.PurePosixPath, pathlib.PureWindowsPath
    for module in ("pathlib", "pathlib._local"):
        allowed += [(posix, f"{module}.PosixPath"), (posix, f"{module}.PurePosixPath")]
        allowed += [(windows, f"{module}.WindowsPath"), (windows, f"{module}.PureWindowsPath")]
    return allowed
