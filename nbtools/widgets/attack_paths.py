"""Attacks at every ε at once, for the attack explorer: of one image, or of a class's worth of them together."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from nbtools.attacks.interface import attacked
from nbtools.attacks.points import Attacked
from nbtools.attacks.table import ATTACKS
from nbtools.attacks.targeted import Towards
from nbtools.checks import check_same_classes
from nbtools.classifiers import Classifier, logits_of
from nbtools.data.images.sets import ImageSet, to_float

# Half steps of a logarithmic scale, rounded: what a slider moves over. In 1/255.
LEVELS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.7, 8.0, 11.0, 16.0)
TILE = 64  # pixels a side: larger images of a class are kept smaller


@dataclass(frozen=True)
class AttackPath:
    """One image attacked at every ε.

    Attributes
    ----------
    levels : tuple of float (n_levels,)
        ε in 1/255, ascending from 0, the clean image.
    radii : tuple of float (n_levels,)
        The same in pixel units, in the attack's norm.
    pixels : Tensor
        In [0, 1], shape (n_levels, 3, height, width).
    probabilities : Tensor
        What the network says to them, shape (n_levels, n_classes).
    label : int
        The class the attack moves away from: the image's own, or what the network says where it has none.
    target : int or None
        The class the attack pushes towards.
    ended : bool
        Whether the attack came to its end: only then a picture it did not turn says something.
    """

    levels: tuple[float, ...]
    radii: tuple[float, ...]
    pixels: Tensor
    probabilities: Tensor
    label: int
    target: int | None = None
    ended: bool = True

    @property
    def predictions(self) -> Tensor:
        """The most probable class at every ε, shape (n_levels,)."""
        return self.probabilities.argmax(1)

    @property
    def reached(self) -> Tensor:
        """Whether the attack has what it wants at every ε, bool (n_levels,)."""
        return self.predictions != self.label if self.target is None else self.predictions == self.target

    @property
    def converged(self) -> Tensor:
        """Whether there is an answer at every ε, bool (n_levels,): the clean image, a find, or an attack that ended."""
        return self.reached | self.ended | (torch.tensor(self.levels) == 0)

    @property
    def flip(self) -> float | None:
        """The smallest ε (1/255) at which the attack has what it wants; None if there is none."""
        where = self.reached.nonzero().flatten()
        return self.levels[int(where[0])] if len(where) else None


@dataclass(frozen=True)
class ClassPath:
    """Several images attacked together at every ε.

    Attributes
    ----------
    levels : tuple of float (n_levels,)
        ε in 1/255, ascending from 0, the clean images.
    ids : array (n,)
        Image ids.
    tiles : uint8 Tensor (n_levels, n, 3, height, width)
        The pictures, rows and columns left out until a side is `TILE` at most.
    labels : Tensor (n,)
        The images' classes.
    predictions : Tensor (n_levels, n)
        What the network says to them.
    target : int or None
        The class the attack pushes towards.
    ended : bool Tensor (n,)
        As in `AttackPath`, of each image.
    """

    levels: tuple[float, ...]
    ids: np.ndarray
    tiles: Tensor
    labels: Tensor
    predictions: Tensor
    target: int | None
    ended: Tensor

    @property
    def stands(self) -> Tensor:
        """Whether the attack has not had what it wants, bool (n_levels, n)."""
        return self.predictions == self.labels if self.target is None else self.predictions != self.target


def radius(level: float, attack: str, n_values: int) -> float:
    """Return ε in pixel units of the attack's norm.

    Parameters
    ----------
    level : float
        Grey levels of 255: the largest change of a value for L∞; the root mean square change for L2.
    attack : str
        A key of `attacks.ATTACKS`.
    n_values : int
        Pixels times channels.

    Notes
    -----
    A change of RMS k/255 has the Euclidean length k/255 · √n_values.
    """
    return level / 255 * (math.sqrt(n_values) if ATTACKS[attack].norm == 2 else 1.0)


def attack_path(
    model: nn.Module,
    image: ImageSet,
    *,
    levels: tuple[float, ...] = LEVELS,
    attack: str = "LinfPGD",
    steps: int = 20,
    target: int | None = None,
    seed: int = 0,
    tick: Callable[[], None] = lambda: None,
) -> AttackPath:
    """Attack one image at every ε.

    Parameters
    ----------
    model : nn.Module
        In eval mode; maps pixels in [0, 1] to logits.
    image : ImageSet
        One, of the network's classes; it may be without a label.
    levels : tuple of float
        ε in 1/255, ascending, without 0.
    attack, steps, seed
        As in `attacks.perturb`.
    target : int, optional
        The class to push towards.
    tick : callable
        Called at each step of the attack; raise `jobs.Cancelled` in it to stop.

    Raises
    ------
    InputError
        If the image is not of the network's classes, and as `attacks.perturb`.
    """
    watched, x, own, radii, found = at_every_level(model, image, levels, attack, steps, target, seed, tick)
    pixels = torch.cat([x, found.points[:, 0].detach()])
    # one by one, as the attack saw them: a batch rounds otherwise
    logits = torch.cat([logits_of(watched, point[None]) for point in pixels])
    said, ended = logits.softmax(1).cpu(), bool(found.ended)
    return AttackPath((0.0, *levels), (0.0, *radii), pixels.cpu(), said, int(own), target, ended)


def class_path(
    model: nn.Module,
    images: ImageSet,
    *,
    levels: tuple[float, ...] = LEVELS,
    attack: str = "LinfPGD",
    steps: int = 20,
    target: int | None = None,
    seed: int = 0,
    tick: Callable[[], None] = lambda: None,
) -> ClassPath:
    """Attack several labelled images together at every ε; parameters and errors as of `attack_path`.

    Notes
    -----
    Each image has a random start of its own, and a batch rounds otherwise than one image: alone, an image may fall a
    step of ε sooner or later.
    """
    watched, x, own, _, found = at_every_level(model, images, levels, attack, steps, target, seed, tick)
    said = [logits_of(watched, x), *(logits_of(watched, points) for points in found.points)]
    skip = -(-x.shape[-1] // TILE)
    points = torch.cat([x[None], found.points])[..., ::skip, ::skip]
    tiles = (points.detach() * 255).round().to(torch.uint8).cpu()
    predictions = torch.stack([logits.argmax(1) for logits in said]).cpu()
    return ClassPath((0.0, *levels), images.ids, tiles, own.cpu(), predictions, target, found.ended.cpu())


def at_every_level(
    model: nn.Module,
    images: ImageSet,
    levels: tuple[float, ...],
    attack: str,
    steps: int,
    target: int | None,
    seed: int,
    tick: Callable[[], None] = lambda: None,
) -> tuple[Classifier, Tensor, Tensor, list[float], Attacked]:
    """Attack images together; arguments as of `attack_path`.

    Returns
    -------
    watched : Classifier
        The network, which ticks.
    x : Tensor (n, 3, height, width)
        Pixels in [0, 1].
    own : Tensor (n,)
        The classes to move away from.
    radii : list of float (n_levels,)
        ε in pixel units, in the attack's norm.
    found : Attacked
        What `attacks` makes of it.
    """
    check_same_classes(images.classes, model)
    watched = Classifier(_watched(model, tick))
    x = to_float(images.pixels)
    own = torch.where(images.labels < 0, logits_of(watched, x).argmax(1), images.labels)
    radii = [radius(level, attack, x[0].numel()) for level in levels]
    fooled, about = (watched, own) if target is None else (Towards(watched, target), torch.zeros_like(own))
    return watched, x, own, radii, attacked(fooled, x, about, radii, attack, steps, seed=seed)


def _watched(model: nn.Module, tick: Callable[[], None]) -> nn.Module:
    """Wrap a model so that each of its calls ticks; copies that an attack makes of it tick too."""
    watched = nn.Sequential(model).train(model.training)
    watched.register_forward_pre_hook(lambda *_: tick())
    return watched
