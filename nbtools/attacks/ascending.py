"""Attacks that are run for each ε apart, smallest first, on the images that still stand."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import foolbox as fb
from pyautoattack import AutoAttack
from torch import Tensor

from nbtools.attacks.points import Attacked, Task, carried_up, into_ball, seeded
from nbtools.classifiers import logits_of

Find = Callable[[Task], Tensor]  # a task of one ε → a point for each image, adversarial or not

STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
_QUERIES_PER_STEP, _TARGETS = 50, 9  # its 5,000 queries to 100 steps


def survivors(find: Find, norm: float, task: Task) -> Attacked:
    """Run an attack at each ε in turn on the images that have not fallen yet."""
    model, x, labels = task.model, task.x, task.labels
    points, stands = task.unchanged(), task.standing()
    for index, epsilon in enumerate(task.epsilons):
        rows = stands[index].nonzero().flatten()
        if not len(rows):
            break
        here = Task(model, x[rows], labels[rows], [epsilon], task.steps, task.seed + index)
        with seeded(x, here.seed):
            found = find(here)
        points[index, rows] = into_ball(x[rows], found.detach(), epsilon, norm)
        stands[index:, rows] &= logits_of(model, points[index, rows]).argmax(1) == labels[rows]
    return carried_up(task, points)


def autoattack(norm: str, members: Sequence[str], task: Task) -> Tensor:
    """Run members of AutoAttack in its standard settings; an image that none fools comes back clean.

    Notes
    -----
    Croce and Hein (2020), arXiv 2003.01690. With 100 steps these are the standard settings: 100 iterations of APGD and
    FAB, 5,000 queries of Square; another number of steps scales all of them. Targeted members go through 9 classes, or
    all others where there are fewer; the targeted loss of APGD compares the four largest logits, so that APGD-T is
    left out below four classes.
    """
    x, steps = task.x, task.steps
    n_classes = logits_of(task.model, x[:1]).shape[1]
    with _quiet():
        suite = AutoAttack(task.model, norm=norm, eps=task.epsilons[0], device=x.device, seed=task.seed)
        suite.attacks_to_run = [name for name in members if name != "apgd-t" or n_classes > 3]
        for part in (suite.apgd, suite.apgd_targeted):  # its schedule, as APGD's constructor derives it from the steps
            part.n_iter, part.n_iter_2 = steps, max(int(0.22 * steps), 1)
            part.n_iter_min, part.size_decr = max(int(0.06 * steps), 1), max(int(0.03 * steps), 1)
        suite.fab.n_iter, suite.square.n_queries = steps, _QUERIES_PER_STEP * steps
        suite.apgd_targeted.n_target_classes = suite.fab.n_target_classes = min(_TARGETS, n_classes - 1)
        return suite.run_standard_evaluation(x, task.labels, batch_size=len(x))[0]


def noise(make: Callable[[int], Any], task: Task) -> Tensor:
    """Draw random points (n, 3, h, w) in the ball, `steps` for each image; one that fools the model is kept."""
    judge = fb.PyTorchModel(task.model, bounds=(0, 1), device=task.x.device)
    return make(task.steps)(judge, task.x, task.labels, epsilons=task.epsilons[0])[1]


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
