"""A weights file -> named tensors that an architecture takes, or an error that says why not."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten
from typing import Any

import torch

from retrieval.encoders.spec import EncoderSpec
from retrieval.errors import EncoderError


class WeightsMismatchError(EncoderError):
    """A weights file does not belong to the architecture."""


def read_weights(path: Path, spec: EncoderSpec) -> dict[str, torch.Tensor]:
    """Named tensors of a .safetensors file or a PyTorch checkpoint; code in a checkpoint is never run."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # PyTorch's own words advise to run the checkpoint's code, which nobody should who got the file from elsewhere.
        reason = (
            error.strerror if isinstance(error, OSError) and error.strerror else "damaged, cut short or another thing"
        )
        raise WeightsMismatchError(
            f"{spec.text}: {path} cannot be read as weights ({reason}); give a .safetensors file, or a PyTorch "
            "checkpoint of plain tensors only, since no code of a checkpoint is run"
        ) from error
    for wrapper in ("state_dict_ema", "state_dict", "model_ema", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
            break
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsMismatchError(f"{spec.text}: {path} holds no named tensors")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def load_strictly(model: torch.nn.Module, state: dict[str, torch.Tensor], spec: EncoderSpec) -> None:
    """Load weights; a missing, surplus or misshapen tensor is an error that names the first ones."""
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise mismatch(spec, error) from error


def mismatch(spec: EncoderSpec, error: Exception) -> WeightsMismatchError:
    """What to tell where PyTorch refuses weights: its first line names the class, the second the first tensors."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    first = shorten(lines[min(1, len(lines) - 1)], 300, placeholder=" …")
    return WeightsMismatchError(f"{spec.text}: these weights are not of {spec.architecture}: {first}")
