"""A network of any architecture without its last layer: it owns its normalisation, and is read at named places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nbtools.errors import InputError
from nbtools.models.anatomy import Anatomy, anatomy_of
from nbtools.models.architectures import normalisation
from nbtools.models.passes import passes_of

# Side of the grid each read-out is average-pooled to, as in the authors' code.
READOUTS: dict[str, int] = {"layer1": 4, "layer2": 2, "layer3": 2, "layer4": 2, "pooled": 1}
_GRID = 2  # of maps of any other node
HEADS = ("neural", "logits")  # what a network has beside its read-outs


class Backbone(nn.Module):
    """A network without its last linear layer; takes pixels in [0, 1] and normalises them itself.

    Parameters
    ----------
    architecture : str
        Of `models.list_architectures`.
    image_size : int, optional
        Side in pixels of the images it is for: it is built for them where an architecture takes one size alone, and it
        is refused where it cannot take them. Left out, its library's.
    readouts : sequence of str
        Nodes to read beside `READOUTS`, as torchvision's ``get_graph_node_names`` gives them.

    Attributes
    ----------
    pixel_mean, pixel_sd : Tensor (3, 1, 1)
        By which pixels are normalised: those of the library's weights, until others are copied into them.
    image_size : int or None
        Of the only images it takes; None for any.

    Raises
    ------
    InputError
        If there is no such architecture or read-out, or it does not take such images; as `anatomy_of`.
    """

    pixel_mean: Tensor
    pixel_sd: Tensor

    def __init__(self, architecture: str, image_size: int | None = None, readouts: Sequence[str] = ()):
        super().__init__()
        anatomy = anatomy_of(architecture, image_size)
        self.architecture, self.image_size = architecture, anatomy.image_size
        self.readouts = tuple(READOUTS)
        self.read(readouts)
        self.parts = anatomy.trunk()
        mean, sd = normalisation(anatomy.blueprint)
        self.register_buffer("pixel_mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("pixel_sd", torch.tensor(sd).view(3, 1, 1))

    def read(self, names: Sequence[str]) -> None:
        """Read these nodes too, from now on; the network itself stays as it is.

        Raises
        ------
        InputError
            If it has no such node.
        """
        readouts = tuple(dict.fromkeys([*self.readouts, *names]))
        self.passes, self.readouts = passes_of(self.anatomy, readouts), readouts

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "passes": None}  # code, which is no data: made again where it is needed

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.passes = passes_of(self.anatomy, self.readouts)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *told: Any) -> None:
        if self.architecture == "resnet18":  # its first layers stood under other names until November 2026
            for old, new in {"stem.0": "conv1", "stem.1": "bn1"}.items():
                for name in [name for name in state_dict if name.startswith(f"{prefix}parts.{old}.")]:
                    state_dict[name.replace(old, new, 1)] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *told)

    @property
    def anatomy(self) -> Anatomy:
        """What it is made of."""
        return anatomy_of(self.architecture, self.image_size)

    @property
    def config(self) -> dict[str, Any]:
        """What it is rebuilt from, in JSON's terms; the read-outs apart."""
        return {"architecture": self.architecture, **({"image_size": self.image_size} if self.image_size else {})}

    @property
    def width(self) -> int:
        """Number of values of ``pooled``."""
        return self.readout_width("pooled")

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map pixels (n, 3, h, w) in [0, 1] to the maps of its read-outs: (n, c, h, w), or (n, c) of vectors.

        Raises
        ------
        InputError
            If it takes images of another size alone.
        """
        if self.image_size and x.shape[-2:] != (self.image_size, self.image_size):
            raise InputError(
                f"{self.architecture} was built for images of another size",
                expected=f"(n, 3, {self.image_size}, {self.image_size})",
                got=tuple(x.shape),
                fix="resize the images, or build it with their image_size",
            )
        return self.passes.by_mode[self.training](self.parts, (x - self.pixel_mean) / self.pixel_sd)

    def readout_width(self, name: str) -> int:
        """Return the number of values `readout` gives for a read-out."""
        layout = self.anatomy.nodes[self.anatomy.node(name)]
        return layout.channels * (_grid(name) ** 2 if layout.grid else 1)


def _grid(name: str) -> int:
    return READOUTS.get(name, _GRID)


def readout(maps: dict[str, Tensor], name: str) -> Tensor:
    """Pool a read-out's maps to its grid and flatten them: (n, channels · grid²); a vector stays as it is."""
    return F.adaptive_avg_pool2d(maps[name], _grid(name)).flatten(1) if maps[name].ndim == 4 else maps[name]


def check_readouts(names: Sequence[str]) -> None:
    """Raise `InputError` unless there is a read-out, and each once."""
    if not names or len(set(names)) < len(names):
        raise InputError(
            "a head has to sit on read-outs",
            expected=f"one or more, such as {', '.join(READOUTS)}, each once",
            got=", ".join(names) or "none",
            fix="correct the list",
        )


def resized(x: Tensor, side: int | None) -> Tensor:
    """Bring pixels (n, 3, h, w) to a side, bilinear and antialiased; of that side, or without one, they stay."""
    if side is None or x.shape[-2:] == (side, side):
        return x
    return F.interpolate(x, (side, side), mode="bilinear", antialias=True, align_corners=False)


def together(logits: Tensor, members: Sequence[Sequence[int]] | None) -> Tensor:
    """Sum the probabilities of classes that go together: logits (n, n_own) → (n, n_classes)."""
    if members is None:
        return logits
    return torch.stack([logits[:, own].logsumexp(1) for own in members], dim=1)


def named(classes: Sequence[str]) -> tuple[str, ...]:
    """Return a network's classes; raise `InputError` unless they are a list of different names."""
    names = tuple(classes) if isinstance(classes, (list, tuple)) else ()
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise InputError(
            "a network has to know its classes' names",
            expected="a list of different names",
            got=repr(classes)[:200],
            fix="give the classes of the images it is trained on",
        )
    return names
