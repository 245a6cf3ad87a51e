"""Attacks that are run for each ε apart, smallest first, on the images that still stand."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import foolbox as fb
import torch
from pyautoattack import AutoAttack
from torch import Tensor, nn

from nbtools.attacks.points import Attacked, Checked, carried_up, into_ball, logits_of, seeded

# Model, images, labels, ε, steps, seed → a point for each image, adversarial or not.
Find = Callable[[nn.Module, Tensor, Tensor, float, int, int], Tensor]

STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
_QUERIES_PER_STEP, _TARGETS = 50, 9  # its 5,000 queries to 100 steps


def survivors(
    find: Find,
    norm: float,
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    epsilons: Sequence[float],
    steps: int,
    seed: int,
) -> Attacked:
    """Run an attack at each ε in turn on the images that have not fallen yet."""
    points = x.repeat(len(epsilons), 1, 1, 1, 1)
    stands = logits_of(model, x).argmax(1) == labels  # clean errors need no attack
    for index, epsilon in enumerate(epsilons):
        rows = stands.nonzero().flatten()
        if not len(rows):
            break
        with seeded(x, seed + index):
            found = find(Checked(model), x[rows], labels[rows], epsilon, steps, seed + index)
        points[index, rows] = into_ball(x[rows], found.detach(), epsilon, norm)
        stands[rows] = logits_of(model, points[index, rows]).argmax(1) == labels[rows]
    return carried_up(model, labels, points)


def autoattack(
    norm: str,
    members: Sequence[str],
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    epsilon: float,
    steps: int,
    seed: int,
) -> Tensor:
    """Run members of AutoAttack in its standard settings; an image that none fools comes back clean.

    Notes
    -----
    Croce and Hein (2020), arXiv 2003.01690. With 100 steps these are the standard settings: 100 iterations of APGD and
    FAB, 5,000 queries of Square; another number of steps scales all of them. Targeted members go through 9 classes, or
    all others where there are fewer; the targeted loss of APGD compares the four largest logits, so that APGD-T is
    left out below four classes.
    """
    with torch.no_grad():
        n_classes = model(x[:1]).shape[1]
    with _quiet():
        suite = AutoAttack(model, norm=norm, eps=epsilon, device=x.device, seed=seed)
        suite.attacks_to_run = [name for name in members if name != "apgd-t" or n_classes > 3]
        for part in (suite.apgd, suite.apgd_targeted):  # its schedule, as APGD's constructor derives it from the steps
            part.n_iter, part.n_iter_2 = steps, max(int(0.22 * steps), 1)
            part.n_iter_min, part.size_decr = max(int(0.06 * steps), 1), max(int(0.03 * steps), 1)
        suite.fab.n_iter, suite.square.n_queries = steps, _QUERIES_PER_STEP * steps
        suite.apgd_targeted.n_target_classes = suite.fab.n_target_classes = min(_TARGETS, n_classes - 1)
        return suite.run_standard_evaluation(x, labels, batch_size=len(x))[0]


def noise(
    make: Callable[[int], Any], model: nn.Module, x: Tensor, labels: Tensor, epsilon: float, steps: int, seed: int
) -> Tensor:
    """Draw random points in the ball, `steps` for each image; one that fools the model is kept."""
    judge = fb.PyTorchModel(model, bounds=(0, 1), device=x.device)
    return make(steps)(judge, x, labels, epsilons=epsilon)[1]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence AutoAttack, whose remarks the audit makes with numbers, and keep its tracing to itself."""
    logger, trace = logging.getLogger("auto-attack"), sys.gettrace()
    disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = disabled
        sys.settrace(trace)
