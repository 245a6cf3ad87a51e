"""The attack explorer without its widgets: what is chosen, the attacks it asks for, what was computed before."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from nbtools.attacks.table import ATTACKS
from nbtools.checks import check_same_classes, listed
from nbtools.classifiers import home_of
from nbtools.data.images.sets import NO_LABEL, ImageSet, joined
from nbtools.errors import InputError
from nbtools.models.networks import freeze
from nbtools.runs.parameters import MAX_SEED
from nbtools.widgets.attack_paths import LEVELS, AttackPath, ClassPath, attack_path, class_path

STEPS = (1, 5, 10, 20, 40, 100, 200, 1000)
OWN = "own/"  # ids of images that were dropped in begin so
PATHS_KEPT = 64
IMAGE, CLASS = "image", "class"  # what is looked at: one image, or a class of them at once
CROWD = 24  # images of a class


@dataclass(frozen=True)
class Choice:
    """Everything that decides what the explorer shows.

    Attributes
    ----------
    image : str
        Image id.
    networks : tuple of str
        One or two, by name.
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
    tab : str
        ``"image"``, or ``"class"``: many images at once.
    """

    image: str
    networks: tuple[str, ...]
    attack: str = "LinfPGD"
    steps: int = 20
    target: str = ""
    level: float = 2.0
    seed: int = 0
    tab: str = IMAGE

    def same_attacks(self, other: Choice | None) -> bool:
        """Whether another choice is the same but for ε: an attack is made at every ε at once."""
        return other is not None and replace(other, level=self.level) == self


@dataclass
class Bench:
    """What there is to choose from, and the paths computed so far.

    Attributes
    ----------
    networks : mapping of name → nn.Module
        Of the images' classes. One that is looked up for the first time is frozen and checked then.
    images : ImageSet
        Labelled or not.
    levels : tuple of float
        ε in 1/255, ascending, without 0.
    """

    networks: Mapping[str, nn.Module]
    images: ImageSet
    levels: tuple[float, ...] = LEVELS
    _paths: OrderedDict[Choice, AttackPath | ClassPath] = field(default_factory=OrderedDict, repr=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """The networks' classes."""
        return self.images.classes

    def network(self, name: str) -> nn.Module:
        """Return a network, frozen.

        Raises
        ------
        InputError
            If it is not of the images' classes.
        """
        network = self.networks[name]
        check_same_classes(self.classes, network)
        return freeze(network)

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

    def crowd(self, target: str = "") -> np.ndarray:
        """Return the rows of what is attacked at once: the first `CROWD` with a label, none of the target's class."""
        labels = self.images.labels.numpy()
        other = labels != (self.classes.index(target) if target else NO_LABEL)
        return np.flatnonzero((labels >= 0) & other)[:CROWD]

    def check(self, choice: Choice) -> None:
        """Raise `InputError` unless everything chosen is there."""
        known: dict[str, tuple] = {
            "image": tuple(self.images.ids),
            "attack": tuple(ATTACKS),
            "target": ("", *self.classes),
            "level": (0.0, *self.levels),
            "tab": (IMAGE, CLASS),
        }
        for name, allowed in known.items():
            if getattr(choice, name) not in allowed:
                _refuse(name, listed(allowed), getattr(choice, name))
        fit = 1 <= len(choice.networks) <= 2 and len(set(choice.networks)) == len(choice.networks)
        if not fit or not set(choice.networks) <= set(self.networks):
            _refuse("networks", f"one or two of {', '.join(self.networks)}", choice.networks)
        for name, least, most in (("steps", 1, 1000), ("seed", 0, MAX_SEED)):
            if not least <= getattr(choice, name) <= most:
                _refuse(name, f"{least} to {most}", getattr(choice, name))
        if choice.tab == CLASS and not len(self.crowd(choice.target)):
            _refuse("tab", "images whose class is known", "none")
        own = self.image(choice.image)[1]
        if choice.tab == IMAGE and choice.target and own >= 0 and choice.target == self.classes[own]:
            _refuse("target", f"another class than {choice.target}, which the image is", choice.target)

    def missing(self, choice: Choice) -> list[str]:
        """Return the networks whose path for this choice has yet to be computed; ε does not matter."""
        return [name for name in choice.networks if _key(choice, name) not in self._paths]

    def compute(self, choice: Choice, network: str, tick: Callable[[], None] = lambda: None) -> None:
        """Compute and keep one network's path; the oldest of more than `PATHS_KEPT` is forgotten.

        Raises
        ------
        InputError
            If the choice is not among what there is, or the network not of the images' classes.
        jobs.Cancelled
            If `tick` says so. Nothing is kept then.
        """
        self.check(choice)
        model = self.network(network)
        single = choice.tab == IMAGE
        images = self.images[self.images.rows(np.array([choice.image])) if single else self.crowd(choice.target)]
        self._paths[_key(choice, network)] = (attack_path if single else class_path)(
            model,
            images.to(home_of(model, images.pixels).device),
            levels=self.levels,
            attack=choice.attack,
            steps=choice.steps,
            target=self.classes.index(choice.target) if choice.target else None,
            seed=choice.seed,
            tick=tick,
        )
        while len(self._paths) > PATHS_KEPT:
            self._paths.popitem(last=False)

    def paths(self, choice: Choice) -> dict[str, AttackPath]:
        """Return each network's path of the chosen image, computed before."""
        return {name: path for name, path in self._kept(choice).items() if isinstance(path, AttackPath)}

    def class_paths(self, choice: Choice) -> dict[str, ClassPath]:
        """Return each network's path of the class, computed before."""
        return {name: path for name, path in self._kept(choice).items() if isinstance(path, ClassPath)}

    def _kept(self, choice: Choice) -> dict[str, AttackPath | ClassPath]:
        for name in choice.networks:
            self._paths.move_to_end(_key(choice, name))
        return {name: self._paths[_key(choice, name)] for name in choice.networks}


def _key(choice: Choice, network: str) -> Choice:
    """Return what a path depends on: not the other network nor ε, and a class's not on the image."""
    image = choice.image if choice.tab == IMAGE else ""
    return replace(choice, networks=(network,), level=0.0, image=image)


def _refuse(name: str, expected: object, got: object) -> None:
    raise InputError(
        f"{name} is not among what there is", expected=expected, got=repr(got), fix="choose another, or load the rest"
    )
