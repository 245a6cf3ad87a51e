"""Where a network can be read: found on its graph, without weights; and the passes that read it there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from math import ceil, isqrt, prod
from typing import Any

import torch
from torch import Tensor, fx, nn

from nbtools.checks import reading
from nbtools.errors import InputError
from nbtools.guides import STAGES
from nbtools.models.architectures import assembled, check_architecture, is_sized, left_whole, own_side, unknown
from nbtools.models.graphs import Named, Weightless, graphs_of, values_of

_MOST_TOKENS = 16  # beside those of the image's places: class, distillation, registers
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
    graphs : mapping of bool → mapping
        In training and in use, as `graphs_of` gives them.
    nodes : mapping
        Every node before its last linear layer that can be read, in the order they are computed, and its layout.
    readouts : mapping
        ``layer1`` … ``layer4``, ``pooled`` → node.
    last : str
        Its last linear layer, whose input is ``pooled``.
    """

    architecture: str
    image_size: int | None
    blueprint: nn.Module
    graphs: Mapping[bool, Named]
    nodes: Mapping[str, Layout]
    readouts: Mapping[str, str]
    last: str

    @property
    def biased(self) -> bool:
        """Whether its last linear layer has a bias."""
        return self.blueprint.get_submodule(self.last).bias is not None

    def node(self, name: str) -> str:
        """Return the node of a read-out: one of the five, any node, or a module, whose last node is meant.

        Raises
        ------
        InputError
            If there is no such read-out.
        """
        within = _within(name, self.nodes)
        if name not in self.readouts and not within:
            raise unknown(f"unknown read-out of {self.architecture}", name, self.nodes, self.readouts)
        return self.readouts.get(name) or within[-1]

    def trunk(self) -> nn.Module:
        """Return the network with drawn weights and without its last linear layer."""
        network = assembled(self.architecture, self.image_size)
        network.set_submodule(self.last, nn.Identity())
        network.__class__ = nn.Module  # it holds the parts, and `passes_of` the way through them
        return network


@cache
def anatomy_of(architecture: str, image_size: int | None = None) -> Anatomy:
    """Take a network apart.

    Parameters
    ----------
    architecture : str
        Of `list_architectures`.
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
        with reading(f"{architecture} does not take images of {image_size} px", Exception, **_TAKEN):
            anatomy.blueprint(torch.empty(1, 3, image_size, image_size, device="meta"))
        return anatomy
    with (
        reading(f"there is no {architecture} for images of {image_size} px", Exception, **_TAKEN),
        torch.random.fork_rng(devices=[]),  # what a seed draws comes after this
        Weightless(),
    ):
        network = assembled(architecture, image_size).to("meta")
    side = image_size or own_side(network)
    with reading(
        f"the forward pass of {architecture} cannot be followed",
        Exception,  # of many kinds, like what libraries raise of an image's size
        expected="one path for all images, as torch.fx can follow it",
        fix="take another architecture",
    ):
        graphs = graphs_of(network, *left_whole(architecture))
    with reading(f"{architecture} does not take images of {side} px", Exception, **_TAKEN):
        values = values_of(network, graphs[False], side)
    shared = {name: node for name, node in graphs[False].items() if name in graphs[True]}
    narrows = _narrows(graphs[False], values)
    layouts = _layouts(shared, values, narrows)
    last, pooled = _last_linear(architecture, network, graphs[False], layouts)
    before = {name for name, _ in takewhile(lambda item: item[1].target != last, graphs[False].items())}
    stages = _stages(architecture, network, narrows, layouts)
    return Anatomy(
        architecture=architecture,
        image_size=side if is_sized(architecture) else None,
        blueprint=network,
        graphs=graphs,
        nodes={name: layout for name, layout in layouts.items() if name in before},  # a trunk ends there
        readouts={**dict(zip(STAGES, stages, strict=True)), "pooled": pooled},
        last=last,
    )


def _layouts(named: Named, values: Mapping[str, Any], narrows: Collection[str]) -> dict[str, Layout]:
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


def _narrows(named: Named, values: Mapping[str, Any]) -> list[str]:
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


def _last_linear(architecture: str, network: nn.Module, named: Named, layouts: Mapping[str, Layout]) -> tuple[str, str]:
    """Return the module that gives the logits, and the node of the vector that it takes."""
    names = {node: name for name, node in named.items()}
    node: Any = list(names)[-1]
    while isinstance(_module(network, node), nn.Identity):
        node = node.args[0]
    taken = names.get(node.args[0], "") if isinstance(_module(network, node), nn.Linear) else ""
    if taken in layouts and layouts[taken].kind == "vector":
        return str(node.target), taken
    raise InputError(
        f"{architecture} does not end in a linear layer",
        expected="logits that are a linear function of one vector, which is read as `pooled`",
        got=f"{names[node]}, which is {_module(network, node) or 'no layer'}",
        fix="take another architecture",
    )


def _module(network: nn.Module, node: fx.Node) -> nn.Module | None:
    return network.get_submodule(str(node.target)) if node.op == "call_module" else None


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
