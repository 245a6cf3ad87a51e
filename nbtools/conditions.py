"""ROIs and guidance conditions: names, atlas labels, order and colours. Said here and nowhere else.

Any well-formed name (`is_region`) can be a region's: which regions there are, a study's files say. Their order, early
to late, is `Study.hierarchy`, and what depends on it takes it as an argument; the default is the paper's, `HIERARCHY`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from zlib import crc32

import numpy as np

from nbtools.errors import InputError

# Labels of the Kastner 2015 atlas (Wang et al. 2015) as NSD's Kastner2015.nii.gz numbers them.
VENTRAL: dict[str, tuple[int, ...]] = {
    "V1": (1, 2),
    "V2": (3, 4),
    "V4": (7,),
    "VO": (8, 9),
    "PHC": (10, 11),
    "LO": (14, 15),
    "TO": (12, 13),
}
DORSAL: dict[str, tuple[int, ...]] = {
    "V3": (5, 6),
    "V3A": (17,),
    "V3B": (16,),
    "IPS0": (18,),
    "IPS1": (19,),
    "IPS2": (20,),
    "IPS3": (21,),
    "IPS4": (22,),
    "IPS5": (23,),
}
ROI_LABELS: dict[str, tuple[int, ...]] = {**VENTRAL, **DORSAL}
# NSD's volumes of regions, <name>.nii.gz, and the labels of each region in them. V1 to V4 stand in two.
RETINOTOPY: dict[str, dict[str, tuple[int, ...]]] = {
    "Kastner2015": ROI_LABELS,
    "prf-visualrois": {"V1": (1, 2), "V2": (3, 4), "V3": (5, 6), "V4": (7,)},
}
FUNCTIONAL: dict[str, dict[str, tuple[int, ...]]] = {
    "floc-faces": {"OFA": (1,), "FFA": (2, 3)},
    "floc-bodies": {"EBA": (1,), "FBA": (2, 3)},
    "floc-places": {"OPA": (1,), "PPA": (2,), "RSC": (3,)},
    "floc-words": {"OWFA": (1,), "VWFA": (2, 3)},
    "streams": {
        "early": (1,),
        "midventral": (2,),
        "midlateral": (3,),
        "midparietal": (4,),
        "ventral": (5,),
        "lateral": (6,),
        "parietal": (7,),
    },
}
HIERARCHY: tuple[str, ...] = tuple(VENTRAL)  # early to late, the paper's order
# Unguided networks that weight decay alone makes smooth. docs/log.md says how the five were chosen.
DECAYS: tuple[str, ...] = ("decay-0.003", "decay-0.01", "decay-0.03", "decay-0.1", "decay-0.3")
LABELS_GUIDE, CE_WEIGHT = "labels-guide", "ce-weight"
# What guidance brings along beside a brain: category knowledge, as images and as a guide; less weight on the classes.
MATCHED: tuple[str, ...] = ("labels", LABELS_GUIDE, CE_WEIGHT)


def baselines(hierarchy: Sequence[str] = HIERARCHY) -> tuple[str, ...]:
    """Return the controls of a hierarchy; its first and its last region are those that are shuffled."""
    return "none", "random", *dict.fromkeys(f"{roi}-shuffle" for roi in (hierarchy[0], hierarchy[-1])), *MATCHED


def conditions_of(hierarchy: Sequence[str] = HIERARCHY) -> tuple[str, ...]:
    """Return a hierarchy's conditions in the order of tables and figures: controls, weight decays, regions."""
    return *baselines(hierarchy), *DECAYS, *hierarchy


BASELINES, CONDITIONS = baselines(), conditions_of()

_MANIFOLD = "-manifold"  # after a guide's name
ADOPTED = "net-"  # before the name of a network from outside
_RESERVED = {"none", "start", "random", "labels", "weight", "decay", "shuffle", "manifold", "net"}
NAMING = f"letters, digits and _ in words that hyphens join, none of them {', '.join(sorted(_RESERVED))}"

Kind = Literal[
    "none", "start", "random", "shuffle", "labels", "labels-guide", "ce-weight", "decay", "roi", "manifold", "adopted"
]

MEANING: dict[Kind, str] = {  # of a kind of condition, in a table for readers
    "none": "no guide: classification only",
    "start": "no guide; shorter: what the networks of a seed, `none` too, begin with",
    "random": "guide: a predictor that was never trained",
    "shuffle": "guide: the trained predictor, looking at another image",
    "roi": "guide: the trained predictor of this region",
    "manifold": "guide: the places and shapes of the categories in the predictor's responses",
    "labels": "no guide, but the scanner's images with their labels: how much is category knowledge?",
    "labels-guide": "guide: a predictor of the scanner's images' labels, in place of responses",
    "ce-weight": "no guide, but the class term weighs 1 − α: how much is its weaker gradient?",
    "decay": "no guide, but weight decay: how much is smoothness?",
    "adopted": "a network from outside",
}


@dataclass(frozen=True)
class Condition:
    """What guides a network.

    Attributes
    ----------
    name : str
        As it stands in tables and figures.
    kind : Kind
        What guides it, if anything (`MEANING`).
    roi : str or None
        The region whose predictor is used (for ``random``: whose predictor's size is used), or ``labels-guide``.
    weight_decay : float
        Of the optimiser, for ``decay``.
    """

    name: str
    kind: Kind
    roi: str | None
    weight_decay: float = 0.0

    @property
    def weighted(self) -> bool:
        """Whether α says anything of the network: the class term then weighs 1 − α."""
        return self.roi is not None or self.kind == CE_WEIGHT


def is_region(name: str) -> bool:
    """Say whether a name can be a region's (`NAMING`)."""
    return bool(re.fullmatch(r"[A-Za-z0-9_]+(-[A-Za-z0-9_]+)*", name)) and _RESERVED.isdisjoint(name.split("-"))


def is_adopted(name: str) -> bool:
    """Say whether a condition is a network from outside: ``net-`` and a name such as a region's (`NAMING`)."""
    return name.startswith(ADOPTED) and is_region(name.removeprefix(ADOPTED))


def parse_condition(name: str, hierarchy: Sequence[str] = HIERARCHY, regions: Sequence[str] = ()) -> Condition:
    """Read a condition's name.

    Parameters
    ----------
    name : str
        A region (``"TO"``), ``"none"``, ``"start"``, ``"random"``, ``"<region>-shuffle"``, ``"labels"``,
        ``"labels-guide"``, ``"ce-weight"``, ``"decay-<weight decay>"``, a guide's name with ``-manifold``, or
        ``"net-<name>"``, an adopted network's.
    hierarchy : sequence of str
        Regions, early to late; ``"random"`` has the size of the last one's predictor.
    regions : sequence of str
        All there are; left out, any well-formed name is one.

    Raises
    ------
    InputError
        If the name is none of these.
    """
    if name in ("none", "start", *MATCHED):
        return Condition(name, name, LABELS_GUIDE if name == LABELS_GUIDE else None)  # type: ignore[arg-type]
    if name == "random":
        return Condition(name, "random", hierarchy[-1])
    if name.startswith("decay-") and (weight_decay := _decay(name)):
        return Condition(name, "decay", None, weight_decay)
    if is_adopted(name):
        return Condition(name, "adopted", None)
    guide = name.removesuffix(_MANIFOLD)
    roi = guide.removesuffix("-shuffle")
    exists = is_region(roi) and (not regions or roi in regions)
    if guide != name and (guide == "random" or exists):
        return Condition(name, "manifold", parse_condition(guide, hierarchy).roi)
    if guide == name and exists:
        return Condition(name, "roi" if roi == name else "shuffle", roi)
    raise InputError(
        f"unknown condition {name!r}",
        expected=f"a region ({', '.join(regions) or NAMING}), none, random, <region>-shuffle, {', '.join(MATCHED)}, "
        f"decay-<number>, <guide>-manifold or {ADOPTED}<name>",
        got=repr(name),
        fix="check the spelling; names are case-sensitive",
    )


def _decay(name: str) -> float | None:
    """Return the weight decay a name holds if it is above 0 and written the one way: ``decay-0.001``."""
    try:
        value = float(name.removeprefix("decay-"))
    except ValueError:
        return None
    return value if value > 0 and name == f"decay-{value:g}" else None


def check_rois(names: Sequence[str]) -> None:
    """Raise `InputError` unless there is a name, and each can be a region's."""
    wrong = [name for name in names if not is_region(name)]
    if wrong or not names:
        raise InputError(
            "these are no regions' names" if wrong else "no region was asked for",
            expected=NAMING,
            got=", ".join(map(repr, wrong)) or "an empty list",
            fix="use the study's own names; `python -m nbtools doctor` lists them",
        )


def region_labels(roi: str, retinotopy: str = "Kastner2015") -> tuple[str, tuple[int, ...]]:
    """Return in which of NSD's volumes a region stands, and with which labels.

    Parameters
    ----------
    roi : str
        A region's name.
    retinotopy : {"Kastner2015", "prf-visualrois"}
        Where retinotopic regions are taken from: a probabilistic atlas, or the subject's own maps.

    Raises
    ------
    InputError
        If NSD has no such region there.
    """
    for atlas, regions in _atlases(retinotopy).items():
        if roi in regions:
            return atlas, regions[roi]
    raise InputError(
        f"NSD has no region {roi}",
        expected=", ".join(nsd_regions(retinotopy)),
        got=f"{roi!r}, retinotopy {retinotopy!r}",
        fix=f"choose one of these, or retinotopy from {', '.join(RETINOTOPY)}",
    )


def nsd_regions(retinotopy: str = "Kastner2015") -> tuple[str, ...]:
    """Name the regions NSD's volumes hold; `retinotopy` as in `region_labels`."""
    return tuple(roi for regions in _atlases(retinotopy).values() for roi in regions)


def _atlases(retinotopy: str) -> dict[str, dict[str, tuple[int, ...]]]:
    return {retinotopy: RETINOTOPY.get(retinotopy, {}), **FUNCTIONAL}


# Dark to light along the hierarchy (steps of inferno, lightness L* 17 to 75), so that the order reads in grey
# print and to colour-blind eyes (tests/test_plots.py simulates both); unguided controls are black and grey.
_SCALE = ("#420a68", "#6a176e", "#932667", "#bc3754", "#dd513a", "#f37819", "#fca50a")
_SHAPES = ("circle", "square", "diamond", "triangle-up", "triangle-down", "pentagon", "star")
_CONTROL_MARKS = {
    "none": ("#000000", "cross"),
    "start": ("#5f5f5f", "asterisk"),
    "random": ("#8c8c8c", "x"),
    "labels": ("#2d6cc0", "hourglass"),
    LABELS_GUIDE: ("#2d6cc0", "hourglass-open"),
    CE_WEIGHT: ("#5a5a5a", "diamond-wide"),
}
_OTHER_MARK = ("#1f7f8c", "hexagon")
_DECAY_COLOR = "#5b7f5b"
# Of adopted networks: each has one by its name, and one of _SHAPES; greens, blues and violets, which no region has.
_ADOPTED = ("#0b6e4f", "#08a6a0", "#0a66c2", "#5b8def", "#6a51a3", "#1d3f72")
_DASHES: dict[Kind, str] = {
    "none": "solid",
    "start": "dot",
    "random": "dot",
    "shuffle": "dash",
    "labels": "dashdot",
    "labels-guide": "4px 2px",
    "ce-weight": "1px 6px",
    "decay": "longdash",
    "manifold": "longdashdot",
    "roi": "solid",
    "adopted": "12px 3px 3px 3px",
}
# One shape for each member of the family, weakest first; a decay of another strength has the last.
_DECAY_SYMBOLS = ("triangle-left", "bowtie", "triangle-right", "hexagram", "star-square")


def color(condition: str, hierarchy: Sequence[str] = HIERARCHY) -> str:
    """Return the condition's colour (hex) in a hierarchy; a shuffled control or a manifold has its guide's."""
    return _mark(parse_condition(condition), hierarchy)[0]


def _mark(parsed: Condition, hierarchy: Sequence[str]) -> tuple[str, str]:
    """Return colour and shape: a control's own, or its region's; regions outside the hierarchy share one."""
    guide = parsed.name.removesuffix(_MANIFOLD)
    if parsed.kind == "decay":
        return _DECAY_COLOR, _DECAY_SYMBOLS[DECAYS.index(guide) if guide in DECAYS else -1]
    if parsed.kind == "adopted":
        shape, color = divmod(crc32(guide.encode()) % (len(_SHAPES) * len(_ADOPTED)), len(_ADOPTED))
        return _ADOPTED[color], _SHAPES[shape]
    if guide in _CONTROL_MARKS:
        return _CONTROL_MARKS[guide]
    if parsed.roi not in hierarchy:
        return _OTHER_MARK
    place = hierarchy.index(parsed.roi)
    return _shade(place / max(len(hierarchy) - 1, 1)), _SHAPES[place % len(_SHAPES)]


def _shade(share: float) -> str:
    """Return the colour (hex) at a share, 0 to 1, of the way from dark to light."""
    steps = np.array([[int(step[i : i + 2], 16) for i in (1, 3, 5)] for step in _SCALE])
    along = np.linspace(0, 1, len(steps))
    return "#" + "".join(f"{round(np.interp(share, along, channel)):02x}" for channel in steps.T)


def dash(condition: str) -> str:
    """Return the condition's plotly line dash, so that print and colour-blind readers can tell controls."""
    return _DASHES[parse_condition(condition).kind]


def symbol(condition: str, hierarchy: Sequence[str] = HIERARCHY) -> str:
    """Return the condition's plotly marker: a shape per region, open for its shuffled control, dotted for manifolds."""
    parsed, guide = parse_condition(condition), condition.removesuffix(_MANIFOLD)
    return _mark(parsed, hierarchy)[1] + "-open" * guide.endswith("-shuffle") + "-dot" * (parsed.kind == "manifold")
