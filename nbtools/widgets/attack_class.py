"""What the attack explorer shows of a class of images at every ε: who still stands, and how sure a count is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nbtools.attacks.table import ATTACKS
from nbtools.metrics.stats import clopper_pearson
from nbtools.widgets.attack_paths import ClassPath
from nbtools.widgets.attack_state import Bench, Choice
from nbtools.widgets.attack_view import budget


@dataclass(frozen=True)
class Crowd:
    """One network, at every ε.

    Attributes
    ----------
    network : str
        Its name.
    tiles : uint8 array (n_levels, n, height, width, 3)
        The pictures.
    says : tuple of tuples of str (n_levels, n)
        What the network takes them for.
    stands : bool array (n_levels, n)
        Whether the attack has not had what it wants.
    counts : tuple of int (n_levels,)
        How many stand.
    words : tuple of str (n_levels,)
        The count as a share with its 95 % interval over images, and how many of them are no answer.
    """

    network: str
    tiles: np.ndarray
    says: tuple[tuple[str, ...], ...]
    stands: np.ndarray
    counts: tuple[int, ...]
    words: tuple[str, ...]


@dataclass(frozen=True)
class ClassView:
    """All the explorer shows of a class.

    Attributes
    ----------
    levels, budgets
        As of `attack_view.View`.
    ids, labels : tuple of str (n,)
        Image ids and their classes.
    panels : tuple of Crowd
        One per network.
    difference : tuple of str (n_levels,)
        How many more stand under the second network than under the first, in a sentence.
    """

    levels: tuple[float, ...]
    budgets: tuple[str, ...]
    ids: tuple[str, ...]
    labels: tuple[str, ...]
    panels: tuple[Crowd, ...]
    difference: tuple[str, ...]


def class_view(bench: Bench, choice: Choice) -> ClassView:
    """Return what to show for a choice whose class has been attacked (`Bench.compute`)."""
    paths, levels = bench.class_paths(choice), (0.0, *bench.levels)
    panels = tuple(_crowd(name, path, bench.classes) for name, path in paths.items())
    first = next(iter(paths.values()))
    return ClassView(
        levels=levels,
        budgets=tuple(budget(level, choice.attack) for level in levels),
        ids=tuple(map(str, first.ids)),
        labels=tuple(bench.classes[label] for label in first.labels.tolist()),
        panels=panels,
        difference=tuple(_compared(panels, at) for at in range(len(levels))),
    )


def _crowd(network: str, path: ClassPath, classes: tuple[str, ...]) -> Crowd:
    stands = path.stands.numpy()
    unsure = stands & ~path.ended.numpy()
    unsure[0] = False  # the clean images are no attack's
    counts = tuple(stands.sum(1).tolist())
    return Crowd(
        network=network,
        tiles=path.tiles.permute(0, 1, 3, 4, 2).contiguous().numpy(),
        says=tuple(tuple(classes[index] for index in row) for row in path.predictions.tolist()),
        stands=stands,
        counts=counts,
        words=tuple(_share(n, stands.shape[1], int(open_)) for n, open_ in zip(counts, unsure.sum(1), strict=True)),
    )


def _share(n: int, of: int, unsure: int) -> str:
    """Say a count as a share with its interval: as of images drawn by chance, for this one network."""
    low, high = clopper_pearson(n, of, 0.025)
    said = f"{n / of:.0%} (95 % interval {float(low):.0%} to {float(high):.0%})"
    return said + (f"; of {unsure} the attack did not converge" if unsure else "")


def _compared(panels: tuple[Crowd, ...], at: int) -> str:
    if len(panels) < 2:
        return ""
    (first, second), (one, other) = panels, (panel.counts[at] for panel in panels)
    if one == other:
        return "As many under both."
    more, less = (first, second) if one > other else (second, first)
    both = int((first.stands[at] & second.stands[at]).sum())
    return f"{abs(one - other)} more under {more.network} than under {less.network}; {both} under both."


def foreign(classes: tuple[str, ...]) -> str:
    """Say what a picture without a label is to networks that know these classes."""
    named = ", ".join(classes) if len(classes) <= 12 else f"{', '.join(classes[:3])}, …"
    return (
        f"A foreign picture. These networks know {len(classes)} classes ({named}) and must name one of them: there is "
        "no right answer to lose. Each is moved away from what it says itself, however sure it claims to be."
    )


def together(choice: Choice) -> str:
    """Say how the images of a class are attacked."""
    towards = f" towards {choice.target}, which none of them is" if choice.target else ""
    steps = ATTACKS[choice.attack].steps_for(choice.steps)
    return (
        f"Attacked together{towards}, {steps} steps each, each from its own start: alone, an image may fall a step of "
        "ε sooner or later. One network of each kind; about kinds of networks only several of each can speak."
    )
