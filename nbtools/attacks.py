"""Adversarial attacks in pixel units: Foolbox's steps, one sweep over every ε, one row per decision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import eagerpy as ep
import foolbox.attacks as fa
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from nbtools.checks import check_eval, check_pixels
from nbtools.data.images import ImageSet, to_float
from nbtools.errors import InputError
from nbtools.models import fold_batchnorm
from nbtools.training import best_device

ALWAYS = 10**9


@dataclass(frozen=True)
class Attack:
    """An attack of the table below.

    Attributes
    ----------
    make : callable
        Number of steps → the Foolbox attack, which gives start, step direction and projection.
    norm : float
        Of the ball the perturbation stays in.
    patience : int
        The sweep goes down from the largest ε and gives an image up as robust once the attack has failed at this
        many ε in a row. The balls lie inside one another, so failing in a larger one speaks for the smaller ones,
        but an attack can fail by bad luck: PGD is given two tries. One-step attacks fail more in larger balls, so
        they are run at every ε.
    """

    make: Callable[[int], Any]
    norm: float
    patience: int


ATTACKS: dict[str, Attack] = {
    # Foolbox's default relative step is too small to cross the ball; 2.5/steps is the usual choice (Madry et al.).
    "LinfPGD": Attack(lambda steps: fa.LinfPGD(rel_stepsize=2.5 / steps, steps=steps), float("inf"), 2),
    "LinfFGSM": Attack(lambda steps: fa.LinfFastGradientAttack(), float("inf"), ALWAYS),
}


def sweep(
    model: nn.Module,
    images: ImageSet,
    epsilons: Sequence[float],
    *,
    attack: str = "LinfPGD",
    steps: int = 40,
    seed: int = 0,
    batch_size: int = 512,
) -> pd.DataFrame:
    """Attack every image at every ε and return what the model decided.

    Parameters
    ----------
    model : nn.Module
        In eval mode; maps pixels (n, 3, h, w) in [0, 1] to logits (n, n_classes).
    images : ImageSet
        Labelled images.
    epsilons : sequence of float
        Radii in pixel units, in (0, 1], e.g. ``4 / 255``.
    attack : str
        A key of `ATTACKS`.
    steps : int
        Gradient steps of an iterative attack.
    seed : int
        Of the random starts.
    batch_size : int
        Images attacked together.

    Returns
    -------
    DataFrame
        The decisions: one row per image and ε, ε = 0 (clean) included. Columns image_id, label, epsilon,
        prediction, margin (logit of the label minus the largest other) and distance (norm of the perturbation, at
        most ε), all measured in float32 on the final image.

    Raises
    ------
    InputError
        If the model is in training mode or gives logits that are not finite, an ε, the attack or its steps are
        invalid, or labels and logits do not match.

    Notes
    -----
    Images the model gets wrong are not attacked; an attack stops once it succeeds; an image stops being attacked
    at smaller ε as `Attack.patience` says. An image that falls at some ε counts as fallen at every larger one.
    Where an attack starts at random, an image that fell starts, at the next smaller ε, from the point that was
    found, moved into the smaller ball. Random starts are drawn batch by batch: another `batch_size` changes them
    as another seed would.
    """
    radii = sorted(float(epsilon) for epsilon in epsilons)
    _check_attack(model, radii, attack, steps)
    _check_classes(model, images)
    device = best_device()
    model = model.to(device)
    tables, norm = [], ATTACKS[attack].norm
    with tqdm(total=len(images) * len(radii), desc=attack, unit="decision") as bar:
        for start in range(0, len(images), batch_size):
            rows = images[slice(start, start + batch_size)].to(device)
            x = to_float(rows.pixels)
            points, logits = _attacked(model, x, rows.labels, radii, attack, steps, seed + start)
            tables.append(_decisions(rows, 0.0, _logits(model, x), torch.zeros(len(rows))))
            for epsilon, point, said in zip(radii, points, logits, strict=True):
                distance = torch.linalg.vector_norm((point - x).flatten(1), ord=norm, dim=1)
                tables.append(_decisions(rows, epsilon, said, distance))
            bar.update(len(rows) * len(radii))
    return pd.concat(tables, ignore_index=True)


def perturb(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    epsilons: Sequence[float],
    *,
    attack: str = "LinfPGD",
    steps: int = 40,
    seed: int = 0,
) -> Tensor:
    """Return the attacked images.

    Parameters
    ----------
    model : nn.Module
        As in `sweep`.
    x : Tensor
        Pixels in [0, 1], shape (n, 3, h, w).
    labels : Tensor
        Shape (n,).
    epsilons : sequence of float
        Radii in pixel units, ascending.
    attack, steps, seed
        As in `sweep`.

    Returns
    -------
    Tensor
        Shape (n_epsilons, n, 3, h, w): for every ε the adversarial image that was found, or, where none was, the
        attack's last image. Every one lies in its ball and in [0, 1].

    Raises
    ------
    InputError
        As `sweep`, and if pixels leave [0, 1] or radii are not ascending.
    """
    epsilons = [float(epsilon) for epsilon in epsilons]
    _check_attack(model, epsilons, attack, steps)
    check_pixels(x)
    return _attacked(model, x, labels, epsilons, attack, steps, seed)[0]


def _attacked(
    model: nn.Module, x: Tensor, labels: Tensor, epsilons: Sequence[float], attack: str, steps: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Return the attacked images (n_epsilons, n, 3, h, w) and their logits (n_epsilons, n, n_classes)."""
    kind = ATTACKS[attack]
    method = kind.make(steps)
    fast = fold_batchnorm(model)
    points = x.repeat(len(epsilons), 1, 1, 1, 1)
    attacked = torch.zeros((len(epsilons), len(x)), dtype=torch.bool, device=x.device)
    correct = _logits(model, x).argmax(1) == labels  # clean errors need no attack
    failures = torch.zeros_like(labels)
    for index in reversed(range(len(epsilons))):
        attacked[index] = correct & (failures < kind.patience)
        active = attacked[index].nonzero().flatten()
        if len(active) == 0:
            break
        start = _start(method, x, epsilons[index], seed + index)
        if method.random_start and index + 1 < len(epsilons):
            found = attacked[index + 1] & (failures == 0)
            start[found] = _shrunk(x, points[index + 1], epsilons[index] / epsilons[index + 1])[found]
        start = start[active]
        points[index, active], fell = _climb(method, model, fast, x[active], labels[active], epsilons[index], start)
        failures[active] = torch.where(fell, 0, failures[active] + 1)
    return _nested(model, x, labels, points, epsilons, attacked)


def _start(method: Any, x: Tensor, epsilon: float, seed: int) -> Tensor:
    """Draw the starting points of the whole batch, whichever images are still attacked."""
    if not method.random_start:
        return x
    with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
        torch.manual_seed(seed)
        return method.get_random_start(ep.astensor(x), epsilon).raw.clamp(0, 1)


def _shrunk(x: Tensor, points: Tensor, factor: float) -> Tensor:
    """Move points straight towards their images, into a smaller ball."""
    return (x + (points - x) * factor).clamp(0, 1)


def _climb(
    method: Any, model: nn.Module, fast: nn.Module, x: Tensor, labels: Tensor, epsilon: float, start: Tensor
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
        # In float64: in float32 the own class's gradient is exactly 0 once its logit leads by 17.
        loss = F.cross_entropy(logits.double(), labels[active], reduction="sum")
        (gradient,) = torch.autograd.grad(loss, here)
        moved = _step(method, here.detach(), gradient, x[active], epsilon)
        point[active] = torch.where(fell[active, None, None, None], here.detach(), moved)
    return point, fell


@torch.no_grad()
def _logits(model: nn.Module, x: Tensor) -> Tensor:
    """Return the model's logits; one that is not a number is no decision and must not count as one."""
    logits = model(x)
    if not logits.isfinite().all():
        raise InputError(
            "the model's logits are not finite",
            expected="finite logits for every image",
            got=f"NaN or infinite for {int((~logits.isfinite().all(1)).sum())} of {len(x)} images",
            fix="look for a diverged training or a model in low precision",
        )
    return logits


@torch.no_grad()
def _confirmed(model: nn.Module, x: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    wrong = logits.argmax(1) != labels
    if wrong.any():
        wrong[wrong.clone()] = _logits(model, x[wrong]).argmax(1) != labels[wrong]
    return wrong


def _step(method: Any, point: Tensor, gradient: Tensor, x: Tensor, epsilon: float) -> Tensor:
    """One step of Foolbox's gradient attacks: normalise, move, project into the ball, clip to [0, 1]."""
    direction = method.normalize(ep.astensor(gradient), x=ep.astensor(point), bounds=(0, 1)).raw
    moved = ep.astensor(point + method.rel_stepsize * epsilon * direction)
    return method.project(moved, ep.astensor(x), epsilon).raw.clamp(0, 1)


def _nested(
    model: nn.Module, x: Tensor, labels: Tensor, points: Tensor, epsilons: Sequence[float], attacked: Tensor
) -> tuple[Tensor, Tensor]:
    """Fill in what nested balls imply: a failed try is shrunk into smaller balls, a find holds in larger ones."""
    for index in reversed(range(len(epsilons) - 1)):
        skipped = ~attacked[index]
        points[index, skipped] = _shrunk(x, points[index + 1], epsilons[index] / epsilons[index + 1])[skipped]
    logits = torch.stack([_logits(model, point) for point in points])
    fell = logits.argmax(2) != labels
    for index in range(1, len(epsilons)):
        carried = fell[index - 1] & ~fell[index]
        points[index, carried], logits[index, carried] = points[index - 1, carried], logits[index - 1, carried]
        fell[index] |= carried
    return points, logits


def _decisions(images: ImageSet, epsilon: float, logits: Tensor, distance: Tensor) -> pd.DataFrame:
    own = logits.gather(1, images.labels[:, None])[:, 0]
    others = logits.scatter(1, images.labels[:, None], -torch.inf)
    columns = {
        "label": images.labels,
        "prediction": logits.argmax(1),
        "margin": own - others.max(1).values,
        "distance": distance,
    }
    table = pd.DataFrame({name: value.cpu().numpy() for name, value in columns.items()})
    table.insert(0, "image_id", images.ids.astype(str))
    table.insert(2, "epsilon", epsilon)
    return table


def _check_attack(model: nn.Module, epsilons: Sequence[float], attack: str, steps: int) -> None:
    if attack not in ATTACKS:
        raise InputError("unknown attack", expected=", ".join(ATTACKS), got=repr(attack), fix="use one of these")
    if steps < 1:
        raise InputError("an attack without a step", expected="steps of 1 or more", got=steps, fix="40 is usual")
    check_eval(model)
    ascending = all(smaller < larger for smaller, larger in pairwise(epsilons))
    if not epsilons or not all(0 < epsilon <= 1 for epsilon in epsilons) or not ascending:
        raise InputError(
            "ε is in pixel units",
            expected="different numbers above 0 and up to 1, such as 4/255, ascending",
            got=list(epsilons),
            fix="divide by 255 if these are grey levels",
        )


def _check_classes(model: nn.Module, images: ImageSet) -> None:
    with torch.no_grad():
        device = next(model.parameters()).device
        n_classes = model(to_float(images.pixels[:1].to(device))).shape[1]
    if n_classes != len(images.classes) or (images.labels < 0).any():
        raise InputError(
            "the model's classes are not the images'",
            expected=f"labelled images of {n_classes} classes",
            got=f"{len(images.classes)} classes, {int((images.labels < 0).sum())} images without a label",
            fix="use the images the model was trained for",
        )
