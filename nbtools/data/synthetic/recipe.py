"""What the simulated study is made of: sizes, regions, weights and ceilings, and one generator per part."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import numpy as np

from nbtools.checks import check_choice
from nbtools.conditions import HIERARCHY
from nbtools.data.names import ProfileName, Truth
from nbtools.errors import InputError

RECIPE = 6  # raise it when the same settings would give other bytes: a folder made before is then refused
NOTE = "SIMULATED: rendered scenes and a made-up subject; no brain was measured. Not evidence for the paper."
TRIALS_PER_SESSION = 750  # as in NSD
REPEATS = 3
SUBJECTS = 8


@dataclass(frozen=True)
class Profile:
    """How much of everything there is.

    Attributes
    ----------
    sessions : int
        Scanner sessions of 750 trials; each image is seen three times, so there are 250 images a session.
    shared : int
        Images that all subjects saw (the test set of predictors).
    train_per_class, val_per_class, cue_conflict : int
        Classification images of each of the ten classes, and cue-conflict images in all.
    """

    sessions: int
    shared: int
    train_per_class: int
    val_per_class: int
    cue_conflict: int

    @property
    def images(self) -> int:
        """Number of scanner images."""
        return self.sessions * TRIALS_PER_SESSION // REPEATS


PROFILES: dict[str, Profile] = {
    "demo": Profile(sessions=13, shared=200, train_per_class=250, val_per_class=50, cue_conflict=400),
    "tiny": Profile(sessions=3, shared=100, train_per_class=50, val_per_class=10, cue_conflict=100),
}


@dataclass(frozen=True)
class Region:
    """What is planted in one region.

    Attributes
    ----------
    weights : dict of str to float
        Share of the signal's variance that each feature block has; they add up to 1.
    ceiling : float
        Mean over voxels of the noise ceiling for three repeats (fraction).
    """

    weights: dict[str, float]
    ceiling: float = 0.42  # NSD subject 1: .29 to .43


VOXELS = 160  # of each region, with a signal and within nsdgeneral
DEAD = {"V1": 3, "TO": 2}  # voxels of a region's mask, beyond these, that are constant zero
CEILING_SD, CEILING_RANGE = 0.15, (0.03, 0.85)  # over a region's voxels; NSD subject 1: .15 to .24

# What a region at this place of the hierarchy (0 the first, 1 the last) holds, by what is true of the world.
_PLANTED: dict[Truth, Callable[[float], Region]] = {
    "beyond": lambda late: Region({"gabor": 1 - late, "curv": late}),
    "labels": lambda late: Region({"gabor": 0.4, "scene": 0.6 * (1 - late), "cat": 0.6 * late}),
    "null": lambda _: Region({"gabor": 0.5, "curv": 0.5}),
    "quality": lambda late: Region({"curv": 1.0}, ceiling=0.15 + 0.30 * late),
}

DORSAL_REGIONS = ("V3A", "V3B", "IPS0")


def _spatial(late: float) -> Region:
    return Region({"gabor": (1 - late) / 2, "position": 0.5, "size": late / 2})


_DORSAL: dict[Truth, Callable[[float], Region]] = {
    "beyond": _spatial,
    "labels": _spatial,
    "null": lambda _: Region({"gabor": 0.5, "position": 0.25, "size": 0.25}),
    "quality": lambda late: Region({"position": 0.5, "size": 0.5}, ceiling=0.15 + 0.30 * late),
}


def regions(truth: Truth) -> dict[str, Region]:
    """Return what is planted in each region, early to late, where this is true.

    ``beyond``: the code turns from local contrast into outlines, and says as much of the class everywhere.
    ``labels``: the code turns from the scene, which says nothing of the class, into the class.
    ``null``: the code is the same everywhere.
    ``quality``: the code is the same everywhere, and measured the better the later.
    """
    return _along(HIERARCHY, _PLANTED[truth])


def dorsal_regions(truth: Truth) -> dict[str, Region]:
    """Return what is planted in each dorsal region, early to late: where the object lies and how large it is.

    Position is coded throughout, and local contrast gives way to size; ``null`` and ``quality`` as for `regions`.
    """
    return _along(DORSAL_REGIONS, _DORSAL[truth])


def _along(names: tuple[str, ...], planted: Callable[[float], Region]) -> dict[str, Region]:
    return {name: planted(late) for name, late in zip(names, np.linspace(0, 1, len(names)).tolist(), strict=True)}


@dataclass(frozen=True)
class Settings:
    """The arguments of `make_study` that decide a study's bytes."""

    name: str
    seed: int
    profile: ProfileName
    truth: Truth
    image_size: int
    subject: int = 1
    dorsal: bool = False

    def __post_init__(self) -> None:
        fix = "use demo for the notebooks, tiny for a quick try"
        check_choice(f"unknown profile {self.profile!r}", self.profile, PROFILES, fix=fix)
        check_choice(f"there is no world of which {self.truth!r} is true", self.truth, get_args(Truth))
        check_choice("no such subject", self.subject, range(1, SUBJECTS + 1))
        if not 16 <= self.image_size <= 256:
            raise InputError(
                "the scenes cannot be drawn at this size",
                expected="image_size from 16 to 256 pixels",
                got=self.image_size,
                fix="the studies of the notebooks use 32",
            )
        if self.seed < 0:
            raise InputError("the seed is negative", expected="0 or more", got=self.seed, fix="use 0, 1, 2, …")

    @property
    def sizes(self) -> Profile:
        """How much of everything there is."""
        return PROFILES[self.profile]

    def generator(self, *part: object) -> np.random.Generator:
        """Return the random generator of one part of the study, named by words and numbers.

        Each part has its own, so that making one again, alone, gives the same bytes.
        """
        digest = hashlib.sha256("/".join(map(str, part)).encode()).digest()
        words = np.frombuffer(digest[:16], dtype="<u4")
        return np.random.default_rng(np.random.SeedSequence([self.seed, *map(int, words)]))

    def subject_generator(self, *part: object) -> np.random.Generator:
        """Return the random generator of one part that each subject has its own of: tuning, noise, drift."""
        return self.generator(*part) if self.subject == 1 else self.generator("subject", self.subject, *part)
