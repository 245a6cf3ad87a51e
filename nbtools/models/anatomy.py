"""Where a network can be read: found on its graph, without weights; and the passes that read it there."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import ceil, isqrt, prod
from typing import Any

import torch
from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from nbtools.checks import reading
from nbtools.errors import InputError
from nbtools.models.architectures import assembled, check_architecture, is_sized, own_side, tracing, unknown

STAGES = ("layer1", "layer2", "layer3", "layer4")
_MOST_TOKENS = 16  # beside those of the image's places: class, distillation, registers
_WRITING = {operator.iadd, operator.isub, operator.imul, operator.itruediv}
# What libraries raise where a network and its pictures do not go together, or a graph cannot be traced.
_FAULTS = (RuntimeError, ValueError, TypeError, AssertionError, AttributeError, LookupError, NotImplementedError)
_TAKEN = {"expected": "an architecture and images that go together", "fix": "take another architecture or image size"}


@dataclass(frozen=True)
class Layout:
    """How the features of an image lie at a node.

    Attributes
    ----------
    kind : str
        ``maps`` (n, c, h, w), ``maps, channels last`` (n, h, w, c), ``tokens`` (n, t, c), of which the last h · w are
        the image's places, or ``vector`` (n, c).
    channels : int
        c, the features at each place.
    grid : (int, int) or None
        h and w; None for a vector.
    """

    kind: str
    channels: int
    grid: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)  # told apart by which it is: there is one of each
class Anatomy:
    """What a network is made of.

    Attributes
    ----------
    architecture : str
        Its name.
    image_size : int or None
        Side in pixels of the only images it takes; None where it takes any.
    blueprint : nn.Module
        The library's own network on the meta device: of shapes, without weights.
    nodes : mapping
        Every node that can be read, in the order they are computed, and its layout.
    readouts : mapping
        ``layer1`` … ``layer4``, ``pooled`` → node.
    last : str
        Its last linear layer, whose input is ``pooled``.
    """

    architecture: str
    image_size: int | None
    blueprint: nn.Module
    nodes: Mapping[str, Layout]
    readouts: Mapping[str, str]
    last: str

    def node(self, name: str) -> str:
        """Return the node of a read-out: one of the five, any node, or a module, whose last node is meant.

        Raises
        ------
        InputError
            If there is no such read-out.
        """
        within = _within(name, self.nodes)
        if name not in self.readouts and not within:
            raise unknown(f"unknown read-out of {self.architecture}", name, [*self.readouts, *self.nodes])
        return self.readouts.get(name) or within[-1]

    def trunk(self) -> nn.Module:
        """Return the network with drawn weights and without its last linear layer."""
        network = assembled(self.architecture, self.image_size)
        network.set_submodule(self.last, nn.Identity())
        return network


@cache
def anatomy_of(architecture: str, image_size: int | None = None) -> Anatomy:
    """Take a network apart.

    Parameters
    ----------
    architecture : str
        Of `architectures`.
    image_size : int, optional
        Side of its images in pixels; left out, the one its library builds it for.

    Raises
    ------
    InputError
        If there is no such network, it does not take such images, or it has no last linear layer, fewer than four
        stages, or a forward pass that torch.fx cannot follow.

    Notes
    -----
    The stages are the last nodes at each of the last four resolutions, among the nodes that all of the image's features
    pass (of a residual block its sum, nothing inside); where there are fewer resolutions, the ends of each quarter of
    the blocks. They are found at the library's own size of images, so that they are the same nodes at any other.
    """
    check_architecture(architecture)
    if image_size and not is_sized(architecture):
        anatomy = anatomy_of(architecture)
        _run(anatomy.blueprint, architecture, image_size)
        return anatomy
    # no weights are drawn on the meta device; forked all the same, as those of a seed are drawn after this
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        with reading(f"there is no {architecture} for images of {image_size} px", *_FAULTS, **_TAKEN):
            network = assembled(architecture, image_size).eval()
        side = image_size or own_side(network)
        whole = _followed(network, architecture)
        values = _run(whole, architecture, side)
    named = _named(whole.graph)
    narrows = _narrows(named, values)
    layouts = _layouts(named, values, narrows)
    last = _last_linear(architecture, network, named)
    pooled = next(name for name, node in named.items() if node is named[last].args[0])
    stages = _stages(architecture, network, narrows, layouts)
    return Anatomy(
        architecture=architecture,
        image_size=side if is_sized(architecture) else None,
        blueprint=network,
        nodes=layouts,
        readouts={**dict(zip(STAGES, stages, strict=True)), "pooled": pooled},
        last=str(named[last].target),
    )


def _run(network: nn.Module, architecture: str, side: int) -> Any:
    with reading(f"{architecture} does not take images of {side} px", *_FAULTS, **_TAKEN):
        return network(torch.empty(1, 3, side, side, device="meta"))


def _followed(network: nn.Module, architecture: str) -> fx.GraphModule:
    """Return what gives the value of every node of both passes, in training and in use, under the node's name."""
    told: dict[str, Any] = {"tracer_kwargs": tracing(architecture), "suppress_diff_warning": True}
    with reading(
        f"the forward pass of {architecture} cannot be followed",
        *_FAULTS,
        expected="one path for all images, as torch.fx can follow it",
        fix="take another architecture",
    ):
        in_training, in_use = get_graph_node_names(network, **told)
        shared = {name: name for name in reversed(in_use) if name in set(in_training)}  # looked up from the last
        return create_feature_extractor(network, shared, **told).eval()


def _named(graph: fx.Graph) -> dict[str, fx.Node]:
    """Return what a feature extractor gives: name → node, in the order they are computed."""
    (found,) = _output(graph).args
    assert isinstance(found, dict)
    return found


def _output(graph: fx.Graph) -> fx.Node:
    return next(iter(reversed(graph.nodes)))


def _layouts(named: Mapping[str, fx.Node], values: Mapping[str, Any], narrows: Collection[str]) -> dict[str, Layout]:
    """Return the layout of every node that has one; where tokens lie, the maps say that they were cut from."""
    layouts: dict[str, Layout] = {}
    places: tuple[int, int] | None = None
    for name, node in named.items():
        if node.op in ("placeholder", "get_attr") or not isinstance(values[name], Tensor):
            continue
        if layout := _layout(tuple(values[name].shape), places):
            layouts[name] = layout
            if layout.kind.startswith("maps") and name in narrows:
                places = layout.grid
    return layouts


def _layout(shape: tuple[int, ...], places: tuple[int, int] | None) -> Layout | None:
    match shape:
        case (1, channels):
            return Layout("vector", channels)
        case (1, channels, rows, columns) if rows == columns:
            return Layout("maps", channels, (rows, columns))
        case (1, rows, columns, channels) if rows == columns:
            return Layout("maps, channels last", channels, (rows, columns))
        case (1, n, channels):
            if places and 0 <= n - prod(places) <= _MOST_TOKENS:
                return Layout("tokens", channels, places)
            if isqrt(n) ** 2 == n:
                return Layout("tokens", channels, (isqrt(n), isqrt(n)))
    return None


def _narrows(named: Mapping[str, fx.Node], values: Mapping[str, Any]) -> list[str]:
    """Return the nodes that all an image's features pass: no path leads around them."""
    order = {node: n for n, node in enumerate(named.values())}
    carrying = {node for name, node in named.items() if _holds_features(values[name])}
    found, reach = [], 0  # the last node that takes anything computed so far
    for name, node in named.items():
        if node in carrying:
            found += [name] if reach <= order[node] else []
            reach = max([reach, *(order[user] for user in node.users if user in carrying)])
    return found


def _holds_features(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, (tuple, list)) and any(map(_holds_features, value)))


def _last_linear(architecture: str, network: nn.Module, named: Mapping[str, fx.Node]) -> str:
    for name, node in reversed(named.items()):
        module = network.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, nn.Linear):
            return name
        if not isinstance(module, nn.Identity):
            break
    raise InputError(
        f"{architecture} does not end in a linear layer",
        expected="logits that are a linear function of one vector, which is read as `pooled`",
        got=f"{name}: {type(module).__name__ if module else node.target}",
        fix="take another architecture",
    )


def _stages(architecture: str, network: nn.Module, narrows: list[str], layouts: Mapping[str, Layout]) -> list[str]:
    wide = [name for name in narrows if name in layouts and prod(layouts[name].grid or ()) > 1]
    resolutions: dict[int, str] = {}
    for name in wide:
        places = prod(layouts[name].grid or ())
        if not resolutions or places <= min(resolutions):  # windows in a row are no finer resolution
            resolutions[places] = name
    if len(resolutions) >= len(STAGES):
        return list(resolutions.values())[-len(STAGES) :]
    blocks = _blocks(network, wide)
    if len(blocks) < len(STAGES):
        raise InputError(
            f"{architecture} has no four stages",
            expected="four resolutions, or four blocks in a row",
            got=f"{len(resolutions)} resolutions, {len(blocks)} blocks",
            fix="take another architecture",
        )
    return [blocks[ceil(len(blocks) * n / len(STAGES)) - 1] for n in range(1, len(STAGES) + 1)]


def _blocks(network: nn.Module, nodes: list[str]) -> list[str]:
    """Return the last node of every block of the longest row of blocks."""
    rows = [
        [_within(f"{name}.{child}", nodes) for child, _ in module.named_children()]
        for name, module in network.named_modules()
        if isinstance(module, nn.Sequential | nn.ModuleList)
    ]
    longest = max((row for row in rows if all(row)), key=len, default=[])
    return [within[-1] for within in longest]


def _within(name: str, nodes: Iterable[str]) -> list[str]:
    """Return the nodes of a module, or the node of this name."""
    return [node for node in nodes if f"{node}.".startswith(f"{name}.")]


# --- passes -------------------------------------------------------------------------------------------------


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
    told: dict[str, Any] = {"tracer_kwargs": tracing(anatomy.architecture), "suppress_diff_warning": True}
    extractor = create_feature_extractor(anatomy.blueprint, {node: node for node in nodes.values()}, **told)
    by_mode = {}
    for mode in (True, False):
        graph = extractor.train(mode).graph
        found = _named(graph)
        maps = {name: _as_maps(found[node], anatomy.nodes[node], anatomy.blueprint) for name, node in nodes.items()}
        _output(graph).args = (maps,)
        by_mode[mode] = type(fx.GraphModule(extractor, graph)).forward
    return Passes(by_mode, conv_norm_pairs(graph, anatomy.blueprint))


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
