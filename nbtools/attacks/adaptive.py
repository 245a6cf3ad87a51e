"""An attack made for guided networks: it knows what their guides match, and holds that still or breaks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from nbtools.attacks.gradient import ClassLoss, Said, any_class, gradient_at, in_turn
from nbtools.attacks.points import Attacked, Task
from nbtools.classifiers import Classifier

HOLD, BREAK = -1.0, 1.0  # weights of the neural output's change at the first step, the class loss's being 1


def adaptive(make: Callable[[int], Any], task: Task) -> Attacked:
    """Climb the class loss while the neural output is held, then, on what still stands, while it is broken.

    Raises
    ------
    InputError
        If the network has no `matched`, or as `descend`.

    Notes
    -----
    Tramèr, Carlini, Brendel and Madry (2020, arXiv 2002.08347): an attack has to aim at what a defence is made of. A
    network may hide the class loss wherever its neural output is not that of a natural image, or rest its decision on
    that output: the first calls for points that keep it, the second for points that lose it.
    """
    return in_turn(make, [partial(_knowing, weight) for weight in (HOLD, BREAK)[: task.steps]], task)


@dataclass(frozen=True)
class _Knowing(ClassLoss):
    """The class loss, and with a weight that fades the change of what guides match (n, width).

    Notes
    -----
    A step goes along u(∇ class loss) + weight · left · u(∇ ‖m(x) − m(image)‖²). u scales an image's gradient to length
    1, so that neither drowns the other whatever the scale of logits and responses (Bryniarski et al. 2021, arXiv
    2106.15023, on summed losses); `left` falls from 1 to 0 over the steps, so that the class loss has the last word
    (Sriramanan et al. 2020, arXiv 2011.14969: the relaxation of GAMA-PGD).
    """

    neural: Tensor
    weight: float

    def of(self, rows: Tensor) -> _Knowing:
        return replace(self, labels=self.labels[rows], rivals=self.rivals[rows], neural=self.neural[rows])

    def ask(self, model: nn.Module, x: Tensor) -> Said:
        return Said(*cast(Classifier, model).matched(x))

    def uphill(self, said: Said, x: Tensor, left: float) -> Tensor:
        changed = (torch.cat(list(said.matched), dim=1) - self.neural).square().sum(1)
        aside = gradient_at(x, changed, again=True)
        return _unit(super().uphill(said, x, left)) + self.weight * left * _unit(aside)


def _knowing(weight: float, task: Task) -> _Knowing:
    with torch.no_grad():
        _, matched = cast(Classifier, task.model).matched(task.x)
    aim = any_class(task)
    return _Knowing(aim.labels, aim.rivals, torch.cat(matched, dim=1), weight)


def _unit(gradient: Tensor) -> Tensor:
    """Scale each image's gradient (n, 3, h, w) to length 1; none stays none."""
    return nn.functional.normalize(gradient.flatten(1), eps=torch.finfo(gradient.dtype).tiny).view_as(gradient)
