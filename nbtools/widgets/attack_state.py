"""The attack explorer without its widgets: what is chosen, the attack it asks for, what was computed before."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from nbtools.attacks.interface import attacked
from nbtools.attacks.table import ATTACKS
from nbtools.attacks.targeted import Towards
from nbtools.checks import check_same_classes, listed
from nbtools.classifiers import Classifier, home_of, logits_of
from nbtools.data.images.sets import NO_LABEL, ImageSet, joined, to_float
from nbtools.errors import InputError

# Half steps of a logarithmic scale, rounded: what a slider moves over. In 1/255.
LEVELS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.7, 8.0, 11.0, 16.0)
STEPS = (1, 5, 10, 20, 40, 100, 200, 1000)
OWN = "own/"  # ids of images that were dropped in begin so
PATHS_KEPT = 64


@dataclass(frozen=True)
class Choice:
    """Everything that decides what the explorer shows.

    Attributes
    ----------
    image : str
        Image id.
    networks : tuple of str
        One or two conditions.
    attack : str
        A key of `attacks.ATTACKS`; its norm is the attack's.
    steps : int
        Gradient steps of an iterative attack.
    target : str
        The class the attack pushes towards; empty for an untargeted attack.
    level : float
        The ε looked at, in 1/255 (`radius`); 0 is the clean image.
    seed : int
        Of the attack's random starts.
    """

    image: str
    networks: tuple[str, ...]
    attack: str = "LinfPGD"
    steps: int = 20
    target: str = ""
    level: float = 2.0
    seed: int = 0

    def same_attacks(self, other: Choice | None) -> bool:
        """Whether another choice is the same but for ε: an attack is made at every ε at once."""
        return other is not None and replace(other, level=self.level) == self


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
    check_same_classes(image.classes, model)
    watched = Classifier(_watched(model, tick))
    x = to_float(image.pixels)
    own = torch.where(image.labels < 0, logits_of(watched, x).argmax(1), image.labels)
    radii = [radius(level, attack, x[0].numel()) for level in levels]
    fooled, about = (watched, own) if target is None else (Towards(watched, target), torch.zeros_like(own))
    found = attacked(fooled, x, about, radii, attack, steps, seed=seed)
    pixels = torch.cat([x, found.points[:, 0].detach()])
    # one by one, as the attack saw them: a batch rounds otherwise
    logits = torch.cat([logits_of(watched, point[None]) for point in pixels])
    said, ended = logits.softmax(1).cpu(), bool(found.ended)
    return AttackPath((0.0, *levels), (0.0, *radii), pixels.cpu(), said, int(own), target, ended)


def _watched(model: nn.Module, tick: Callable[[], None]) -> nn.Module:
    """Wrap a model so that each of its calls ticks; copies that an attack makes of it tick too."""
    watched = nn.Sequential(model).train(model.training)
    watched.register_forward_pre_hook(lambda *_: tick())
    return watched


@dataclass
class Bench:
    """What there is to choose from, and the paths computed so far.

    Attributes
    ----------
    networks : mapping of condition → nn.Module
        Frozen, all of one set of classes.
    images : ImageSet
        Labelled or not.
    levels : tuple of float
        ε in 1/255, ascending, without 0.

    Raises
    ------
    InputError
        If a network is not of the images' classes.
    """

    networks: Mapping[str, nn.Module]
    images: ImageSet
    levels: tuple[float, ...] = LEVELS
    _paths: OrderedDict[Choice, AttackPath] = field(default_factory=OrderedDict, repr=False)

    def __post_init__(self) -> None:
        check_same_classes(self.images.classes, *self.networks.values())

    @property
    def classes(self) -> tuple[str, ...]:
        """The networks' classes."""
        return self.images.classes

    def add_image(self, pixels: Tensor, name: str) -> str:
        """Add an image without a label, uint8 (3, height, width), and return its id; the same name replaces it."""
        own = f"{OWN}{name}"
        kept = self.images[np.flatnonzero(self.images.ids != own)]
        added = ImageSet(pixels[None], torch.tensor([NO_LABEL]), np.array([own]), kept.classes)
        self.images = joined(kept, added)
        for key in [key for key in self._paths if key.image == own]:
            del self._paths[key]
        return own

    def image(self, name: str) -> tuple[Tensor, int]:
        """Return an image's pixels, uint8 (3, height, width), and its label."""
        row = int(self.images.rows(np.array([name]))[0])
        return self.images.pixels[row], int(self.images.labels[row])

    def check(self, choice: Choice) -> None:
        """Raise `InputError` unless everything chosen is there."""
        known: dict[str, tuple] = {
            "image": tuple(self.images.ids),
            "attack": tuple(ATTACKS),
            "target": ("", *self.classes),
            "level": (0.0, *self.levels),
        }
        for name, allowed in known.items():
            if getattr(choice, name) not in allowed:
                _refuse(name, listed(allowed), getattr(choice, name))
        fit = 1 <= len(choice.networks) <= 2 and len(set(choice.networks)) == len(choice.networks)
        if not fit or not set(choice.networks) <= set(self.networks):
            _refuse("networks", f"one or two of {', '.join(self.networks)}", choice.networks)
        own = self.image(choice.image)[1]
        if choice.target and own >= 0 and choice.target == self.classes[own]:
            _refuse("target", f"another class than {choice.target}, which the image is", choice.target)
        if not 1 <= choice.steps <= 1000:
            _refuse("steps", "1 to 1000", choice.steps)

    def missing(self, choice: Choice) -> list[str]:
        """Return the networks whose path for this choice has yet to be computed; ε does not matter."""
        return [name for name in choice.networks if _key(choice, name) not in self._paths]

    def compute(self, choice: Choice, network: str, tick: Callable[[], None] = lambda: None) -> None:
        """Compute and keep one network's path; the oldest of more than `PATHS_KEPT` is forgotten.

        Raises
        ------
        InputError
            If the choice is not among what there is.
        jobs.Cancelled
            If `tick` says so. Nothing is kept then.
        """
        self.check(choice)
        model = self.networks[network]
        image = self.images[self.images.rows(np.array([choice.image]))]
        self._paths[_key(choice, network)] = attack_path(
            model,
            image.to(home_of(model, image.pixels).device),
            levels=self.levels,
            attack=choice.attack,
            steps=choice.steps,
            target=self.classes.index(choice.target) if choice.target else None,
            seed=choice.seed,
            tick=tick,
        )
        while len(self._paths) > PATHS_KEPT:
            self._paths.popitem(last=False)

    def path(self, choice: Choice, network: str) -> AttackPath:
        """Return a path that has been computed."""
        key = _key(choice, network)
        self._paths.move_to_end(key)
        return self._paths[key]


def _key(choice: Choice, network: str) -> Choice:
    """Return what a path depends on: all of a choice but the other network and ε."""
    return replace(choice, networks=(network,), level=0.0)


def _refuse(name: str, expected: object, got: object) -> None:
    raise InputError(
        f"{name} is not among what there is", expected=expected, got=repr(got), fix="choose another, or load the rest"
    )
