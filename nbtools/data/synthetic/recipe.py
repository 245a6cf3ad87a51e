"""What the simulated study is made of: sizes, regions, weights and ceilings, and one generator per part."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nbtools.checks import check_choice
from nbtools.conditions import HIERARCHY
from nbtools.errors import InputError

RECIPE = 5  # raise it when the same settings would give other bytes: a folder made before is then refused
NOTE = "SIMULATED: rendered scenes and a made-up subject; no brain was measured. Not evidence for the paper."
TRIALS_PER_SESSION = 750  # as in NSD
REPEATS = 3
SUBJECTS = 8

ProfileName = Literal["demo", "tiny"]


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
    voxels : int
        Voxels with a signal, within nsdgeneral.
    ceiling : tuple of float
        Mean and standard deviation over voxels of the noise ceiling for three repeats (fractions).
    category : float
        Share that the category labels take if they are planted; the other weights shrink to make room.
    dead : int
        Voxels of the region's mask, beyond `voxels`, that are constant zero.
    """

    weights: dict[str, float]
    voxels: int
    ceiling: tuple[float, float]
    category: float = 0.0
    dead: int = 0

    def shares(self, category_labels: bool) -> dict[str, float]:
        """Return the weights, with the category labels among them if they are planted."""
        if not category_labels or not self.category:
            return dict(self.weights)
        others = {block: weight * (1 - self.category) for block, weight in self.weights.items()}
        return {**others, "cat": self.category}


# Ceilings: published for NSD subject 1.
REGIONS: dict[str, Region] = {
    "V1": Region({"gabor": 1.0}, 240, (0.31, 0.24), dead=3),
    "V2": Region({"gabor": 0.55, "tex2": 0.45}, 220, (0.30, 0.24)),
    "V4": Region({"gabor": 0.20, "tex2": 0.20, "curv": 0.50, "surf": 0.10}, 160, (0.32, 0.19)),
    "VO": Region({"surf": 0.25, "tex2": 0.10, "curv": 0.20, "silr": 0.45}, 120, (0.32, 0.16), 0.35),
    "PHC": Region({"scene": 0.50, "gabor": 0.05, "sil": 0.15, "silr": 0.30}, 120, (0.30, 0.17), 0.35),
    "LO": Region({"curv": 0.15, "sil": 0.50, "silr": 0.35}, 180, (0.29, 0.15), 0.55),
    "TO": Region({"sil": 0.15, "silr": 0.85}, 140, (0.43, 0.20), 0.75, dead=2),
}
assert tuple(REGIONS) == HIERARCHY  # regions are walked in the hierarchy's order everywhere
CEILING_RANGE = (0.03, 0.85)


@dataclass(frozen=True)
class Settings:
    """The arguments of `make_study` that decide a study's bytes."""

    name: str
    seed: int
    profile: ProfileName
    category_labels: bool
    image_size: int
    subject: int = 1

    def __post_init__(self) -> None:
        fix = "use demo for the notebooks, tiny for a quick try"
        check_choice(f"unknown profile {self.profile!r}", self.profile, PROFILES, fix=fix)
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
