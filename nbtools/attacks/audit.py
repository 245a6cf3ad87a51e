"""Can a network's gradients be trusted? An audit for gradient masking, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from nbtools.attacks.flags import flags
from nbtools.attacks.interface import perturb, stood_before, sweep
from nbtools.checks import check_choice, check_same_classes
from nbtools.classifiers import Classifier, differentiating, logits_of
from nbtools.data.images.sets import ImageSet, to_float
from nbtools.devices import best_device
from nbtools.errors import InputError

_MORE = 4  # times as many steps, and as many restarts: enough to show what the given number missed
TOLERANCE = 0.02
_BATCH = 256
_NEVER = ("unbounded attack", "random outputs", "probabilities", "gradients inside")  # not of one image
_EXPLANATIONS = {
    "unbounded attack": "accuracy when every pixel may change at will",
    "falls with ε": "largest rise of accuracy from one ε to the next",
    "more steps": "largest loss of accuracy to {more} times the steps",
    "more restarts": "largest loss of accuracy to {more} restarts",
    "targeted": "largest lead of targeted PGD, with {targeted} steps",
    "black box": "largest lead of Square, which sees no gradient, with {queries} queries",
    "random noise": "largest lead of the best of {steps} random draws",
    "transfer": "largest lead of another network's adversarial images",
    "decisions handed in": "largest lead over them: a weaker attack, or ε in units other than pixels",
    "random outputs": "images whose logits change from pass to pass",
    "probabilities": "images whose logits are probabilities",
    "no gradient": "images whose class loss has a gradient of exactly 0",
    "gradients inside": "the network differentiates while it decides (100 %) or not",
}


def audit(
    model: nn.Module,
    images: ImageSet,
    epsilons: Sequence[float],
    *,
    attack: str = "LinfPGD",
    steps: int = 40,
    seed: int = 0,
    surrogate: nn.Module | None = None,
    decisions: pd.DataFrame | None = None,
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
    decisions : DataFrame, optional
        What this network decided on these images at these ε under an attack from elsewhere: is it as strong?

    Returns
    -------
    DataFrame
        One row per check: ``check``, ``value`` (a share of the images), ``limit`` (``value`` may not exceed it),
        ``passed``, ``n`` (images), ``explanation``.

    Raises
    ------
    InputError
        As `attacks.sweep`; if the attack is another, there are fewer than two ε, no image is classified
        correctly, or the decisions are of other images or ε.

    Notes
    -----
    The signs of masked gradients of Athalye, Carlini and Wagner (2018, section 3.1) and Carlini et al. (2019, arXiv
    1902.06705), and the `flags` of AutoAttack. The limit is 2 points of accuracy, or one image where that is more: the
    same images are compared, so that only the attack's own random numbers count, and a curve that moves by less says
    the same; of the flags, none but a gradient of 0 may be raised at all. A network can pass every check and still fall
    to an attack made for it.
    """
    _check(attack, epsilons)
    check_same_classes(images.classes, model, surrogate)
    radii = sorted(map(float, epsilons))
    found = _accuracies(model, images, radii, attack, steps, seed)
    if surrogate is not None:
        found["transfer"] = _transferred(model, surrogate, images, radii, attack, steps, seed)
    white = found.pop("white box")
    _check_clean(white[0], len(images))
    values = {"unbounded attack": found.pop("unbounded attack")[-1], "falls with ε": np.diff(white).max()}
    values |= {name: (white - other)[1:].max() for name, other in found.items()}
    if decisions is not None:
        values["decisions handed in"] = (
            stood_before(decisions, images, radii).float().mean(1).numpy() - white[1:]
        ).max()
    table = pd.DataFrame((values | _raised(model, images)).items(), columns=["check", "value"]).astype({"value": float})
    limits = dict.fromkeys(table["check"], max(TOLERANCE, 1 / len(images))) | dict.fromkeys(_NEVER, 0.0)
    table["limit"] = table["check"].map(limits)
    numbers = {"more": _MORE, "steps": steps, "targeted": _MORE * steps, "queries": 50 * steps}
    words = [_EXPLANATIONS[name].format(**numbers) for name in table["check"]]
    return table.assign(passed=table["value"] <= table["limit"] + 1e-9, n=len(images), explanation=words)


def describe_audit(table: pd.DataFrame) -> str:
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


def _accuracies(
    model: nn.Module, images: ImageSet, radii: list[float], attack: str, steps: int, seed: int
) -> dict[str, np.ndarray]:
    """Accuracy under every attack of the audit: at each ε, ascending, clean first."""
    norm = attack.removesuffix("PGD")
    everything = 1.0 if norm == "Linf" else sqrt(prod(images.pixels.shape[1:]))

    def swept(name: str = attack, epsilons: list[float] = radii, steps: int = steps, restarts: int = 1) -> np.ndarray:
        table = sweep(model, images, epsilons, attack=name, steps=steps, restarts=restarts, seed=seed)
        return (table["prediction"] == table["label"]).groupby(table["epsilon"]).mean().to_numpy()

    # Each ε apart: in one sweep accuracy cannot rise, and a failure of the attack would go unseen.
    apart = [swept(epsilons=[radius]) for radius in radii]
    return {
        "white box": np.array([apart[0][0], *(pair[1] for pair in apart)]),
        "unbounded attack": swept(epsilons=[everything]),
        "more steps": swept(steps=_MORE * steps),
        "more restarts": swept(restarts=_MORE),
        "targeted": swept(f"{norm}TargetedPGD", steps=_MORE * steps),
        "black box": swept(f"{norm}Square"),
        "random noise": swept(f"{norm}Noise"),
    }


@differentiating
def _raised(model: nn.Module, images: ImageSet) -> dict[str, float]:
    """Share of the images that raise each flag."""
    images, parts = images.to(best_device()), []
    judge = Classifier(model.to(images.pixels.device))
    for start in range(0, len(images), _BATCH):
        part = images[slice(start, start + _BATCH)]
        parts.append(flags(judge, to_float(part.pixels), part.labels))
    return {name: torch.cat([part[name] for part in parts]).float().mean().item() for name in parts[0]}


def _transferred(
    model: nn.Module, surrogate: nn.Module, images: ImageSet, radii: list[float], attack: str, steps: int, seed: int
) -> np.ndarray:
    """Accuracy on images that fool the surrogate: at each ε, clean first."""
    images = images.to(best_device())
    x, judge = to_float(images.pixels), Classifier(model)
    how: dict[str, Any] = {"attack": attack, "steps": steps, "seed": seed, "stop_at_success": False}
    points = perturb(surrogate.to(x.device), x, images.labels, radii, **how)
    right = [logits_of(judge, point).argmax(1) == images.labels for point in (x, *points)]
    return torch.stack(right).float().mean(1).cpu().numpy()


def _check(attack: str, epsilons: Sequence[float]) -> None:
    check_choice("cannot audit this attack", attack, ("LinfPGD", "L2PGD"))
    if len(epsilons) < 2:
        raise InputError(
            "an audit needs several budgets",
            expected="two ε or more",
            got=list(epsilons),
            fix="add smaller and larger ones: whether accuracy falls with ε is a check",
        )


def _check_clean(accuracy: float, n: int) -> None:
    if not accuracy > 0:
        raise InputError(
            "the network has nothing to lose",
            expected="at least one image that is classified correctly",
            got=f"clean accuracy 0 on {n} images",
            fix="audit a trained network, on images of its classes",
        )
