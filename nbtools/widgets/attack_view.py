"""What the attack explorer shows for a choice, at every ε: pictures, probabilities and sentences. Knows no widget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nbtools.attacks.table import ATTACKS
from nbtools.widgets.attack_paths import AttackPath
from nbtools.widgets.attack_state import Bench, Choice

CLASSES_SHOWN = 10


@dataclass(frozen=True)
class Panel:
    """One network, at every ε.

    Attributes
    ----------
    network : str
        Its name.
    after, difference : uint8 arrays (n_levels, height, width, 3)
        The picture, and what changed: 0.5 + amplify × difference, grey where nothing did.
    probabilities : array (n_levels, n_classes)
        Of the classes shown.
    verdicts : tuple of str (n_levels,)
        What the network says, in a sentence.
    fooled : tuple of bool (n_levels,)
        Whether the attack has what it wants.
    flip : str
        Where the attack succeeds along the path, in a sentence.
    """

    network: str
    after: np.ndarray
    difference: np.ndarray
    probabilities: np.ndarray
    verdicts: tuple[str, ...]
    fooled: tuple[bool, ...]
    flip: str


@dataclass(frozen=True)
class View:
    """All the explorer shows of one image.

    Attributes
    ----------
    levels : tuple of float (n_levels,)
        ε in 1/255.
    budgets : tuple of str (n_levels,)
        The same with its unit.
    label : str
        The image's class; empty if it has none.
    classes : tuple of str
        Those shown, in their own order: all, or the most probable of many.
    amplify : int
        How much differences are amplified: the same at every ε, so that one sees them grow.
    panels : tuple of Panel
        One per network.
    path : DataFrame
        As `decision_table` gives it.
    """

    levels: tuple[float, ...]
    budgets: tuple[str, ...]
    label: str
    classes: tuple[str, ...]
    amplify: int
    panels: tuple[Panel, ...]
    path: pd.DataFrame


def view(bench: Bench, choice: Choice) -> View:
    """Return what to show for a choice whose paths have been computed (`Bench.compute`)."""
    paths = bench.paths(choice)
    levels, label = (0.0, *bench.levels), bench.image(choice.image)[1]
    shown, amplify = _classes_shown(list(paths.values())), amplification(bench.levels)
    least = ATTACKS[choice.attack].least
    return View(
        levels=levels,
        budgets=tuple(budget(level, choice.attack) for level in levels),
        label=bench.classes[label] if label >= 0 else "",
        classes=tuple(bench.classes[index] for index in shown),
        amplify=amplify,
        panels=tuple(_panel(name, path, bench.classes, shown, amplify, least) for name, path in paths.items()),
        path=decision_table(paths, bench.classes, image=choice.image),
    )


def budget(level: float, attack: str) -> str:
    """Show ε with its unit: ``"2/255"``, for L2 attacks ``"2/255 RMS"``, ``"clean"`` for 0."""
    if level == 0:
        return "clean"
    return f"{level:g}/255" + (" RMS" if ATTACKS[attack].norm == 2 else "")


def amplification(levels: Sequence[float]) -> int:
    """Return the power of two that brings a change by the largest ε (1/255) nearest to the ends of the scale."""
    return 2 ** max(0, round(np.log2(0.5 * 255 / max(levels))))


def decision_table(paths: Mapping[str, AttackPath], classes: tuple[str, ...], *, image: str) -> pd.DataFrame:
    """Return the decision paths of one image as a table.

    Parameters
    ----------
    paths : mapping of condition → AttackPath
        Of the same image and attack.
    classes : tuple of str
        Class names.
    image : str
        Image id.

    Returns
    -------
    DataFrame
        One row per condition × ε: ``condition``, ``image_id``, ``level`` (ε in 1/255; RMS for L2), ``epsilon``
        (pixel units, in the attack's norm), ``label``, ``probability`` (of the label), ``rival`` (the target; else
        the class the network turns to, or, where it never does, the second most probable at the largest ε),
        ``rival_probability``, ``prediction``, ``reached`` (whether the attack has what it wants) and ``converged``
        (False where it has not, and did not come to its end: no answer).
    """
    tables = []
    for name, path in paths.items():
        rival = _rival(path)
        columns = {
            "condition": name,
            "image_id": image,
            "level": path.levels,
            "epsilon": path.radii,
            "label": classes[path.label],
            "probability": path.probabilities[:, path.label].numpy(),
            "rival": classes[rival],
            "rival_probability": path.probabilities[:, rival].numpy(),
            "prediction": [classes[index] for index in path.predictions],
            "reached": path.reached.numpy(),
            "converged": path.converged.numpy(),
        }
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def _rival(path: AttackPath) -> int:
    if path.target is not None:
        return path.target
    others = path.probabilities.clone()
    others[:, path.label] = -1
    at = int(path.reached.nonzero()[0]) if path.reached.any() else -1
    return int(others[at].argmax())


def _panel(
    network: str, path: AttackPath, classes: tuple[str, ...], shown: list[int], amplify: int, least: int
) -> Panel:
    return Panel(
        network=network,
        after=_uint8(path.pixels),
        difference=_uint8(0.5 + amplify * (path.pixels - path.pixels[0])),
        probabilities=path.probabilities[:, shown].numpy(),
        verdicts=tuple(_verdict(path, at, classes) for at in range(len(path.levels))),
        fooled=tuple(path.reached.tolist()),
        flip=_flip(path, classes, least),
    )


def _uint8(pixels: Tensor) -> np.ndarray:
    """Turn pixels (n, 3, height, width) in [0, 1] into uint8 (n, height, width, 3)."""
    return (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def _verdict(path: AttackPath, at: int, classes: tuple[str, ...]) -> str:
    says = classes[int(path.predictions[at])]
    sure = f"{float(path.probabilities[at].max()):.0%}"
    if path.target is None and at and path.reached[0]:
        return f"{says} ({sure}): wrong from the start, so not attacked"
    if not path.reached[at]:
        unsure = "" if path.converged[at] else ", but the attack did not converge"
        return f"still {says} ({sure}){unsure}" if at else f"{says} ({sure})"
    if path.target is not None:
        return f"{says} ({sure}): the target"
    return f"{classes[path.label]} → {says} ({sure})" if at else f"{says} ({sure}), but it is {classes[path.label]}"


def _flip(path: AttackPath, classes: tuple[str, ...], least_steps: int) -> str:
    goal = f"to {classes[path.target]}" if path.target is not None else f"away from {classes[path.label]}"
    if path.flip is None and not path.ended:
        return f"no answer: the attack did not converge; give it {least_steps} steps or more"
    if path.flip is None:
        return f"not moved {goal} up to ε = {path.levels[-1]:g}/255"
    if path.flip == 0:
        return f"{classes[int(path.predictions[0])]} without any attack"
    return f"turns to {classes[int(path.predictions[path.levels.index(path.flip)])]} at ε = {path.flip:g}/255"


def _classes_shown(paths: list[AttackPath]) -> list[int]:
    """Return the classes that are ever probable, in their own order, and those the attack is about."""
    largest = torch.stack([path.probabilities.max(0).values for path in paths]).max(0).values
    for path in paths:
        largest[[path.label, *([path.target] if path.target is not None else [])]] = 2.0
    top = largest.topk(min(CLASSES_SHOWN, len(largest))).indices
    return sorted(int(index) for index in top)
