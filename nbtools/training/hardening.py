"""Training on other pictures: what a network is shown in place of those as they are, and its class loss then.

Guidance asks for robustness by way of a brain; these ask for it outright. Each is a word at the end of a condition's
name (`nbtools.guides.MODIFIERS`), with or without a guide: ``none-at-4``, ``TO-at-4``, ``TO-gauss-0.1``. A neural
head is asked for what its guide says of the pictures as they are, whatever the network is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nbtools.checks import check_choice, check_once, check_table
from nbtools.data.images.bands import check_square, filtered, pass_gain
from nbtools.errors import InputError
from nbtools.guides import fits, takes
from nbtools.models.networks import GuidedNet

Hardened = tuple[str, float]  # a word of `HARDENINGS`, and its number as names have it
Loss = Callable[[Tensor], Tensor]  # pixels (n, 3, h, w) → a loss to climb

# Steps up the gradient are in ε, as the authors' recipes for CIFAR-10 have them.
PGD_STEPS, PGD_STEP = 7, 2 / 8  # Madry et al. 2018, section 5: 7 steps of 2/255 at 8/255
FAST_STEP = 1.25  # Wong, Rice and Kolter 2020, section 4.1
TRADES_STEPS, TRADES_STEP, TRADES_START, TRADES_BETA = 10, 0.007 / 0.031, 1e-3, 6.0  # Zhang et al. 2019, their code
# Where β is what varies. Fronts are compared at it, and so are networks for ImageNet (RobustBench, Croce et al. 2021).
TRADES_EPSILON = 4 / 255
SLACK = 0.05  # of clean accuracy, that a network may lose and still know as much


class Shown(NamedTuple):
    """What a network answers to what it is shown."""

    logits: Tensor  # (n, n_classes), of what the class loss is about
    matched: list[Tensor]  # at the neural heads
    class_loss: Tensor


class Asked(NamedTuple):
    """A network in training, and what it is asked of a batch."""

    model: GuidedNet
    x: Tensor  # (n, 3, h, w), in [0, 1]
    labels: Tensor
    loss: Loss  # both terms together, of other pixels than `x`


def as_they_are(asked: Asked) -> Shown:
    """Return answers and cross-entropy of the pictures as they are."""
    return _of(asked, asked.x)


def pgd(asked: Asked, level: float) -> Shown:
    """Adversarial training (Madry et al. 2018, eq. 2.1): steps up the cross-entropy from a random start."""
    return _of(asked, _climbed(asked, _cross_entropy(asked), _near(asked.x, level), level, PGD_STEPS, PGD_STEP))


def pgd_both(asked: Asked, level: float) -> Shown:
    """As `pgd`, up the whole loss: the attack breaks the neural answer along with the class."""
    return _of(asked, _climbed(asked, asked.loss, _near(asked.x, level), level, PGD_STEPS, PGD_STEP))


def fast(asked: Asked, level: float) -> Shown:
    """Fast adversarial training (Wong, Rice and Kolter 2020, algorithm 3): one long step from a random start."""
    return _of(asked, _climbed(asked, _cross_entropy(asked), _near(asked.x, level), level, 1, FAST_STEP))


def trades(asked: Asked, level: float, beta: float = TRADES_BETA) -> Shown:
    """TRADES (Zhang et al. 2019, eq. 5): cross-entropy as they are, and β times how far an attack moves the answer.

    The neural term is that of the pictures as they are.
    """
    with _as_tested(asked.model), torch.no_grad():
        before = asked.model(asked.x).log_softmax(1)

    def moved(x: Tensor) -> Tensor:
        return _divergence(asked.model(x).log_softmax(1), before).sum()

    start = asked.x + TRADES_START * torch.randn_like(asked.x)
    attacked = _climbed(asked, moved, start, level, TRADES_STEPS, TRADES_STEP)
    clean = as_they_are(asked)
    divergence = _divergence(asked.model(attacked).log_softmax(1), clean.logits.log_softmax(1)).mean()
    return clean._replace(class_loss=clean.class_loss + beta * divergence)


def trades_weighed(asked: Asked, level: float) -> Shown:
    """TRADES at one ε, with the level as its β: what of the loss is robustness (their trade-off)."""
    return trades(asked, TRADES_EPSILON, level)


def gaussian(asked: Asked, level: float) -> Shown:
    """White noise of a standard deviation in [0, 1] pixels, not clipped, as certificates ask (Cohen et al. 2019)."""
    return _of(asked, asked.x + level * torch.randn_like(asked.x))


def through(asked: Asked, level: float, passes: str) -> Shown:
    """Pictures that a filter has passed (`data.images.bands.pass_gain`), at the level, cycles/image; not clipped."""
    gain = pass_gain(passes, level, check_square(asked.x)).to(asked.x.device)
    return _of(asked, filtered(asked.x, gain))


class Hardening(NamedTuple):
    """A way to train, by its word."""

    show: Callable[..., Shown]  # of what is asked, and its level
    unit: float = 1 / 255  # of the number in a name, in pixels in [0, 1], or in cycles/image
    radius: float | None = 0.0  # of the attack that robust accuracy is watched under; 0: the level; None: it is not


HARDENINGS = {
    "at": Hardening(pgd),
    "atboth": Hardening(pgd_both),
    "fast": Hardening(fast),
    "trades": Hardening(trades),
    "beta": Hardening(trades_weighed, 1.0, TRADES_EPSILON),
    "gauss": Hardening(gaussian, 1.0, None),
    "lowpass": Hardening(partial(through, passes="low"), 1.0, None),
    "channel": Hardening(partial(through, passes="band"), 1.0, None),
}


def hardening(hardened: Hardened | None) -> tuple[Callable[[Asked], Shown], Callable[[Asked], Tensor] | None]:
    """Return how a network is shown its pictures in training, and how its robust accuracy is watched, if it is.

    Raises
    ------
    InputError
        If there is no such way, or its number cannot be.
    """
    if hardened is None:
        return as_they_are, None
    word, number = hardened
    check_choice("networks are not trained against perturbations that way", word, HARDENINGS)
    if not fits(word, number):
        problem, fix = "networks are not trained against such perturbations", "correct the number"
        raise InputError(problem, expected=takes(word), got=f"{word}, {number!r}", fix=fix)
    way = HARDENINGS[word]
    level = number * way.unit
    # no closures: they are sent to processes of other GPUs
    watched = None if way.radius is None else partial(_withstood, level=way.radius or level)
    return partial(way.show, level=level), watched


def _withstood(asked: Asked, level: float) -> Tensor:
    """Return accuracy under PGD from the pictures themselves, which draws no chance."""
    attacked = _climbed(asked, _cross_entropy(asked), asked.x, level, PGD_STEPS, PGD_STEP)
    return (asked.model(attacked).argmax(1) == asked.labels).float().mean()


def collapsed(history: pd.DataFrame) -> list[int]:
    """Name the epochs after which a network withstood PGD less than half as often as it once did, but knew as much.

    Training on one step's pictures can come to this within an epoch: the network learns to mask its gradient there,
    and PGD finds what that hides (*catastrophic overfitting*: Wong, Rice and Kolter 2020, section 5.4).

    Parameters
    ----------
    history : DataFrame
        From `train_guided`.

    Returns
    -------
    list of int
        Epochs at which robust accuracy is below half of its best so far (of epochs that know half of what the best
        knows), and clean accuracy, which a training that diverges loses along with it, at most `SLACK` lower than at
        that best; none where robust accuracy was not watched (no column, or NaN).

    Raises
    ------
    InputError
        If a column is missing, or an epoch stands twice.
    """
    problem, fix = "this is no training's history", "take the table that train_guided returned"
    check_table(problem, history, ("epoch", "split", "accuracy"), fix=fix)
    if "robust_accuracy" not in history:
        return []
    watched = history[(history["split"] == "validation") & history["robust_accuracy"].notna()]
    check_once(problem, watched, ("epoch",), fix=fix)
    watched = watched.set_index("epoch").sort_index()
    accuracy, robust = watched["accuracy"], watched["robust_accuracy"]
    learnt = robust.where(accuracy >= accuracy.max() / 2, 0)  # one class for all withstands all, and knows nothing
    best = [learnt.loc[:epoch].idxmax() for epoch in learnt.index]
    lost = robust.to_numpy() < learnt[best].to_numpy() / 2
    knows = accuracy.to_numpy() >= accuracy[best].to_numpy() - SLACK
    return [int(epoch) for epoch in watched.index[lost & knows]]


def _of(asked: Asked, shown: Tensor) -> Shown:
    logits, matched = asked.model.matched(shown)
    return Shown(logits, matched, F.cross_entropy(logits, asked.labels))


def _cross_entropy(asked: Asked) -> Loss:
    return lambda x: F.cross_entropy(asked.model(x), asked.labels, reduction="sum")


def _divergence(log_q: Tensor, log_p: Tensor) -> Tensor:
    """Return KL(p ‖ q) of each image, (n,)."""
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)


def _near(x: Tensor, level: float) -> Tensor:
    """Return a random point of each picture's ball."""
    return x + level * (2 * torch.rand_like(x) - 1)


@torch.enable_grad()
def _climbed(asked: Asked, loss: Loss, start: Tensor, level: float, steps: int, step: float) -> Tensor:
    """Climb a loss inside the L∞ ball and [0, 1], by signs.

    The network answers as it will be tested (statistics of batch normalisation as they stand, no dropout), and takes
    no note of these passes; gradients are those of the pixels alone.
    """
    low, high = (asked.x - level).clamp(min=0), (asked.x + level).clamp(max=1)
    x = start.clamp(low, high)
    with _as_tested(asked.model):
        for _ in range(steps):
            x = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(loss(x), x)
            x = (x + step * level * gradient.sign()).clamp(low, high)
    return x.detach()


@contextmanager
def _as_tested(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
