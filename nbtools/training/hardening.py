"""Training against perturbations: what a network is shown in place of pictures as they are, and its class loss then.

Guidance asks for robustness by way of a brain; these ask for it outright. Each is a word at the end of a condition's
name (`nbtools.guides.MODIFIERS`), with or without a guide: ``none-at-4``, ``TO-at-4``, ``TO-gauss-0.1``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nbtools.checks import check_choice

Loss = Callable[[Tensor], Tensor]  # pixels (n, 3, h, w) → a loss to climb, summed over images
LEVELS = 255  # ε is said in grey levels, 1/255
STEPS, TRADES_STEPS, TRADES_BETA = 7, 10, 6.0
CROSS = 2.5  # all steps together, in ε: from any start of the ball to any other point of it (Madry et al. 2018)
FAST_STEP = 1.25  # in ε (Wong, Rice and Kolter 2020)


class Shown(NamedTuple):
    """What a network answers to what it is shown."""

    logits: Tensor  # (n, n_classes), of what the class loss is about
    matched: list[Tensor]  # at the neural heads
    class_loss: Tensor


class Asked(NamedTuple):
    """A network in training, and what it is asked of a batch."""

    model: nn.Module  # answers `.matched(x)`: logits and what its neural heads say
    x: Tensor  # (n, 3, h, w), in [0, 1]
    labels: Tensor
    loss: Loss  # both terms together, of other pixels than `x`


Hardened = tuple[str, float]  # a word of `HARDENINGS`, and its number as names have it
WATCHED = 64  # images of each batch of the validation on which a network in training is attacked


def as_they_are(asked: Asked) -> Shown:
    """Return answers and cross-entropy of the pictures as they are."""
    return _of(asked, asked.x)


def pgd(asked: Asked, epsilon: float) -> Shown:
    """Adversarial training (Madry et al. 2018, eq. 2.1): seven steps up the cross-entropy from a random start."""
    return _of(asked, _climbed(asked, _cross_entropy(asked), epsilon, STEPS, CROSS / STEPS))


def pgd_both(asked: Asked, epsilon: float) -> Shown:
    """As `pgd`, up the whole loss: the attack breaks the neural answer along with the class."""
    return _of(asked, _climbed(asked, asked.loss, epsilon, STEPS, CROSS / STEPS))


def fast(asked: Asked, epsilon: float) -> Shown:
    """Fast adversarial training (Wong, Rice and Kolter 2020): one step of 1.25 ε from a random start."""
    return _of(asked, _climbed(asked, _cross_entropy(asked), epsilon, 1, FAST_STEP))


def trades(asked: Asked, epsilon: float) -> Shown:
    """TRADES (Zhang et al. 2019, eq. 5): cross-entropy as they are, and β times how far an attack moves the answer.

    The neural term is that of the pictures as they are.
    """
    clean = _of(asked, asked.x)
    with _as_tested(asked.model):
        before = asked.model(asked.x).detach().log_softmax(1)

    def moved(x: Tensor) -> Tensor:
        return _divergence(asked.model(x).log_softmax(1), before).sum()

    attacked = _climbed(asked, moved, epsilon, TRADES_STEPS, CROSS / TRADES_STEPS, spread=1e-3 / epsilon)
    divergence = _divergence(asked.model(attacked).log_softmax(1), clean.logits.log_softmax(1)).mean()
    return clean._replace(class_loss=clean.class_loss + TRADES_BETA * divergence)


def gaussian(asked: Asked, sd: float) -> Shown:
    """White noise of a standard deviation in [0, 1] pixels, not clipped, as certificates ask (Cohen et al. 2019)."""
    return _of(asked, asked.x + sd * torch.randn_like(asked.x))


class Hardening(NamedTuple):
    """A way to train, by its word."""

    show: Callable[[Asked, float], Shown]
    unit: float  # of the number in a name, in pixels in [0, 1]
    passes: float  # of a step of training, beside its own: what it takes
    steps: int = 0  # up the gradient of the pictures


HARDENINGS = {
    "at": Hardening(pgd, 1 / LEVELS, STEPS, STEPS),
    "atboth": Hardening(pgd_both, 1 / LEVELS, STEPS, STEPS),
    "fast": Hardening(fast, 1 / LEVELS, 1, 1),
    "trades": Hardening(trades, 1 / LEVELS, TRADES_STEPS + 1, TRADES_STEPS),
    "gauss": Hardening(gaussian, 1.0, 0),
}


def hardening(
    hardened: Hardened | None,
) -> tuple[Callable[[Asked], Shown], Callable[[Asked], Tensor] | None]:
    """Return how a network is shown its pictures in training, and how its robust accuracy is watched, if it is.

    Raises
    ------
    InputError
        If there is no such way.
    """
    if hardened is None:
        return as_they_are, None
    word, number = hardened
    check_choice("networks are not trained against perturbations that way", word, HARDENINGS)
    way = HARDENINGS[word]
    level = number * way.unit
    return lambda asked: way.show(asked, level), (lambda asked: _withstood(asked, level)) if way.steps else None


def _withstood(asked: Asked, epsilon: float) -> Tensor:
    """Return accuracy under PGD from the pictures themselves, which draws no chance: of the first of a batch."""
    few = asked._replace(x=asked.x[:WATCHED], labels=asked.labels[:WATCHED])
    attacked = _climbed(few, _cross_entropy(few), epsilon, STEPS, CROSS / STEPS, spread=0.0)
    return (few.model(attacked).argmax(1) == few.labels).float().mean()


def collapsed(history: pd.DataFrame) -> list[int]:
    """Name the epochs after which a network had lost half or more of the robust accuracy it once had.

    Training on one step's pictures can come to this within an epoch: the network learns to mask its gradient there,
    and PGD finds what that hides (*catastrophic overfitting*: Wong, Rice and Kolter 2020, section 5.4).

    Parameters
    ----------
    history : DataFrame
        From `train_guided`.
    """
    if "robust_accuracy" not in history:
        return []
    watched = history[history["split"] == "validation"].set_index("epoch")["robust_accuracy"]
    return [int(epoch) for epoch in watched.index[watched < watched.cummax() / 2]]


def _of(asked: Asked, shown: Tensor) -> Shown:
    logits, matched = asked.model.matched(shown)
    return Shown(logits, matched, F.cross_entropy(logits, asked.labels))


def _cross_entropy(asked: Asked) -> Loss:
    return lambda x: F.cross_entropy(asked.model(x), asked.labels, reduction="sum")


def _divergence(log_q: Tensor, log_p: Tensor) -> Tensor:
    """Return KL(p ‖ q) of each image."""
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)


@torch.enable_grad()
def _climbed(asked: Asked, loss: Loss, epsilon: float, steps: int, step: float, spread: float = 1.0) -> Tensor:
    """Climb a loss inside the L∞ ball and [0, 1], by signs, from a random point of the ball.

    The network answers as it will be tested (statistics of batch normalisation as they stand, no dropout), and takes
    no note of these passes; gradients are those of the pixels alone.
    """
    low, high = (asked.x - epsilon).clamp(min=0), (asked.x + epsilon).clamp(max=1)
    x = asked.x + spread * epsilon * (2 * torch.rand_like(asked.x) - 1)
    with _as_tested(asked.model):
        for _ in range(steps):
            x = x.clamp(low, high).detach().requires_grad_()
            (gradient,) = torch.autograd.grad(loss(x), x)
            x = x + step * epsilon * gradient.sign()
    return x.clamp(low, high).detach()


@contextmanager
def _as_tested(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
