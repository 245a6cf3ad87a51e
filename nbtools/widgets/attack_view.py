"""What the attack explorer shows for a choice: pictures, probabilities and sentences. Knows no widget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nbtools.attacks.table import ATTACKS
from nbtools.widgets.attack_state import AttackPath, Bench, Choice

CLASSES_SHOWN = 12
MAX_AMPLIFY = 200.0


@dataclass(frozen=True)
class Panel:
    """One network at one ε.

    Attributes
    ----------
    network : str
        Condition.
    before, after, difference : uint8 arrays (height, width, 3)
        The clean image, the perturbed one, and what changed: 0.5 + amplify × difference, grey where nothing did.
    amplify : float
        Brings the largest change to the end of the scale.
    verdict : str
        What happened at this ε, in a sentence.
    flip : str
        Where the attack succeeds along the path, in a sentence.
    """

    network: str
    before: np.ndarray
    after: np.ndarray
    difference: np.ndarray
    amplify: float
    verdict: str
    flip: str


@dataclass(frozen=True)
class View:
    """All the explorer shows.

    Attributes
    ----------
    budget : str
        ε with its unit.
    level : float
        ε in 1/255.
    bars : DataFrame
        One row per condition × class: ``condition``, ``class_name``, ``clean`` and ``probability``. The same classes
        at every ε, the most probable if there are many.
    label : str
        The image's class; empty if it has none.
    panels : tuple of Panel
        One per network.
    path : DataFrame
        As `decision_table` gives it.
    """

    budget: str
    level: float
    bars: pd.DataFrame
    label: str
    panels: tuple[Panel, ...]
    path: pd.DataFrame


def view(bench: Bench, choice: Choice) -> View:
    """Return what to show for a choice whose paths have been computed (`Bench.compute`)."""
    paths = {name: bench.path(choice, name) for name in choice.networks}
    label = bench.image(choice.image)[1]
    return View(
        budget=budget(choice.level, choice.attack),
        level=choice.level,
        bars=_bars(paths, choice.level, bench.classes),
        label=bench.classes[label] if label >= 0 else "",
        panels=tuple(_panel(name, path, choice, bench.classes) for name, path in paths.items()),
        path=decision_table(paths, bench.classes, image=choice.image),
    )


def budget(level: float, attack: str) -> str:
    """Show ε with its unit: ``"2/255"``, for L2 attacks ``"2/255 RMS"``, ``"clean"`` for 0."""
    if level == 0:
        return "clean"
    return f"{level:g}/255" + (" RMS" if ATTACKS[attack].norm == 2 else "")


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


def _panel(network: str, path: AttackPath, choice: Choice, classes: tuple[str, ...]) -> Panel:
    at = path.levels.index(choice.level)
    change = path.pixels[at] - path.pixels[0]
    largest = float(change.abs().max())
    amplify = min(0.5 / largest, MAX_AMPLIFY) if largest else 1.0
    return Panel(
        network=network,
        before=_uint8(path.pixels[0]),
        after=_uint8(path.pixels[at]),
        difference=_uint8(0.5 + amplify * change),
        amplify=amplify,
        verdict=_verdict(path, at, classes),
        flip=_flip(path, classes, ATTACKS[choice.attack].least),
    )


def _uint8(pixels: Tensor) -> np.ndarray:
    return (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


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


def _bars(paths: Mapping[str, AttackPath], level: float, classes: tuple[str, ...]) -> pd.DataFrame:
    shown = _classes_shown(list(paths.values()))
    tables = [
        pd.DataFrame(
            {
                "condition": name,
                "class_name": [classes[index] for index in shown],
                "clean": path.probabilities[0, shown].numpy(),
                "probability": path.probabilities[path.levels.index(level), shown].numpy(),
            }
        )
        for name, path in paths.items()
    ]
    return pd.concat(tables, ignore_index=True)


def _classes_shown(paths: list[AttackPath]) -> list[int]:
    """Return the classes that are ever probable, in their own order, and those the attack is about."""
    largest = torch.stack([path.probabilities.max(0).values for path in paths]).max(0).values
    for path in paths:
        largest[[path.label, *([path.target] if path.target is not None else [])]] = 2.0
    top = largest.topk(min(CLASSES_SHOWN, len(largest))).indices
    return sorted(int(index) for index in top)
