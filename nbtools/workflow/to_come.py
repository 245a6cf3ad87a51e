"""What is assumed of a study that is not there yet: by its name, what `prepare` will make of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from nbtools.conditions import HIERARCHY
from nbtools.workflow.config import is_simulated
from nbtools.workflow.sizes import ASSUMED, Sizes

_SIZE = re.compile(r"-(\d+)px$")  # in the name of a study whose pictures are not of the usual size
# Pictures of THINGS' twelve largest categories, counted roughly; what a monkey or a person was shown.
_THINGS = Sizes(64, train=12_000, val=2_000, conflict=0, shared=100)
_LACKS = frozenset({"nsd", "cue_conflict", "corruptions"})


@dataclass(frozen=True)
class ToCome:
    """What a study will have.

    Attributes
    ----------
    regions : tuple of str
        Early to late.
    lacks : frozenset of str
        Parts it will not have, as `nbtools.workflow.needs` names them.
    sizes : Sizes
        How much of everything.
    """

    regions: tuple[str, ...] = HIERARCHY
    lacks: frozenset[str] = frozenset({"scanner_labels", "corruptions"})
    sizes: Sizes = ASSUMED


_BY_BEGINNING = {
    "tvsd": ToCome(("V1", "V4", "IT"), _LACKS, replace(_THINGS, scanner=22_348, voxels=300)),
    "things": ToCome(("V1", "V2", "V4", "VO", "PPA", "LO", "TO"), _LACKS, replace(_THINGS, scanner=8_740, voxels=700)),
}


def to_come(study: str) -> ToCome:
    """Return what a study will have by its name: that of a simulated one, of ``tvsd-…``, ``things-…``, else NSD's."""
    if is_simulated(study):
        return ToCome(lacks=frozenset())
    found = _BY_BEGINNING.get(study.partition("-")[0], ToCome())
    size = _SIZE.search(study)
    return replace(found, sizes=replace(found.sizes, image_size=int(size[1]))) if size else found
