"""What all attacks share: their task, points in balls, and what nested balls imply."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import eagerpy as ep
import foolbox.distances as fd
import torch
from torch import Tensor, nn

from nbtools.classifiers import logits_of


class Attacked(NamedTuple):
    """What every attack returns.

    Attributes
    ----------
    points : Tensor
        In the balls and in [0, 1], shape (n_epsilons, n, 3, h, w).
    logits : Tensor
        The model's, shape (n_epsilons, n, n_classes).
    ended : Tensor of bool
        Whether the attack came to its end, shape (n,): an image that stands at an ε is an answer only then.
    """

    points: Tensor
    logits: Tensor
    ended: Tensor


@dataclass(frozen=True)
class Task:
    """What every attack is given; all of it has been checked.

    Attributes
    ----------
    model : nn.Module
        A `Classifier` in eval mode.
    x : Tensor
        Pixels in [0, 1], shape (n, 3, h, w).
    labels : Tensor
        Shape (n,).
    epsilons : sequence of float
        Radii in pixel units, ascending.
    steps : int
        See `sweep`.
    seed : int
        Of all random numbers.
    stops : bool
        Whether an image that fell is left alone; else a gradient attack climbs on to its last step.
    stood : Tensor of bool, optional
        Where images stood the attacks before, shape (n_epsilons, n): nothing else is attacked. Who stood at an ε stood
        at every smaller one.
    """

    model: nn.Module
    x: Tensor
    labels: Tensor
    epsilons: Sequence[float]
    steps: int
    seed: int
    stops: bool = True
    stood: Tensor | None = None

    @cached_property
    def clean(self) -> Tensor:
        """What the model says to the images themselves, shape (n, n_classes)."""
        return logits_of(self.model, self.x)

    def unchanged(self) -> Tensor:
        """Return the images once for every ε, shape (n_epsilons, n, 3, h, w)."""
        return self.x.repeat(len(self.epsilons), 1, 1, 1, 1)

    def standing(self) -> Tensor:
        """Return where there is something to attack, shape (n_epsilons, n): a clean error has fallen everywhere."""
        right = (self.clean.argmax(1) == self.labels).repeat(len(self.epsilons), 1)
        return right if self.stood is None else right & self.stood


def length(change: Tensor, norm: float) -> Tensor:
    """Return the norm (n,) of each change (n, 3, h, w)."""
    return torch.linalg.vector_norm(change.flatten(1), ord=norm, dim=1)


def shrunk(x: Tensor, points: Tensor, factor: float) -> Tensor:
    """Scale the change of each point (n, 3, h, w): below 1 straight towards its image, into a smaller ball."""
    return (x + (points - x) * factor).clamp(0, 1)


def into_ball(x: Tensor, points: Tensor, epsilon: float, norm: float) -> Tensor:
    """Move points (n, 3, h, w) outside the ball to its surface (Foolbox's clipping), others not by a bit."""
    ball = fd.linf if norm == float("inf") else fd.l2
    inside = length(points - x, norm) <= epsilon
    clipped = ball.clip_perturbation(ep.astensor(x), ep.astensor(points), epsilon).raw
    return torch.where(inside[:, None, None, None], points, clipped).clamp(0, 1)


def carried_up(task: Task, points: Tensor, asked: Tensor | None = None) -> Attacked:
    """Let the model decide on points (n_epsilons, n, 3, h, w): those asked for, or wherever there is one to attack.

    Elsewhere it is taken to say what it says to the image. An image that falls at some ε falls at every larger one, by
    the same point. The attack counts as ended.
    """
    labels, logits = task.labels, task.clean.repeat(len(points), 1, 1)
    for index, rows in enumerate(task.standing() if asked is None else asked):
        if rows.any():
            logits[index, rows] = logits_of(task.model, points[index, rows])
    fell = logits.argmax(2) != labels
    for index in range(1, len(points)):
        carried = fell[index - 1] & ~fell[index]
        points[index, carried], logits[index, carried] = points[index - 1, carried], logits[index - 1, carried]
        fell[index] |= carried
    return Attacked(points, logits, torch.ones_like(fell[0]))


def tried_again(run: Callable[[Task], Attacked], task: Task, found: Attacked) -> Attacked:
    """Attack what still stands where it still stands; the first point that fools the model is kept."""
    stands = task.standing() & (found.logits.argmax(2) == task.labels)
    rows, n_epsilons = stands[0].nonzero().flatten(), int(stands.any(1).sum())
    if not len(rows):
        return found
    stood = stands[:n_epsilons, rows]
    x, labels, epsilons = task.x[rows], task.labels[rows], task.epsilons[:n_epsilons]
    again = run(replace(task, x=x, labels=labels, epsilons=epsilons, stood=stood))
    better, (points, logits, ended) = stood & (again.logits.argmax(2) != labels), found
    points[:n_epsilons, rows] = torch.where(better[..., None, None, None], again.points, points[:n_epsilons, rows])
    logits[:n_epsilons, rows] = torch.where(better[..., None], again.logits, logits[:n_epsilons, rows])
    return Attacked(points, logits, ended)


@contextmanager
def seeded(x: Tensor, seed: int) -> Iterator[None]:
    """Let torch draw from this seed on the device of x (n, 3, height, width); its own generators are left alone."""
    with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
        torch.manual_seed(seed)
        yield
