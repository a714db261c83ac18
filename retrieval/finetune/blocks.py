"""A network parted before its last blocks: the early part is frozen, so its output is computed once a picture."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import torch

from retrieval.errors import EncoderError

_NUMBERED = re.compile(r"([A-Za-z_]*?)_?\d+")
_LEAST_SHARE = 0.3
"""Share of a network's weights that lie in its chain of blocks."""


class NotTunableError(EncoderError):
    """An encoder has no chain of blocks of which the last could be trained."""


class _Skipped(torch.nn.Module):
    """Stands for an early block where its output is known; some are called with more than their input."""

    def forward(self, inputs: torch.Tensor, *more: Any, **options: Any) -> torch.Tensor:
        return inputs


class _Reached(Exception):  # noqa: N818  # no fault
    """Ends a forward pass at the first trained block."""


class Parted:
    """A network, pixels (n, 3, h, w) -> embeddings (n, d), parted before its last blocks.

    late: the trained part as a network of its own, without the early blocks. count: blocks of the chain; trained: how
    many of them are trained, with what comes after the chain.

    Raises NotTunableError.
    """

    def __init__(self, model: torch.nn.Module, blocks: int, size: tuple[int, int]) -> None:
        chain = _chain(model)
        self.count = len(chain)
        self.trained = min(blocks, len(chain))
        at = len(chain) - self.trained
        self._early = model
        self._boundary = chain[at]
        self.late = copy.deepcopy(model)
        if at:
            for parent, name in _places(self.late, _names(model, chain[:at])):
                setattr(parent, name, _Skipped())
        self._inputs: torch.Tensor | None = None
        (place,) = _places(self.late, _names(model, chain[at : at + 1]))
        getattr(*place).register_forward_pre_hook(self._replace, with_kwargs=True)
        self._dummy = torch.zeros(1, 3, size[1], size[0])
        self.late.requires_grad_(False)
        for parent, name in _places(self.late, _names(model, chain[at:])):
            getattr(parent, name).requires_grad_(True)
        for parameter in self._after(chain, model):
            parameter.requires_grad_(True)

    def _after(self, chain: list[torch.nn.Module], model: torch.nn.Module) -> Iterator[torch.nn.Parameter]:
        """Parameters of the late network that are registered after the chain: final norms, heads of pooling."""
        names = [name for name, _ in model.named_parameters()]
        blocks = tuple(f"{name}." for name in _names(model, chain))
        behind = max(at for at, name in enumerate(names) if name.startswith(blocks))
        own = dict(self.late.named_parameters())
        yield from (own[name] for name in names[behind + 1 :] if name in own)

    def early(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels (n, 3, h, w) -> the input of the first trained block."""
        inputs: list[torch.Tensor] = []

        def stop(module: torch.nn.Module, arguments: Any) -> None:
            inputs.append(arguments[0])
            raise _Reached

        handle = self._boundary.register_forward_pre_hook(stop)
        try:
            with torch.no_grad():
                self._early(pixels)
        except _Reached:
            pass
        finally:
            handle.remove()
        if not inputs:
            raise NotTunableError("its blocks run by themselves, not as a chain")
        return inputs[0]

    def embed(self, inputs: torch.Tensor) -> torch.Tensor:
        """Inputs of the first trained block -> embeddings (n, d)."""
        self._inputs = inputs
        self._dummy = self._dummy.to(inputs.device)
        embeddings: torch.Tensor = self.late(self._dummy)
        return embeddings

    def _replace(self, module: torch.nn.Module, arguments: Any, options: Any) -> Any:
        return (self._inputs, *arguments[1:]), options

    def require_same(self, pixels: torch.Tensor) -> None:
        """Raise NotTunableError unless both parts together are the network, on pixels (n, 3, h, w)."""
        self.late.eval()
        with torch.inference_mode():
            whole = self._early(pixels)
            parted = self.embed(self.early(pixels))
        if whole.shape != parted.shape or not torch.allclose(whole, parted, rtol=1e-3, atol=1e-4):
            raise NotTunableError("its last blocks take more than what those before them give")

    def state(self) -> dict[str, torch.Tensor]:
        """All named tensors of the network, with the trained ones in their places."""
        return {**self._early.state_dict(), **self.late.state_dict()}

    def to(self, device: str) -> None:
        """Move both parts."""
        self._early.to(device)
        self.late.to(device)


def _chain(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The blocks or stages that a network is made of, in order. Raises NotTunableError."""
    total = _weights(model)
    for module in model.modules():  # the outermost first
        children = [(name, child) for name, child in module.named_children() if _NUMBERED.fullmatch(name)]
        for _, group in groupby(children, key=lambda entry: _prefix(entry[0])):
            blocks = [child for _, child in group]
            if len(blocks) > 1 and sum(map(_weights, blocks)) >= _LEAST_SHARE * total:
                return blocks
    raise NotTunableError("it has no chain of blocks of which the last could be trained; give another encoder")


def _prefix(name: str) -> str:
    match = _NUMBERED.fullmatch(name)
    assert match
    return match[1]


def _weights(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _names(model: torch.nn.Module, blocks: list[torch.nn.Module]) -> list[str]:
    """Full names of modules of a network."""
    known = {id(module): name for name, module in model.named_modules()}
    return [known[id(block)] for block in blocks]


def _places(model: torch.nn.Module, names: list[str]) -> list[tuple[torch.nn.Module, str]]:
    """Parent and own name of each module."""
    return [(model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in names]
