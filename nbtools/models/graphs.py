"""A network's graph: its forward pass as torch.fx follows it, each step under the name that torchvision gives it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
import torchvision
from torch import fx, nn
from torch.overrides import TorchFunctionMode
from torchvision.models.feature_extraction import NodePathTracer

Named = Mapping[str, fx.Node]  # name → node, in the order they are computed


class Weightless(TorchFunctionMode):
    """Where a network is built with its weights on the meta device; what it counts with stays numbers."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Make tensors that hold weights without memory."""
        of_weights = func in (torch.empty, torch.zeros, torch.ones)
        return func(*args, **{**({"device": "meta"} if of_weights else {}), **(kwargs or {})})


class _Tracer(NodePathTracer):
    """torchvision's, which leaves its own blocks whole, as ``get_graph_node_names`` does; it follows buffers too."""

    proxy_buffer_attributes = True

    def __init__(self, functions: list[Any], layers: list[type[nn.Module]]):
        blocks = [kind for kind in vars(torchvision.ops).values() if isinstance(kind, type)]
        super().__init__(
            autowrap_modules=(math, torchvision.ops), autowrap_functions=functions, leaf_modules=[*blocks, *layers]
        )


def graphs_of(network: nn.Module, functions: list[Any], layers: list[type[nn.Module]]) -> dict[bool, Named]:
    """Follow a network's forward pass.

    Parameters
    ----------
    network : nn.Module
        Left in eval mode.
    functions, layers : list
        Those of its library that are left whole.

    Returns
    -------
    dict of bool → mapping of str → fx.Node
        In training (True) and in use: the steps of the graph, by their names.

    Raises
    ------
    ValueError
        If a step holds what is of this very network: a tensor that is no weight of it, or a device. torch.fx raises
        others, where the path goes by values.
    """
    named: dict[bool, Named] = {}
    for mode in (True, False):
        tracer = _Tracer(functions, layers)
        graph = tracer.trace(network.train(mode))
        for node in graph.nodes:
            _check_of_any(node, network)
        named[mode] = {name: node for node, name in tracer.node_to_qualname.items()}
    return named


def _check_of_any(node: fx.Node, network: nn.Module) -> None:
    """Raise ValueError unless a step is the same for any network of the kind, wherever it is."""
    tensors = chain(network.named_parameters(remove_duplicate=False), network.named_buffers(remove_duplicate=False))
    if node.op == "get_attr" and node.target not in dict(tensors):
        raise ValueError(f"{node.target} was computed once and for all")
    if any(isinstance(value, torch.device) for value in (*node.args, *node.kwargs.values())):
        raise ValueError(f"{node} stays on one device")


def values_of(network: nn.Module, named: Named, side: int) -> dict[str, Any]:
    """Return what each step of a network on the meta device gives for an image (1, 3, side, side): shapes alone."""
    graph = next(iter(named.values())).graph
    steps = fx.Interpreter(fx.GraphModule(network, graph), garbage_collect_values=False)
    steps.run(torch.empty(1, 3, side, side, device="meta"))
    return {name: steps.env[node] for name, node in named.items()}
