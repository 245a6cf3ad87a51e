"""Targeted attacks: push an image towards one class, with any attack there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nbtools.attacks.interface import check_several, perturb
from nbtools.checks import check_eval, check_range
from nbtools.classifiers import Classifier


class Towards(nn.Module):
    """A network read as two classes: 0, anything else, and 1, the target.

    Fooling this one about the label 0 is to make the network say the target: any untargeted attack becomes a targeted
    one.

    Parameters
    ----------
    model : nn.Module
        Maps pixels to logits (n, n_classes); two classes or more.
    target : int
        The class to push towards.

    Notes
    -----
    The logit of "anything else" is the largest of the others, so that both networks decide alike. What an attack climbs
    is then the target's margin, z_t − max over j ≠ t of z_j (f₆ of Carlini and Wagner 2017, arXiv 1608.04644).
    """

    def __init__(self, model: nn.Module, target: int):
        super().__init__()
        self.model, self.target = Classifier(model), target
        self.training = model.training

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels (n, 3, h, w) to the two logits (n, 2)."""
        return self._two(self.model(x))

    def matched(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the two logits (n, 2) and what each guide matches (n, width)."""
        logits, values = self.model.matched(x)
        return self._two(logits), values

    def _two(self, logits: Tensor) -> Tensor:
        check_several(logits.shape[1])
        check_range("the target", self.target, 0, logits.shape[1] - 1, whole=True)
        others = torch.cat([logits[:, : self.target], logits[:, self.target + 1 :]], dim=1)
        return torch.stack([others.max(1).values, logits[:, self.target]], dim=1)


def perturb_towards(model: nn.Module, x: Tensor, target: int, epsilons: Sequence[float], **options: Any) -> Tensor:
    """Return images attacked until the model says the target.

    Parameters
    ----------
    model, x, epsilons
        As in `attacks.perturb`.
    target : int
        The class to push all images towards.
    **options
        ``attack``, ``steps``, ``seed`` of `attacks.perturb`.

    Returns
    -------
    Tensor
        As of `attacks.perturb`, shape (n_epsilons, n, 3, h, w). An image the model calls the target anyway stays as
        it is.

    Raises
    ------
    InputError
        As `attacks.perturb`, and if the target is none of the model's classes.
    """
    check_eval(model)
    labels = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    return perturb(Towards(model, target), x, labels, epsilons, **options)
