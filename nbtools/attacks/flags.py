"""What AutoAttack warns of before it starts: networks that its attacks, and others like them, cannot measure."""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn

from nbtools.attacks.gradient import ClassLoss, Said
from nbtools.checks import check_labels
from nbtools.classifiers import logits_of

_PASSES, _SAME, _SUM = 5, 1e-4, 1e-5  # AutoAttack's: how often it asks, and its tolerances


def flags(model: nn.Module, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Say of which images a network answers in a way that no attack here is made for.

    Parameters
    ----------
    model : nn.Module
        A `Classifier` in eval mode.
    x : Tensor
        Pixels in [0, 1], shape (n, 3, h, w).
    labels : Tensor
        Shape (n,).

    Returns
    -------
    dict of str to Tensor of bool (n,)
        ``random outputs``: logits differ between five passes by more than 1e-4 of their length.
        ``probabilities``: logits lie in [0, 1] and add up to 1, as after a softmax.
        ``no gradient``: the class loss, taken of logits, has a gradient of exactly 0.
        ``gradients inside``: the network differentiates something itself before it answers.

    Raises
    ------
    InputError
        If no gradient passes through the network at all, one is not finite, or labels do not fit.

    Notes
    -----
    The flags of AutoAttack (Croce and Hein 2020, arXiv 2003.01690; its ``flags_doc.md``).
    """
    answers = torch.stack([logits_of(model, x) for _ in range(_PASSES)])
    check_labels(answers[0], labels)
    answer, directions = answers[0], nn.functional.normalize(answers, dim=2)
    apart = (directions[:, None] - directions[None]).norm(dim=3).amax((0, 1))
    within = (answer > -_SUM).all(1) & (answer < 1 + _SUM).all(1) & ((answer.sum(1) - 1).abs() < _SUM)
    return {
        "random outputs": apart > _SAME,
        "probabilities": within,
        "no gradient": _gradient(model, x, labels).flatten(1).abs().amax(1) == 0,
        "gradients inside": torch.full_like(within, _differentiates(model, x)),
    }


def _gradient(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    here = x.clone().requires_grad_()
    said = Said(model(here))
    rivals = torch.ones_like(said.logits, dtype=torch.bool).scatter(1, labels[:, None], False)
    return ClassLoss(labels.clone(), rivals).uphill(said, here, 1.0)


def _differentiates(model: nn.Module, x: Tensor) -> bool:
    """Whether torch is asked for gradients, under whatever name it was imported, while the network answers."""
    asked, before = [], sys.getprofile()
    watched = {torch.autograd.grad.__code__, torch.autograd.backward.__code__}
    sys.setprofile(lambda frame, event, _: asked.append(event) if frame.f_code in watched else None)
    try:
        model(x)
    finally:
        sys.setprofile(before)
    return bool(asked)
