from __future__ import annotations

from collections import OrderedDict

import pytest
import timm
import torch

from retrieval.finetune.blocks import NotTunableError, Parted

CHAINS = {
    "test_resnet": "layer1 layer2 layer3 layer4",
    "test_efficientnet": "blocks",
    "test_convnext": "stages",
    "test_vit": "blocks",
    "test_nfnet": "stages",
}
"""Where a network has its chain: in a sequence, or as several of its own."""


def network(name: str) -> tuple[torch.nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=0).eval().requires_grad_(False)
    side = model.pretrained_cfg["input_size"][1]
    return model, torch.randn(2, 3, side, side)


@pytest.mark.parametrize("name", CHAINS)
def test_both_parts_together_are_the_network(name: str) -> None:
    model, pixels = network(name)
    size = (pixels.shape[3], pixels.shape[2])
    parted = Parted(model, 2, size)
    own = CHAINS[name].split()
    assert parted.count == (len(own) if len(own) > 1 else len(list(model.get_submodule(own[0]).children())))
    assert parted.trained == 2
    parted.require_same(pixels)
    with torch.no_grad():
        assert torch.allclose(parted.embed(parted.early(pixels)), model(pixels), rtol=1e-4, atol=1e-5)
    assert parted.state().keys() == model.state_dict().keys()


def test_a_step_changes_the_last_blocks_and_what_follows_them_alone() -> None:
    model, pixels = network("test_vit")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    parted = Parted(model, 1, (160, 160))
    optimiser = torch.optim.SGD([value for value in parted.late.parameters() if value.requires_grad], 0.1)
    parted.embed(parted.early(pixels)).square().sum().backward()
    optimiser.step()
    changed = {name for name, value in parted.state().items() if not torch.equal(value, before[name])}
    assert {name.partition(".")[0] for name in changed} == {"blocks", "norm"}
    assert {name.split(".")[1] for name in changed if name.startswith("blocks")} == {str(parted.count - 1)}


def test_all_blocks_can_be_trained() -> None:
    model, pixels = network("test_resnet")
    parted = Parted(model, 99, (160, 160))
    assert parted.trained == parted.count
    parted.require_same(pixels)


def test_a_network_without_a_chain_of_blocks_is_refused() -> None:
    plain = torch.nn.Sequential(OrderedDict(stem=torch.nn.Conv2d(3, 4, 3), pool=torch.nn.AdaptiveAvgPool2d(1)))
    with pytest.raises(NotTunableError, match="no chain of blocks"):
        Parted(plain, 1, (32, 32))


class _Skipping(torch.nn.Module):
    """Its last block takes the picture too, so that the first ones' output is not all that it needs."""

    def __init__(self) -> None:
        super().__init__()
        self.stage1 = torch.nn.Conv2d(3, 3, 1)
        self.stage2 = torch.nn.Conv2d(3, 3, 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return (self.stage2(self.stage1(pixels)) + pixels).mean((2, 3))


def test_a_network_whose_blocks_are_no_chain_is_refused() -> None:
    torch.manual_seed(0)
    parted = Parted(_Skipping(), 1, (8, 8))
    with pytest.raises(NotTunableError, match="take more than"):
        parted.require_same(torch.randn(2, 3, 8, 8))
