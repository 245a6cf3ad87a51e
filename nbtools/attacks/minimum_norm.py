"""Minimum-norm attacks: one run of Foolbox's attack gives the whole curve."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import eagerpy as ep
import foolbox as fb
import foolbox.attacks as fa
import torch
from torch import Tensor

from nbtools.attacks.points import Attacked, Task, carried_up, into_ball, seeded, shrunk
from nbtools.classifiers import logits_of

_NOISE_DRAWS, _BLENDS = 50, 50  # of Brendel and Bethge's first try at a starting point
_HAIR = 1.0001
_OUTWARDS = 1.001  # for a point on the boundary that fools the model in one batch and, by rounding, not in another
_BEYOND = 1.05  # from the image through FMN's point: on the boundary itself rounding decides


class L2FMN(fa.L2FMNAttack):
    """Foolbox's FMN with its projection mended: 3.3.4 divides a norm by itself there, and no point ever moves."""

    def project(self, x: Any, x0: Any, epsilon: Any) -> Any:
        """Move points (n, …) into balls around x0 a hair larger than ε (n,), so that they cross a flat boundary."""
        norms = (x - x0).flatten(start=1).norms.l2(axis=-1)
        factor = ep.minimum(1, _HAIR * epsilon / ep.maximum(norms, 1e-12))
        return x0 + (x - x0) * factor.reshape((len(x), *[1] * (x.ndim - 1)))


class LinfFMN(fa.LInfFMNAttack):
    """Foolbox's FMN, whose first step onto a flat boundary would stop on it and count as no find."""

    def project(self, x: Any, x0: Any, epsilon: Any) -> Any:
        """Clip points (n, …) to a hair more than ε (n,)."""
        return super().project(x, x0, _HAIR * epsilon)


def nearest(make: Callable[[int], Any], norm: float, task: Task) -> Attacked:
    """Find each image's nearest adversarial point and cut it down to every ε.

    Notes
    -----
    An image falls at ε if the point that was found lies within ε, or if the point is still adversarial after it was
    moved into the ball: for L2 straight towards the image, for L∞ by clipping each pixel, as Foolbox does it.
    The model itself decides, in float32, about every point. The attack has ended where it found a point at all: without
    a limit there always is one.
    """
    model, x, labels = task.model, task.x, task.labels
    judge = fb.PyTorchModel(model, bounds=(0, 1), device=x.device)
    found, rows = x.clone(), task.standing()[0].nonzero().flatten()
    with seeded(x, task.seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba compiles; noise does not fool every network: both are as expected
        if len(rows):
            found[rows] = _run(make(task.steps), judge, x[rows], labels[rows])
    fell = logits_of(model, found).argmax(1) != labels
    found = torch.where(fell[:, None, None, None], found, shrunk(x, found, _OUTWARDS))
    points = torch.stack([into_ball(x, found, epsilon, norm) for epsilon in task.epsilons])
    return carried_up(task, points)._replace(ended=fell)


def _run(method: Any, judge: Any, x: Tensor, labels: Tensor) -> Tensor:
    """Run Foolbox's attack without a limit; where it finds nothing, its last point or the image itself comes back."""
    if not isinstance(method, fa.L2BrendelBethgeAttack):
        return method(judge, x, labels, epsilons=None)[0].detach()
    start = _starting_points(judge, x, labels)
    begun = (judge(start).argmax(1) != labels).nonzero().flatten()
    found = x.clone()
    if len(begun):
        found[begun] = method(judge, x[begun], labels[begun], epsilons=None, starting_points=start[begun])[0].detach()
    return found


def _starting_points(judge: Any, x: Tensor, labels: Tensor) -> Tensor:
    """Return adversarial points far from the images: blended with noise, or else what FMN finds."""
    blend = fa.LinearSearchBlendedUniformNoiseAttack(directions=_NOISE_DRAWS, steps=_BLENDS)
    start = blend.run(judge, x, labels)
    failed = (judge(start).argmax(1) == labels).nonzero().flatten()
    if len(failed):
        near = L2FMN().run(judge, x[failed], labels[failed])
        start[failed] = shrunk(x[failed], near, _BEYOND)
    return start.detach()
