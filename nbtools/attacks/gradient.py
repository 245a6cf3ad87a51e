"""Gradient attacks at fixed ε: Foolbox's steps, one sweep down over every ε."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import eagerpy as ep
import torch
from foolbox.attacks.gradient_descent_base import BaseGradientDescent
from torch import Tensor, nn
from torch.nn.functional import one_hot

from nbtools.attacks.points import Attacked, Task, carried_up, seeded, shrunk, tried_again
from nbtools.classifiers import logits_of
from nbtools.errors import InputError
from nbtools.models.networks import fold_batchnorm


def descend(make: Callable[[int], Any], patience: float, task: Task, rank: int | None = None) -> Attacked:
    """Attack at the largest ε, then at ever smaller ones.

    Parameters
    ----------
    make : callable
        Number of steps → the Foolbox attack, which gives start, step direction and projection.
    patience : float
        An image is given up as robust once the attack has failed at this many ε in a row. The balls lie inside one
        another, so failing in a larger one speaks for the smaller ones, but an attack can fail by bad luck: PGD is
        given two tries. One-step attacks fail more in larger balls, so they are run at every ε.
    task : Task
        Model, images, labels, ε, steps, seed.
    rank : int, optional
        Push each image towards this one of its other classes alone, 0 being the most probable; else towards any.

    Raises
    ------
    InputError
        If the attack takes its steps by an optimiser of its own (momentum, Adam), or of an absolute size.

    Notes
    -----
    An attack stops once it succeeds, unless the task says otherwise. Where it starts at random, an image that fell
    starts, at the next smaller ε, from the point that was found, moved into the smaller ball.
    """
    model, x, labels, epsilons = task.model, task.x, task.labels, task.epsilons
    method, fast, rivals = make(task.steps), fold_batchnorm(model), _rivals(task, rank)
    _check_steps(method)
    if not task.stops:
        return _climbed(method, fast, task, rivals)
    points, stands = task.unchanged(), task.standing()
    attacked = torch.zeros((len(epsilons), len(x)), dtype=torch.bool, device=x.device)
    failures = torch.zeros_like(labels)
    for index in reversed(range(len(epsilons))):
        attacked[index] = stands[index] & (failures < patience)
        active = attacked[index].nonzero().flatten()
        if len(active) == 0:
            continue
        start = _start(method, x, epsilons[index], task.seed + index)
        if method.random_start and index + 1 < len(epsilons):
            found = attacked[index + 1] & (failures == 0)
            start[found] = shrunk(x, points[index + 1], epsilons[index] / epsilons[index + 1])[found]
        near, own, other, start = x[active], labels[active], rivals[active], start[active]
        points[index, active], fell = _climb(method, model, fast, near, own, other, epsilons[index], start)
        failures[active] = torch.where(fell, 0, failures[active] + 1)
    for index in reversed(range(len(epsilons) - 1)):  # a failed try is shrunk into smaller balls
        skipped = ~attacked[index]
        points[index, skipped] = shrunk(x, points[index + 1], epsilons[index] / epsilons[index + 1])[skipped]
    return carried_up(task, points, None if rank is None else attacked)  # of one class's attack falls alone are kept


def towards(make: Callable[[int], Any], n_targets: int, task: Task) -> Attacked:
    """Push each image towards its most probable other classes in turn, which share the steps, until it falls.

    Returns, where it fell, the point that fools the model, elsewhere the image.

    Notes
    -----
    What is climbed is a difference of logits, z_t − z_y, the numerator of the targeted loss of APGD-T (Croce and Hein
    2020, arXiv 2003.01690, eq. 7), whose denominator does not change the direction of a step much. Each target starts
    at random, at the largest ε that an image stands at, and is given up where it fails first.
    """
    n_targets = min(n_targets, task.clean.shape[1] - 1, task.steps)
    found = Attacked(task.unchanged(), task.clean.repeat(len(task.epsilons), 1, 1), torch.ones_like(task.labels) > 0)
    for rank in range(n_targets):
        turn = replace(task, steps=task.steps // n_targets, seed=task.seed + rank * len(task.epsilons))
        found = tried_again(partial(descend, make, 1, rank=rank), turn, found)
    return found


def _rivals(task: Task, rank: int | None) -> Tensor:
    """Return the classes each image is pushed towards: all others, or the rank-th most probable, (n, n_classes)."""
    others = task.clean.scatter(1, task.labels[:, None], -torch.inf)
    if rank is None:
        return others > -torch.inf
    target = others.argsort(1, descending=True)[:, rank]
    return one_hot(target, others.shape[1]).bool()


def _climbed(method: Any, fast: nn.Module, task: Task, rivals: Tensor) -> Attacked:
    """Take every step from a random start, at each ε apart, as Foolbox and the paper's code do."""
    points = task.unchanged()
    for index, epsilon in enumerate(task.epsilons):
        point = _start(method, task.x, epsilon, task.seed + index)
        for _ in range(method.steps):
            here = point.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(_lag(fast(here), task.labels, rivals).sum(), here)
            point = _step(method, here.detach(), gradient, task.x, epsilon)
        points[index] = point
    logits = torch.stack([logits_of(task.model, point) for point in points])
    return Attacked(points, logits, torch.ones_like(task.labels, dtype=torch.bool))


def _check_steps(method: Any) -> None:
    """Raise `InputError` for an attack whose steps are not those taken here: x + relative step · ε · direction."""
    own = type(method).get_optimizer is not BaseGradientDescent.get_optimizer
    if own or method.abs_stepsize is not None:
        raise InputError(
            f"{type(method).__name__} takes steps of another kind",
            expected="Foolbox's plain gradient steps, of a relative size",
            got="an optimiser of its own" if own else f"abs_stepsize = {method.abs_stepsize}",
            fix="run it at each ε by attacks.ascending.survivors, which asks nothing of the attack",
        )


def _start(method: Any, x: Tensor, epsilon: float, seed: int) -> Tensor:
    """Draw the starting points of the whole batch, whichever images are still attacked."""
    if not method.random_start:
        return x
    with seeded(x, seed):
        return method.get_random_start(ep.astensor(x), epsilon).raw.clamp(0, 1)


def _climb(
    method: Any,
    model: nn.Module,
    fast: nn.Module,
    x: Tensor,
    labels: Tensor,
    rivals: Tensor,
    epsilon: float,
    start: Tensor,
) -> tuple[Tensor, Tensor]:
    """Climb the loss until each image falls or the steps are used up; `model` itself confirms every fall."""
    point = start.contiguous(memory_format=torch.channels_last)
    fell = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for step in range(method.steps + 1):
        active = (~fell).nonzero().flatten()
        here = point[active].requires_grad_(step < method.steps)
        logits = fast(here)
        fell[active] = _confirmed(model, here.detach(), logits.detach(), labels[active])
        if step == method.steps or fell.all():
            break
        (gradient,) = torch.autograd.grad(_lag(logits, labels[active], rivals[active]).sum(), here)
        moved = _step(method, here.detach(), gradient, x[active], epsilon)
        point[active] = torch.where(fell[active, None, None, None], here.detach(), moved)
    return point, fell


def _lag(logits: Tensor, labels: Tensor, rivals: Tensor) -> Tensor:
    """Log-sum-exp of the rivals (n, n_classes) minus the label's logit (n,): of one rival, the difference of logits.

    With all others as rivals, an image's gradient of this points where that of its cross-entropy does, which is this
    one times the other classes' probability; that factor vanishes once a network is sure, in float32 at a lead of
    about 17.
    """
    return logits.where(rivals, -torch.inf).logsumexp(1) - logits.gather(1, labels[:, None])[:, 0]


@torch.no_grad()
def _confirmed(model: nn.Module, x: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    wrong = logits.argmax(1) != labels
    if wrong.any():
        wrong[wrong.clone()] = logits_of(model, x[wrong]).argmax(1) != labels[wrong]
    return wrong


def _step(method: Any, point: Tensor, gradient: Tensor, x: Tensor, epsilon: float) -> Tensor:
    """One step of Foolbox's gradient attacks: normalise, move, project into the ball, clip to [0, 1]."""
    direction = method.normalize(ep.astensor(gradient), x=ep.astensor(point), bounds=(0, 1)).raw
    moved = ep.astensor(point + method.rel_stepsize * epsilon * direction)
    return method.project(moved, ep.astensor(x), epsilon).raw.clamp(0, 1)
