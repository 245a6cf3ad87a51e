"""The passes that read a network at its read-outs: a library's own forward, followed node by node."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor, fx, nn

from nbtools.models.anatomy import Anatomy, Layout

_WRITING = {operator.iadd, operator.isub, operator.imul, operator.itruediv}


@dataclass(frozen=True)
class Passes:
    """The passes that read a trunk at some nodes, in training and in use.

    They are functions of a trunk, not parts of it: any of the same anatomy takes them, one that was folded too.

    Attributes
    ----------
    by_mode : mapping of bool → callable
        In training (True) and in use: a trunk, normalised pixels (n, 3, h, w) → maps (n, c, h, w) or, of `pooled` and
        other vectors, (n, c), by the read-outs' names.
    pairs : tuple of (str, str)
        Of the pass in use, as `conv_norm_pairs` gives them.
    """

    by_mode: Mapping[bool, Callable[[nn.Module, Tensor], dict[str, Tensor]]]
    pairs: tuple[tuple[str, str], ...]


@cache
def passes_of(anatomy: Anatomy, names: tuple[str, ...]) -> Passes:
    """Return the passes that read a network at these read-outs.

    Raises
    ------
    InputError
        If there is no such read-out.
    """
    nodes = {name: anatomy.node(name) for name in names}
    by_mode = {}
    for mode, named in anatomy.graphs.items():
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        graph.graph_copy(next(iter(named.values())).graph, copies)
        found = {name: copies[named[node]] for name, node in nodes.items()}
        maps = {name: _as_maps(found[name], anatomy.nodes[node], anatomy.blueprint) for name, node in nodes.items()}
        graph.output(maps)
        module = fx.GraphModule(anatomy.blueprint, graph)
        graph.eliminate_dead_code()
        module.recompile()
        by_mode[mode] = type(module).forward
    return Passes(by_mode, conv_norm_pairs(graph, anatomy.blueprint))  # of the last one, which is in use


def _as_maps(node: fx.Node, layout: Layout, network: nn.Module) -> fx.Node:
    """Add to a node's graph what makes maps of its value, of a copy where a later node writes into it."""
    if any(_writes(user, node, network) for user in node.users):
        node = _then(node, torch.clone)
    if layout.kind == "maps, channels last":
        return _then(node, torch.permute, (0, 3, 1, 2))
    if layout.kind == "tokens":
        return _then(node, maps_of_tokens, layout.grid)
    return node


def _then(node: fx.Node, function: Callable[..., Tensor], *more: Any) -> fx.Node:
    with node.graph.inserting_after(node):
        return node.graph.call_function(function, (node, *more))


def _writes(user: fx.Node, node: fx.Node, network: nn.Module) -> bool:
    if not user.args or user.args[0] is not node:
        return False
    if user.op == "call_module":
        return bool(getattr(network.get_submodule(str(user.target)), "inplace", False))
    name = getattr(user.target, "__name__", str(user.target))
    return bool(user.kwargs.get("inplace")) or user.target in _WRITING or (name.endswith("_") and name[0] != "_")


def maps_of_tokens(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Lay the last h · w of an image's tokens (n, t, c) out as maps (n, c, h, w); those before stand for no place."""
    return tokens[:, -prod(grid) :].transpose(1, 2).unflatten(2, grid)


def conv_norm_pairs(graph: fx.Graph, network: nn.Module) -> tuple[tuple[str, str], ...]:
    """Return a graph's convolutions whose values a batch normalisation takes and nothing else: (convolution, norm)."""
    called = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
    pairs: list[tuple[str, str]] = []
    for node in graph.nodes:
        users = list(node.users)
        if node.op == "call_module" and [user.op for user in users] == ["call_module"]:
            pairs.append((str(node.target), str(users[0].target)))
    for name in called:
        block = network.get_submodule(name)
        if isinstance(block, nn.Sequential):  # which a tracer leaves whole, as torchvision's blocks
            pairs += pairwise(f"{name}.{child}" for child, _ in block.named_children())
    return tuple(pair for pair in pairs if _folds(*pair, network) and max(called[name] for name in pair) <= 1)


def _folds(first: str, second: str, network: nn.Module) -> bool:
    conv, norm = network.get_submodule(first), network.get_submodule(second)
    return type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d and norm.track_running_stats
