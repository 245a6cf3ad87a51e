"""How smooth a network's loss is around an image: input-gradient norms, and the loss over a plane of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nbtools.checks import (
    as_names,
    check_counts,
    check_eval,
    check_labels,
    check_once,
    check_pixels,
    check_range,
    check_table,
)
from nbtools.classifiers import Classifier, differentiating
from nbtools.errors import InputError
from nbtools.metrics.inputs import groups_of
from nbtools.metrics.stats import bootstrap_ci, ci


@differentiating
def squared_gradient(model: nn.Module, x: Tensor, labels: Tensor, batch_size: int = 256) -> Tensor:
    """Return ‖∇ₓ CE(model(x), label)‖² of every image.

    Parameters
    ----------
    model : nn.Module
        In eval mode; maps pixels (n, 3, h, w) in [0, 1] to logits (n, n_classes).
    x : Tensor
        Pixels, (n, 3, h, w) in [0, 1].
    labels : Tensor
        (n,) int64.
    batch_size : int
        Images per pass; has no influence on the result.

    Returns
    -------
    Tensor
        (n,) float64, in nats² per unit pixel²: squared L2 norm over all pixel values. Lower is smoother.

    Raises
    ------
    InputError
        If the model is in training mode, pixels leave [0, 1], labels do not fit, or a logit is not finite.

    Notes
    -----
    Each image's own loss is differentiated. The gradient of the *batch mean* would be n times smaller, and its
    square depend on the batch size. The cross-entropy is taken in float64: in float32 the gradient of a confident
    image is rounded to 0.
    """
    check_range("batch_size", batch_size, 1, whole=True)
    batches = zip(x.split(batch_size), labels.split(batch_size), strict=True)
    return torch.cat([squared_norm(input_gradient(model, *batch)) for batch in batches])


def squared_norm(changes: Tensor) -> Tensor:
    """Return the squared L2 norm (n,), float64, of gradients or other changes (n, channels, h, w)."""
    return changes.flatten(1).double().square().sum(1)


@differentiating
def input_gradient(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """Return ∇ₓ CE(model(x), label) of every image, in one pass: (n, 3, h, w), in the precision of x.

    Raises
    ------
    InputError
        As `squared_gradient`, which says what else holds of it.
    """
    check_eval(model)
    check_pixels(x)
    return _gradient(Classifier(model), x, labels.clone())  # differentiable, even if made under torch.inference_mode


def _gradient(model: Classifier, x: Tensor, labels: Tensor) -> Tensor:
    """Each image's gradient of its own loss; summing the losses keeps images apart."""
    here = x.detach().clone().requires_grad_(True)
    logits = model(here)
    check_labels(logits.detach(), labels)
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits.double(), labels, reduction="sum"), here)
    return gradient


def smoothness(
    gradients: pd.DataFrame, by: Sequence[str] = ("condition", "seed", "epsilon"), seed: int = 0
) -> pd.DataFrame:
    """Average squared gradients over images, with bootstrap intervals.

    Parameters
    ----------
    gradients : DataFrame
        One row per network × image × ε: ``image_id``, ``gradient`` (from `squared_gradient`) and the `by` columns.
    by : sequence of str
        What tells networks and ε apart.
    seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        One row per group: ``mean`` with ``ci_low``, ``ci_high`` (95 %, over images), ``median``, ``n``. The mean is
        the paper's score; a few misclassified images carry most of it, so the median is given beside it.

    Raises
    ------
    InputError
        If a column is missing or a value is negative or not finite.
    """
    by = as_names(by)
    problem, fix = "this is not a table of squared gradients", "make it with squared_gradient"
    check_table(problem, gradients, ("image_id", "gradient", *by), fix=fix)
    impossible = ~np.isfinite(gradients["gradient"]) | (gradients["gradient"] < 0)
    wrong = {"negative or not finite": int(impossible.sum())}
    check_counts(problem, wrong, expected="gradients of 0 or more", fix=fix)
    check_once(problem, gradients, [*by, "image_id"], fix="name in `by` what tells the networks apart, such as seed")
    rows = []
    for named, group in groups_of(gradients.sort_values("image_id", kind="stable"), by):
        values = group["gradient"].to_numpy()
        score = {"mean": values.mean(), **ci(bootstrap_ci(values, seed=seed)), "median": np.median(values)}
        rows.append({**named, **score, "n": len(values)})
    return pd.DataFrame(rows)


def describe_span(networks: pd.DataFrame, family: Sequence[str]) -> str:
    """Say which conditions a weight-decay family does not span in smoothness, and which decay would.

    Which decay makes a network how smooth depends on optimiser, learning rate and epochs: a family that spans the
    networks of one study may leave out those of another.

    Parameters
    ----------
    networks : DataFrame
        One row per network, at one ε: ``condition``, ``seed``, ``mean``, as `smoothness` gives them.
    family : sequence of str
        The weight-decay networks, and where wanted the plain one; spanned are networks of the same seed.
    """
    of_family = networks[networks["condition"].isin(as_names(family))].groupby("seed")["mean"].agg(["min", "max"])
    placed = networks.join(of_family, on="seed")
    beyond = {"stronger": placed["mean"] < placed["min"], "weaker": placed["mean"] > placed["max"]}
    asked = [
        f"{', '.join(placed.loc[there, 'condition'].unique())} (train a {decay} decay)"
        for decay, there in beyond.items()
        if there.any()
    ]
    return f"not spanned by the family: {'; '.join(asked)}" if asked else "the family spans every network"


@differentiating
def loss_surface(
    model: nn.Module, x: Tensor, labels: Tensor, radius: float, n: int = 21, seed: int = 0
) -> pd.DataFrame:
    """Return the loss over a plane of images: along the sign of the gradient, and along a random sign direction.

    Parameters
    ----------
    model, x, labels
        As for `squared_gradient`; the surface is the mean over these images, each in its own plane.
    radius : float
        Largest step along either direction, pixel units in (0, 1]: every pixel moves by at most that much.
    n : int
        Points along each direction, odd, so that the image itself is one.
    seed : int
        Of the random directions, which depend on nothing else: all networks get the same.

    Returns
    -------
    DataFrame
        n² rows: ``along_gradient``, ``along_random`` (pixel units, −radius to radius), ``loss`` (cross-entropy,
        nats, mean over images).

    Raises
    ------
    InputError
        As `squared_gradient`, or if `radius` is not in (0, 1] or `n` is even or below 3.

    Notes
    -----
    Points outside [0, 1] are clipped, as an attack would: the surface is that of images. Both directions move every
    pixel equally far, so the two axes are alike; the random one is nearly orthogonal to the gradient's.
    """
    if not 0 < radius <= 1 or n < 3 or n % 2 == 0:
        raise InputError(
            "no surface can be drawn",
            expected="a radius in (0, 1] pixel units, and an odd number of points, 3 or more",
            got=f"radius {radius}, {n} points",
            fix="8/255 and 21 are usual",
        )
    check_eval(model)
    check_pixels(x)
    judge, labels = Classifier(model), labels.clone()
    uphill = _gradient(judge, x, labels).sign()
    generator = torch.Generator().manual_seed(seed)
    aside = (torch.randint(0, 2, x.shape, generator=generator) * 2 - 1).to(x)
    steps = torch.linspace(-radius, radius, n)
    rows = []
    with torch.no_grad():
        for a in steps.tolist():
            for b in steps.tolist():
                logits = judge((x + a * uphill + b * aside).clamp(0, 1))
                loss = float(F.cross_entropy(logits.double(), labels))
                rows.append({"along_gradient": a, "along_random": b, "loss": loss})
    return pd.DataFrame(rows)
