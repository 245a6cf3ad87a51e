"""Studies by name: what simulated ones are usually called, and how a study comes to where it is not."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import product
from typing import Any, Literal, get_args

ProfileName = Literal["demo", "tiny"]  # of a simulated study: how much of everything there is
Truth = Literal["beyond", "labels", "null", "quality"]  # what is true of its world (`synthetic.recipe.regions`)


def usual_name(profile: str, truth: str, subject: int = 1, dorsal: bool = False) -> str:
    """Return the name of a simulated study that is given none: ``demo``, ``demo-null``, ``demo-subj02`` …"""
    return profile + f"-{truth}" * (truth != "beyond") + f"-subj{subject:02d}" * (subject > 1) + "-dorsal" * dorsal


# Of each usual name the world that has it.
USUAL: dict[str, dict[str, Any]] = {
    usual_name(*world): dict(zip(("profile", "truth", "subject", "dorsal"), world, strict=True))
    for world in product(get_args(ProfileName), get_args(Truth), range(1, 9), (False, True))
}
_MEASURED = "fetch and make it: `python -m nbtools fetch things --agreed`, then `fetch {0}` and `prepare {0}`"
# How a study of this name comes.
_WAYS = {
    "nsd": "fetch it: `python -m nbtools fetch nsd --dry-run` says what and how large; data/README.md says how",
    **{f"tvsd-{monkey}": _MEASURED.format(f"tvsd --monkeys {monkey}") for monkey in "FN"},
    **{f"things-subj{n:02d}": _MEASURED.format(f"things-fmri --subjects {n}") for n in (1, 2, 3)},
    "haxby": "make it: `python -m nbtools prepare haxby` (300 MB, by nilearn)",
    **{name: f"make it: `python -m nbtools world {name}`" for name in USUAL},
}


def way_to(study: str, there: Iterable[str]) -> str:
    """Say how a study comes to where it is not, or which of those that are there, or can come, may be meant."""
    near = get_close_matches(study, [*there, *_WAYS], 1, 0.75)
    meant = f"did you mean {near[0]}? if not, " if near else ""
    others = "describe yours as data/README.md shows, or take the simulated one: `python -m nbtools world` makes demo"
    return _WAYS.get(study, meant + others)
