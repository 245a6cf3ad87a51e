"""Can a network's gradients be trusted? An audit for gradient masking, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from nbtools.attacks import ATTACKS, perturb, sweep
from nbtools.data.images import ImageSet, to_float
from nbtools.errors import InputError

_MORE = 4  # times as many steps, and as many restarts: enough to show what the given number missed
TOLERANCE = 0.02


def audit(
    model: nn.Module,
    images: ImageSet,
    epsilons: Sequence[float],
    *,
    attack: str = "LinfPGD",
    steps: int = 40,
    seed: int = 0,
    surrogate: nn.Module | None = None,
) -> pd.DataFrame:
    """Check what holds for every attack that follows true gradients.

    Parameters
    ----------
    model : nn.Module
        As in `attacks.sweep`.
    images : ImageSet
        Labelled images; at least one classified correctly.
    epsilons : sequence of float
        Budgets, pixel units: two or more, best where accuracy is between 0 and clean.
    attack : {"LinfPGD", "L2PGD"}
        The white-box attack that is audited.
    steps : int
        Of the attack. Noise gets as many draws, Square 50 times as many queries.
    seed : int
        Of all random numbers.
    surrogate : nn.Module, optional
        Another network of the same classes, whose adversarial images are tried as a second black box.

    Returns
    -------
    DataFrame
        One row per check: ``check``, ``value`` (a share of the images), ``limit`` (``value`` may not exceed it),
        ``passed``, ``n`` (images), ``explanation``.

    Raises
    ------
    InputError
        As `attacks.sweep`; if the attack is another, there are fewer than two ε, or no image is classified correctly.

    Notes
    -----
    The signs of masked gradients of Athalye, Carlini and Wagner (2018, section 3.1) and Carlini et al. (2019,
    arXiv 1902.06705). The limit is 2 points of accuracy, or one image where that is more: the same images are compared, so
    that only chance of the attack's own random numbers counts, and a curve that moves by less says the same. A network
    can pass every check and still be fooled by an attack made for it.
    """
    _check(attack, epsilons)
    norm = attack.removesuffix("PGD")
    radii = sorted(map(float, epsilons))
    options = {"steps": steps, "seed": seed}
    # Each ε apart: in one sweep accuracy cannot rise, and a failure of the attack would go unseen.
    white = _accuracy(*(sweep(model, images, [radius], attack=attack, **options) for radius in radii))
    if not white[0] > 0:
        raise InputError(
            "the network has nothing to lose",
            expected="at least one image that is classified correctly",
            got=f"clean accuracy 0 of {len(images)} images",
            fix="audit a trained network, on images of its classes",
        )

    def worst(other: np.ndarray) -> float:
        """Largest accuracy by which the white box stands above another attack, over ε."""
        return float((white - other)[1:].max())

    limit = max(TOLERANCE, 1 / len(images))
    everything = 1.0 if norm == "Linf" else float(np.sqrt(prod(images.pixels.shape[1:])))
    longer, again, black, noise = (
        _accuracy(sweep(model, images, radii, attack=name, **{**options, **more}))
        for name, more in (
            (attack, {"steps": _MORE * steps}),
            (attack, {"restarts": _MORE}),
            (f"{norm}Square", {}),
            (f"{norm}Noise", {}),
        )
    )
    unbounded = _accuracy(sweep(model, images, [everything], attack=attack, **options))
    rows = [
        ("unbounded attack", unbounded[-1], 0.0, "accuracy when every pixel may change at will: must be 0"),
        ("falls with ε", float(np.diff(white).max()), limit, "largest rise of accuracy from one ε to the next"),
        ("more steps", worst(longer), limit, f"largest loss of accuracy with {_MORE} times the steps"),
        ("more restarts", worst(again), limit, f"largest loss of accuracy with {_MORE} restarts"),
        ("black box", worst(black), limit, f"largest lead of Square, which sees no gradient, in {50 * steps} queries"),
        ("random noise", worst(noise), limit, f"largest lead of the best of {steps} random draws"),
    ]
    if surrogate is not None:
        transferred = _transferred(model, surrogate, images, radii, attack, options)
        rows.append(("transfer", worst(transferred), limit, "largest lead of another network's adversarial images"))
    table = pd.DataFrame(rows, columns=["check", "value", "limit", "explanation"])
    table.insert(3, "passed", table["value"] <= table["limit"] + 1e-9)
    table.insert(4, "n", len(images))
    return table


def describe(table: pd.DataFrame) -> str:
    """Put an audit into words: a verdict, and one line per check with its number.

    Parameters
    ----------
    table : DataFrame
        From `audit`.

    Returns
    -------
    str
        Lines such as ``"pass  black box: 0.0 % (at most 2.0 %), largest lead of Square, …"``.
    """
    failed = int((~table["passed"]).sum())
    verdict = "gradients hide something" if failed else "no sign of masked gradients"
    lines = [f"{len(table) - failed} of {len(table)} checks passed on {table['n'].iloc[0]} images: {verdict}"]
    for row in table.to_dict("records"):
        numbers = f"{_percent(row['value'])} (at most {_percent(row['limit'])})"
        lines.append(f"{'pass' if row['passed'] else 'FAIL'}  {row['check']}: {numbers}, {row['explanation']}")
    return "\n".join(lines)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %".replace("-", "−")


def _accuracy(*decisions: pd.DataFrame) -> np.ndarray:
    """Accuracy at every ε, ascending, clean first."""
    table = pd.concat(decisions).drop_duplicates(["image_id", "epsilon"])
    return (table["prediction"] == table["label"]).groupby(table["epsilon"]).mean().to_numpy()


@torch.no_grad()
def _transferred(
    model: nn.Module, surrogate: nn.Module, images: ImageSet, radii: list[float], attack: str, options: dict[str, Any]
) -> np.ndarray:
    """Accuracy at every ε on images that fool the surrogate; clean accuracy first."""
    images = images.to(next(model.parameters()).device)
    x = to_float(images.pixels)
    with torch.enable_grad():
        points = perturb(surrogate.to(x.device), x, images.labels, radii, attack=attack, **options)
    return np.array([float((model(point).argmax(1) == images.labels).float().mean()) for point in (x, *points)])


def _check(attack: str, epsilons: Sequence[float]) -> None:
    audited = [name for name in ATTACKS if name.endswith("PGD")]
    if attack not in audited:
        raise InputError(
            "cannot audit this attack", expected=" or ".join(audited), got=repr(attack), fix="use one of these"
        )
    if len(epsilons) < 2:
        raise InputError(
            "an audit needs several budgets",
            expected="two ε or more",
            got=list(epsilons),
            fix="add smaller and larger ones: whether accuracy falls with ε is a check",
        )
