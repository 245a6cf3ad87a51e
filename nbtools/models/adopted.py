"""A network from outside, whole as its library has it: its weights taken over, and given back under the same names."""

from __future__ import annotations

from copy import deepcopy

from torch import Tensor, nn

from nbtools.models.networks import GuidedNet


def as_library(network: GuidedNet) -> dict[str, Tensor]:
    """Return a network's weights under the names that its library gives them, without a neural head."""
    last = network.backbone.anatomy.last
    head = {f"{last}.{name}": value for name, value in network.class_head.state_dict().items()}
    return {**network.backbone.parts.state_dict(), **head}


def whole(network: GuidedNet) -> nn.Module:
    """Return a network as its library builds it, with as many classes; without weights, on the meta device."""
    anatomy, head = network.backbone.anatomy, network.class_head
    found = deepcopy(anatomy.blueprint)
    last = nn.Linear(head.in_features, head.out_features, bias=anatomy.biased, device="meta")
    found.set_submodule(anatomy.last, last)
    return found


def take_over(network: GuidedNet, source: nn.Module) -> None:
    """Give a network the weights of a whole one, which `whole` returned and somebody filled."""
    last = network.backbone.anatomy.last
    network.class_head.load_state_dict(source.get_submodule(last).state_dict())
    source.set_submodule(last, nn.Identity())
    network.backbone.parts.load_state_dict(source.state_dict())
