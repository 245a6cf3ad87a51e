"""A network from outside: its library's own, asked at the size it knows and by the classes of a study."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nbtools.models.architectures import assembled
from nbtools.models.networks import GuidedNet, named


class AdoptedNet(GuidedNet):
    """A network that was trained elsewhere; takes a study's pixels in [0, 1], whatever their size.

    Parameters
    ----------
    architecture : str
        As of any network.
    own_classes : sequence of str (n_own,)
        What it was trained to tell apart, in the order of its last layer.
    classes : sequence of str (n_classes,)
        What its logits stand for here: a study's classes, or its own.
    members : sequence of sequence of int (n_classes,), or None
        Which of its own classes are each of these; None: they are its own.
    side : int
        Of the square images it was trained on, in pixels.

    Notes
    -----
    Images of another size are resized within, bilinear and antialiased, so that an attack's ε is one of the study's
    pixels. The logit of a class is log Σ exp over its members' logits: softmax then sums their probabilities, among all
    members.
    """

    def __init__(
        self,
        architecture: str,
        own_classes: Sequence[str],
        classes: Sequence[str],
        members: Sequence[Sequence[int]] | None,
        side: int,
    ):
        super().__init__(architecture, own_classes, 0, image_size=side)
        self.classes, self.members, self.side = named(classes), members, side
        self.config = {
            "architecture": architecture,
            "own_classes": list(own_classes),
            "classes": list(classes),
            "members": members,
            "side": side,
        }

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels (n, 3, h, w) in [0, 1] to logits (n, n_classes)."""
        return together(super().forward(resized(x, self.side)), self.members)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Return every read-out, and ``logits``: each (n, width)."""
        found = super().features(resized(x, self.side))
        return {**found, "logits": together(found["logits"], self.members)}


def resized(x: Tensor, side: int) -> Tensor:
    """Bring pixels (n, 3, h, w) to a side, bilinear and antialiased; pixels of that side are left as they are."""
    if x.shape[-2:] == (side, side):
        return x
    return F.interpolate(x, (side, side), mode="bilinear", antialias=True, align_corners=False)


def together(logits: Tensor, members: Sequence[Sequence[int]] | None) -> Tensor:
    """Sum the probabilities of classes that go together: logits (n, n_own) → (n, n_classes)."""
    if members is None:
        return logits
    return torch.stack([logits[:, own].logsumexp(1) for own in members], dim=1)


def as_library(network: GuidedNet) -> dict[str, Tensor]:
    """Return a network's weights under the names that its library gives them, without a neural head."""
    last = network.backbone.anatomy.last
    head = {f"{last}.{name}": value for name, value in network.class_head.state_dict().items()}
    return {**network.backbone.parts.state_dict(), **head}


def whole(network: GuidedNet) -> nn.Module:
    """Return a network as its library builds it, with as many classes; without weights, on the meta device."""
    anatomy, head = network.backbone.anatomy, network.class_head
    with torch.device("meta"):
        found = assembled(anatomy.architecture, anatomy.image_size)
        found.set_submodule(anatomy.last, nn.Linear(head.in_features, head.out_features))
    return found


def take_over(network: GuidedNet, source: nn.Module) -> None:
    """Give a network the weights of a whole one, which `whole` returned and somebody filled."""
    last = network.backbone.anatomy.last
    network.class_head.load_state_dict(source.get_submodule(last).state_dict())
    source.set_submodule(last, nn.Identity())
    network.backbone.parts.load_state_dict(source.state_dict())
