"""What a network takes, by its architecture alone: operations, weights, and the values it keeps for a gradient."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nbtools.models.anatomy import anatomy_of


@dataclass(frozen=True)
class Taken:
    """What a network takes for one image.

    Attributes
    ----------
    operations : int
        Floating-point operations of a forward pass.
    n_weights : int
        Trained numbers, its library's last linear layer included.
    n_values : int
        Numbers that its layers give, from the first to the last.
    """

    operations: int
    n_weights: int
    n_values: int


@cache
def taken_by(architecture: str, image_size: int) -> Taken:
    """Count what a network takes for an image (3, image_size, image_size), on the meta device: nothing is computed.

    Raises
    ------
    InputError
        As `anatomy_of`.
    """
    network = anatomy_of(architecture, image_size).blueprint
    n_values = 0

    def count(layer: nn.Module, given: Any, out: Any) -> None:
        nonlocal n_values
        n_values += sum(part.numel() for part in (out if isinstance(out, tuple) else (out,)) if part is not None)

    layers = [layer for layer in network.modules() if not list(layer.children())]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, image_size, image_size, device="meta"))
    for hook in hooks:
        hook.remove()
    return Taken(counter.get_total_flops(), sum(weights.numel() for weights in network.parameters()), n_values)
