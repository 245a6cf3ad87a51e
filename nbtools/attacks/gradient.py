"""Gradient attacks at fixed ε: Foolbox's steps, one sweep down over every ε."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import eagerpy as ep
import torch
from foolbox.attacks.gradient_descent_base import BaseGradientDescent
from torch import Tensor, nn
from torch.nn.functional import one_hot

from nbtools.attacks.points import Attacked, Task, carried_up, seeded, shrunk, tried_again
from nbtools.classifiers import logits_of
from nbtools.errors import InputError
from nbtools.models.networks import fold_batchnorm


class Said(NamedTuple):
    """What a network says to images: logits (n, n_classes), and, where asked, what each guide matches (n, width)."""

    logits: Tensor
    matched: Sequence[Tensor] = ()


@dataclass(frozen=True)
class ClassLoss:
    """What is climbed: how far the label's logit lags behind its rivals'.

    Attributes
    ----------
    labels : Tensor
        Shape (n,).
    rivals : Tensor of bool
        The classes that each image is pushed towards, shape (n, n_classes).
    """

    labels: Tensor
    rivals: Tensor

    def of(self, rows: Tensor) -> ClassLoss:
        """Return that of some images alone."""
        return replace(self, labels=self.labels[rows], rivals=self.rivals[rows])

    def ask(self, model: nn.Module, x: Tensor) -> Said:
        """Ask a network about its images (n, 3, h, w)."""
        return Said(model(x))

    def uphill(self, said: Said, x: Tensor, left: float) -> Tensor:
        """Return the direction (n, 3, h, w) in which it rises at x; `left`: the share of the steps still to be taken.

        Raises
        ------
        InputError
            As `gradient_at`.
        """
        return gradient_at(x, _lag(said.logits, self.labels, self.rivals))


Aim = Callable[[Task], ClassLoss]


def any_class(task: Task) -> ClassLoss:
    """Push each image towards all other classes."""
    return ClassLoss(task.labels, _others(task) > -torch.inf)


def one_class(rank: int, task: Task) -> ClassLoss:
    """Push each image towards one of its other classes alone: the most probable (rank 0), the second, …"""
    target = _others(task).argsort(1, descending=True)[:, rank]
    return ClassLoss(task.labels, one_hot(target, task.clean.shape[1]).bool())


def _others(task: Task) -> Tensor:
    """Return the logits of the images themselves, −∞ the label's."""
    return task.clean.scatter(1, task.labels[:, None], -torch.inf)


def gradient_at(x: Tensor, values: Tensor, *, again: bool = False) -> Tensor:
    """Return the gradient (n, 3, h, w) of each image's value (n,); `again`: another one will be asked for.

    Raises
    ------
    InputError
        If the values do not depend on x in a way that can be differentiated, or as `Classifier.forward`.
    """
    if not values.requires_grad:
        raise InputError(
            "no gradient passes through this network",
            expected="logits that were computed from the pixels by differentiable steps",
            got="logits without a gradient",
            fix="look for detach, numpy or no_grad in its forward, or take LinfSquare or L2Square, which need none",
        )
    return torch.autograd.grad(values.sum(), x, retain_graph=again)[0]


def descend(make: Callable[[int], Any], patience: float, task: Task, aim: Aim | None = None) -> Attacked:
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
    aim : callable, optional
        Task → what is climbed; by default `any_class`. With one of its own an attack is a part of a larger one
        (`in_turn`): only what it found itself is kept.

    Raises
    ------
    InputError
        If the attack takes its steps by an optimiser of its own (momentum, Adam), or of an absolute size, or as
        `gradient_at`.

    Notes
    -----
    An attack stops once it succeeds, unless the task says otherwise. Where it starts at random, an image that fell
    starts, at the next smaller ε, from the point that was found, moved into the smaller ball.
    """
    model, x, epsilons = task.model, task.x, task.epsilons
    method, fast, climbed = make(task.steps), fold_batchnorm(model), (aim or any_class)(task)
    _check_steps(method)
    if not task.stops:
        return _climbed(method, fast, task, climbed)
    points, stands = task.unchanged(), task.standing()
    attacked = torch.zeros((len(epsilons), len(x)), dtype=torch.bool, device=x.device)
    failures = torch.zeros_like(task.labels)
    for index in reversed(range(len(epsilons))):
        attacked[index] = stands[index] & (failures < patience)
        active = attacked[index].nonzero().flatten()
        if len(active) == 0:
            continue
        start = _start(method, x, epsilons[index], task.seed + index)
        if method.random_start and index + 1 < len(epsilons):
            found = attacked[index + 1] & (failures == 0)
            start[found] = shrunk(x, points[index + 1], epsilons[index] / epsilons[index + 1])[found]
        near, start = x[active], start[active]
        points[index, active], fell = _climb(method, model, fast, near, climbed.of(active), epsilons[index], start)
        failures[active] = torch.where(fell, 0, failures[active] + 1)
    for index in reversed(range(len(epsilons) - 1)):  # a failed try is shrunk into smaller balls
        skipped = ~attacked[index]
        points[index, skipped] = shrunk(x, points[index + 1], epsilons[index] / epsilons[index + 1])[skipped]
    return carried_up(task, points, None if aim is None else attacked)


def in_turn(make: Callable[[int], Any], aims: Sequence[Aim], task: Task) -> Attacked:
    """Pursue several aims in turn, which share the steps, each on what those before left standing.

    Returns, where an image fell, the point that fools the model, elsewhere the image. Each aim starts at random, at the
    largest ε that an image stands at, and is given up where it fails first.
    """
    found = Attacked(task.unchanged(), task.clean.repeat(len(task.epsilons), 1, 1), torch.ones_like(task.labels) > 0)
    for turn, aim in enumerate(aims):
        part = replace(task, steps=task.steps // len(aims), seed=task.seed + turn * len(task.epsilons))
        found = tried_again(partial(descend, make, 1, aim=aim), part, found)
    return found


def towards(make: Callable[[int], Any], n_targets: int, task: Task) -> Attacked:
    """Push each image towards its most probable other classes `in_turn`.

    Notes
    -----
    What is climbed is a difference of logits, z_t − z_y, the numerator of the targeted loss of APGD-T (Croce and Hein
    2020, arXiv 2003.01690, eq. 7), whose denominator does not change the direction of a step much.
    """
    n_targets = min(n_targets, task.clean.shape[1] - 1, task.steps)
    return in_turn(make, [partial(one_class, rank) for rank in range(n_targets)], task)


def _climbed(method: Any, fast: nn.Module, task: Task, climbed: ClassLoss) -> Attacked:
    """Take every step from a random start, at each ε apart, as Foolbox and the paper's code do."""
    points = task.unchanged()
    for index, epsilon in enumerate(task.epsilons):
        point = _start(method, task.x, epsilon, task.seed + index)
        for step in range(method.steps):
            here = point.detach().requires_grad_()
            gradient = climbed.uphill(climbed.ask(fast, here), here, 1 - step / method.steps)
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
    climbed: ClassLoss,
    epsilon: float,
    start: Tensor,
) -> tuple[Tensor, Tensor]:
    """Climb until each image falls or the steps are used up; `model` itself confirms every fall."""
    point = start.contiguous(memory_format=torch.channels_last)
    fell = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for step in range(method.steps + 1):
        active = (~fell).nonzero().flatten()
        here = point[active].requires_grad_(step < method.steps)
        aim = climbed.of(active)
        said = aim.ask(fast, here)
        fell[active] = _confirmed(model, here.detach(), said.logits.detach(), aim.labels)
        if step == method.steps or fell.all():
            break
        gradient = aim.uphill(said, here, 1 - step / method.steps)
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
