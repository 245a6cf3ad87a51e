"""One interface to every attack: images in, one row per decision out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from nbtools.attacks.gradient import descend
from nbtools.attacks.points import Attacked, Task, length, tried_again
from nbtools.attacks.table import ATTACKS, Attack
from nbtools.checks import check_choice, check_eval, check_labels, check_pixels, check_range, check_same_classes
from nbtools.classifiers import Classifier, differentiating, logits_of
from nbtools.data.images.sets import ImageSet, to_float
from nbtools.devices import best_device
from nbtools.errors import InputError
from nbtools.metrics.decisions.robustness import check_decisions
from nbtools.models.read_outs import decided
from nbtools.processes import Bar

_RESTART = 10_000_019  # between the seeds of restarts: farther apart than batches and ε are


@differentiating
def sweep(
    model: nn.Module,
    images: ImageSet,
    epsilons: Sequence[float],
    *,
    attack: str = "LinfPGD",
    steps: int | None = None,
    restarts: int = 1,
    seed: int = 0,
    batch_size: int = 512,
    after: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Attack every image at every ε and return what the model decided.

    Parameters
    ----------
    model : nn.Module
        In eval mode; maps pixels (n, 3, h, w) in [0, 1] to logits (n, n_classes), in any precision (`Classifier`).
    images : ImageSet
        Labelled images.
    epsilons : sequence of float
        Radii in pixel units, e.g. ``4 / 255``: above 0, and for L∞ up to 1. An L2 radius is the length of the whole
        change and may exceed 1.
    attack : str
        A key of `ATTACKS`; its name begins with its norm.
    steps : int, optional
        Of an iterative attack: gradient steps; of Carlini and Wagner per search step; of AutoAttack and Square
        hundredths of the standard budget; of noise, draws. By default the attack's usual number, `Attack.steps`.
    restarts : int
        How often to attack, each time with other random numbers, the images that still stand at some ε.
    seed : int
        Of all random numbers.
    batch_size : int
        Images attacked together.
    after : DataFrame, optional
        The decisions of this network, on these images at these ε, under an attack before: an image is attacked only
        where it still stands, and its decision before is kept unless it falls. What is left is the worst case of both.

    Returns
    -------
    DataFrame
        The decisions: one row per image and ε, ε = 0 (clean) included. Columns image_id, label, epsilon,
        prediction, margin (logit of the label minus the largest other) and distance (norm of the perturbation, at
        most ε), all measured in float32 on the final image; and converged: False where the image stands though the
        attack had fewer than `Attack.least` steps, or, looking for the nearest adversarial image, found none at all.
        Such a row says nothing of robustness.

    Raises
    ------
    InputError
        If the model is in training mode or gives logits that are not finite, an ε, the attack, its steps or restarts
        are invalid, there is one class only, images and model are not of the same classes, or the decisions before are
        of other images or ε.

    Notes
    -----
    Images the model gets wrong are not attacked. An image that falls at some ε counts as fallen at every larger one,
    by the same perturbation. Random numbers are drawn batch by batch: another `batch_size` changes them as another
    seed would. A distance is at most ε up to float32 rounding: ε · (1 + 1e-6) for L2, ε + 1e-7 for L∞.
    """
    check_same_classes(images.classes, model)
    _check_attack(model, attack, steps, restarts)
    check_range("batch_size", batch_size, 1, whole=True)
    radii = _radii(epsilons, attack, sort=True)
    device, kind = best_device(), ATTACKS[attack]
    model = Classifier(model.to(device))
    check_classes(model, images)
    stood = None if after is None else stood_before(after, images, radii).to(device)
    tables = []
    with Bar(total=len(images) * len(radii), desc=attack, unit="decision", leave=False) as bar:
        model.register_forward_pre_hook(_counting(bar))
        for start in range(0, len(images), batch_size):
            rows = images[slice(start, start + batch_size)].to(device)
            x = to_float(rows.pixels)
            standing = None if stood is None else stood[:, start : start + batch_size]
            task = Task(model, x, rows.labels.clone(), radii, steps or kind.steps, seed + start, stood=standing)
            found, zeros = _attacked(task, kind, restarts), torch.zeros(len(rows))
            tables.append(_decisions(rows, 0.0, task.clean, zeros, torch.ones_like(found.ended)))
            for epsilon, point, said in zip(radii, found.points, found.logits, strict=True):
                tables.append(_decisions(rows, epsilon, said, length(point - x, kind.norm), found.ended))
            bar.update(len(rows) * len(radii))
    table = pd.concat(tables, ignore_index=True)
    return table if after is None else _worse(table, after)


def perturb(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    epsilons: Sequence[float],
    *,
    attack: str = "LinfPGD",
    steps: int | None = None,
    restarts: int = 1,
    seed: int = 0,
    stop_at_success: bool = True,
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
    attack, steps, restarts, seed
        As in `sweep`.
    stop_at_success : bool
        Whether an image is left alone once it fools the model: it then lies just beyond the boundary, which is all
        that robust accuracy asks. If not, a gradient attack takes all its steps on every image.

    Returns
    -------
    Tensor
        Shape (n_epsilons, n, 3, h, w): for every ε the adversarial image that was found, or, where none was, the
        attack's last try: of a gradient attack its last image, of a minimum-norm attack its point moved into the ball,
        of targeted PGD, AutoAttack, Square and noise the clean image. Every one lies in its ball and in [0, 1].

    Raises
    ------
    InputError
        As `sweep`, and if pixels leave [0, 1], labels do not fit, radii are not ascending, or an attack that cannot
        go on after its success is asked to.
    """
    return attacked(model, x, labels, epsilons, attack, steps, restarts, seed, stop_at_success).points


@differentiating
def attacked(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    epsilons: Sequence[float],
    attack: str,
    steps: int | None = None,
    restarts: int = 1,
    seed: int = 0,
    stop_at_success: bool = True,
) -> Attacked:
    """Return points (n_epsilons, n, 3, h, w) as `perturb`, the model's logits, and whether the attack ended."""
    _check_attack(model, attack, steps, restarts)
    radii = _radii(epsilons, attack)
    check_pixels(x)
    model = Classifier(model)
    logits = logits_of(model, x)
    check_labels(logits, labels)
    check_several(logits.shape[1])
    kind = ATTACKS[attack]
    if not stop_at_success and (kind.run.func is not descend or restarts > 1):
        going_on = [name for name, other in ATTACKS.items() if other.run.func is descend]
        raise InputError(
            f"{attack} ends where it succeeds",
            expected=f"one of {', '.join(going_on)}, started once",
            got=f"stop_at_success = False, restarts = {restarts}",
            fix="take one of these, or let it stop",
        )
    # copies, which are differentiable even if these were made under torch.inference_mode
    task = Task(model, x.clone(), labels.clone(), radii, steps or kind.steps, seed, stop_at_success)
    return _attacked(task, kind, restarts)


def _counting(bar: Bar) -> Callable[..., None]:
    """Return a hook that shows how often a network was asked: a batch's decisions come all at once, minutes later."""
    asked = count(1)

    def tick(*_: object) -> None:
        bar.set_postfix(passes=next(asked), refresh=False)
        bar.update(0)

    return tick


def _attacked(task: Task, kind: Attack, restarts: int) -> Attacked:
    """Attack, and attack again what still stands at some ε; the first point that fools the model is kept."""
    found = kind.run(task)
    for restart in range(1, restarts):
        found = tried_again(kind.run, replace(task, seed=task.seed + restart * _RESTART), found)
    return found._replace(ended=found.ended & (task.steps >= kind.least))


def _decisions(images: ImageSet, epsilon: float, logits: Tensor, distance: Tensor, ended: Tensor) -> pd.DataFrame:
    columns = {"label": images.labels, **decided(logits, images.labels), "distance": distance}
    columns["converged"] = ended | (columns["prediction"] != images.labels)
    table = pd.DataFrame({name: value.cpu().numpy() for name, value in columns.items()})
    table.insert(0, "image_id", images.ids.astype(str))
    table.insert(2, "epsilon", epsilon)
    return table


def stood_before(after: pd.DataFrame, images: ImageSet, radii: list[float]) -> Tensor:
    """Return where images stood, (n_epsilons, n); raise `InputError` unless they are these images at these ε."""
    check_decisions(after, by=())
    right = after.assign(right=after["prediction"] == after["label"])
    right = right.pivot(index="epsilon", columns="image_id", values="right")
    ids = images.ids.astype(str)
    if set(right.columns) != set(ids) or list(right.index) != [0.0, *radii]:
        raise InputError(
            "the decisions before are others",
            expected=f"of {len(ids)} images, at ε = 0 and {radii}",
            got=f"{len(set(right.columns) - set(ids))} others among {len(right.columns)}, at ε = {list(right.index)}",
            fix="attack the same images at the same ε",
        )
    return torch.tensor(right.loc[radii, ids].to_numpy())


def _worse(table: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Return the decisions of the attack before, and where this one alone fooled the network, its own."""
    keys = ["image_id", "epsilon"]
    before = after.set_index(keys)[list(table.columns.drop(keys))].loc[pd.MultiIndex.from_frame(table[keys])]
    before = before.reset_index()[list(table.columns)]
    fell = (table["prediction"] != table["label"]) & (before["prediction"] == before["label"])
    worse = before.where(~fell, table)
    return worse.assign(converged=before["converged"] | table["converged"])


def _check_attack(model: nn.Module, attack: str, steps: int | None, restarts: int) -> None:
    check_choice("unknown attack", attack, ATTACKS)
    check_range("steps", ATTACKS[attack].steps if steps is None else steps, 1, whole=True)
    check_range("restarts", restarts, 1, whole=True)
    if restarts > 1 and not ATTACKS[attack].random:
        random = ", ".join(name for name, kind in ATTACKS.items() if kind.random)
        raise InputError(
            f"{attack} cannot be started that often",
            expected=f"1, or more for an attack that draws random numbers ({random})",
            got=f"restarts = {restarts}",
            fix="leave restarts at 1: a second run of a deterministic attack finds the same",
        )
    check_eval(model)


def _radii(epsilons: Sequence[float], attack: str, *, sort: bool = False) -> list[float]:
    """Return ε as a list of floats; raise unless they are different radii, ascending once sorted or as they are."""
    euclidean, values = ATTACKS[attack].norm == 2, np.asarray(epsilons)
    if values.ndim != 1 or values.dtype.kind not in "fiu":
        values = np.empty(0)
    radii = np.sort(values) if sort else values
    inside = (radii > 0) & (radii < np.inf if euclidean else radii <= 1)
    if not len(radii) or not inside.all() or not (np.diff(radii) > 0).all():
        limit = "" if euclidean else " and up to 1, such as 4/255"
        raise InputError(
            "ε is in pixel units",
            expected=f"a list of different numbers above 0{limit}, ascending",
            got=epsilons,
            fix="divide by 255 if these are grey levels",
        )
    return radii.astype(float).tolist()


def check_several(n_classes: int) -> None:
    """Raise `InputError` unless a model has two classes or more."""
    if n_classes < 2:
        raise InputError(
            "there is one class only",
            expected="a model of two classes or more",
            got=f"{n_classes} logit per image",
            fix="give an output for every class: a lone logit is always the largest",
        )


def check_classes(model: nn.Module, images: ImageSet) -> None:
    """Raise `InputError` unless images have labels, and of as many classes as the model has: two or more."""
    n_classes = logits_of(model, to_float(images.pixels[:1])).shape[1]
    if n_classes != len(images.classes) or (images.labels < 0).any():
        raise InputError(
            "the model's classes are not the images'",
            expected=f"labelled images of {n_classes} classes",
            got=f"{len(images.classes)} classes, {int((images.labels < 0).sum())} images without a label",
            fix="use the images the model was trained for",
        )
    check_several(n_classes)
