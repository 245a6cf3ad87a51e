"""ROIs and guidance conditions: names, atlas labels, order and colours. Said here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

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
# Names for responses that are not NSD's: ventral temporal cortex (Haxby et al. 2001), and what others measure.
OTHER_REGIONS = ("VT", "VT-face", "VT-house", "LOC", "MT", "IT", "PIT", "CIT", "AIT")
REGIONS: tuple[str, ...] = (*ROI_LABELS, *(roi for atlas in FUNCTIONAL.values() for roi in atlas), *OTHER_REGIONS)
HIERARCHY: tuple[str, ...] = tuple(VENTRAL)  # early to late, the paper's order
BASELINES: tuple[str, ...] = ("none", "random", "V1-shuffle", "TO-shuffle", "labels")
# Unguided networks that weight decay alone makes smooth. docs/log.md says how the five were chosen.
DECAYS: tuple[str, ...] = ("decay-0.003", "decay-0.01", "decay-0.03", "decay-0.1", "decay-0.3")
CONDITIONS: tuple[str, ...] = (*BASELINES, *DECAYS, *HIERARCHY)

_MANIFOLD = "-manifold"  # after a guide's name

Kind = Literal["none", "random", "shuffle", "labels", "decay", "roi", "manifold"]

MEANING: dict[Kind, str] = {  # of a kind of condition, in a table for readers
    "none": "no guide: classification only",
    "random": "guide: a predictor that was never trained",
    "shuffle": "guide: the trained predictor, looking at another image",
    "roi": "guide: the trained predictor of this region",
    "manifold": "guide: the places and shapes of the categories in the predictor's responses",
    "labels": "no guide, but the scanner's images with their labels: how much is category knowledge?",
    "decay": "no guide, but weight decay: how much is smoothness?",
}


@dataclass(frozen=True)
class Condition:
    """What guides a network.

    Attributes
    ----------
    name : str
        As it stands in tables and figures.
    kind : {"none", "random", "shuffle", "labels", "decay", "roi", "manifold"}
        No guidance; an untrained predictor; a trained predictor that sees another image; no guidance, but the
        scanner's images with their labels; no guidance, but weight decay; a trained predictor; the category
        manifolds of one of these predictors in place of its responses.
    roi : str or None
        The region whose predictor is used (for ``random``: whose predictor's size is used).
    weight_decay : float
        Of the optimiser, for ``decay``.
    """

    name: str
    kind: Kind
    roi: str | None
    weight_decay: float = 0.0


def parse_condition(name: str) -> Condition:
    """Read a condition's name.

    Parameters
    ----------
    name : str
        A region (``"TO"``), ``"none"``, ``"random"``, ``"<region>-shuffle"``, ``"labels"``,
        ``"decay-<weight decay>"``, or a guide's name with ``-manifold``.

    Raises
    ------
    InputError
        If the name is none of these.
    """
    if name in ("none", "labels"):
        return Condition(name, name, None)  # type: ignore[arg-type]
    if name == "random":
        return Condition(name, "random", HIERARCHY[-1])
    if name.startswith("decay-") and (weight_decay := _decay(name)):
        return Condition(name, "decay", None, weight_decay)
    if (guide := name.removesuffix(_MANIFOLD)) != name and guide.removesuffix("-shuffle") in (*REGIONS, "random"):
        return Condition(name, "manifold", parse_condition(guide).roi)
    roi = name.removesuffix("-shuffle")
    if roi in REGIONS:
        return Condition(name, "roi" if roi == name else "shuffle", roi)
    raise InputError(
        f"unknown condition {name!r}",
        expected=f"a region ({', '.join(REGIONS)}), none, random, <region>-shuffle, labels, decay-<number> or "
        "<guide>-manifold",
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
    """Raise `InputError` unless every name is one of `REGIONS`."""
    unknown = [name for name in names if name not in REGIONS]
    if unknown or not names:
        raise InputError(
            "unknown region" if unknown else "no region was asked for",
            expected=", ".join(REGIONS),
            got=", ".join(map(repr, unknown)) or "an empty list",
            fix="use the regions' names as above",
        )


def region_labels(roi: str, retinotopy: str = "Kastner2015") -> tuple[str, tuple[int, ...]]:
    """Return in which of NSD's volumes a region stands, and with which labels.

    Parameters
    ----------
    roi : str
        One of `REGIONS`.
    retinotopy : {"Kastner2015", "prf-visualrois"}
        Where retinotopic regions are taken from: a probabilistic atlas, or the subject's own maps.

    Raises
    ------
    InputError
        If NSD has no such region there.
    """
    atlases = {retinotopy: RETINOTOPY.get(retinotopy, {}), **FUNCTIONAL}
    for atlas, regions in atlases.items():
        if roi in regions:
            return atlas, regions[roi]
    raise InputError(
        f"NSD has no region {roi}",
        expected=", ".join(name for regions in atlases.values() for name in regions),
        got=f"{roi!r}, retinotopy {retinotopy!r}",
        fix=f"choose one of these, or retinotopy from {', '.join(RETINOTOPY)}",
    )


# Dark to light along the hierarchy (steps of inferno, lightness L* 17 to 75), so that the order reads in grey
# print and to colour-blind eyes (tests/test_plots.py simulates both); unguided controls are black and grey.
_MARKS: dict[str, tuple[str, str]] = {  # colour and shape
    "none": ("#000000", "cross"),
    "random": ("#8c8c8c", "x"),
    "labels": ("#2d6cc0", "hourglass"),
    "V1": ("#420a68", "circle"),
    "V2": ("#6a176e", "square"),
    "V4": ("#932667", "diamond"),
    "VO": ("#bc3754", "triangle-up"),
    "PHC": ("#dd513a", "triangle-down"),
    "LO": ("#f37819", "pentagon"),
    "TO": ("#fca50a", "star"),
}
_OTHER_MARK = ("#1f7f8c", "hexagon")
_DECAY_COLOR = "#5b7f5b"
_DASHES: dict[Kind, str] = {
    "none": "solid",
    "random": "dot",
    "shuffle": "dash",
    "labels": "dashdot",
    "decay": "longdash",
    "manifold": "longdashdot",
    "roi": "solid",
}
# One shape for each member of the family, weakest first; a decay of another strength has the last.
_DECAY_SYMBOLS = ("triangle-left", "bowtie", "triangle-right", "hexagram", "star-square")


def color(condition: str) -> str:
    """Return the condition's fixed colour (hex); a shuffled control or a manifold has its guide's."""
    parsed = parse_condition(condition)
    if parsed.kind == "decay":
        return _DECAY_COLOR
    return _mark(parsed)[0]


def _mark(parsed: Condition) -> tuple[str, str]:
    """Return a condition's own mark, or its region's; regions outside the ventral stream share one."""
    guide = parsed.name.removesuffix(_MANIFOLD)
    return _MARKS.get(guide) or _MARKS.get(str(parsed.roi), _OTHER_MARK)


def dash(condition: str) -> str:
    """Return the condition's plotly line dash, so that print and colour-blind readers can tell controls."""
    return _DASHES[parse_condition(condition).kind]


def symbol(condition: str) -> str:
    """Return the condition's plotly marker: a shape per region, open for its shuffled control, dotted for manifolds."""
    parsed = parse_condition(condition)
    if parsed.kind == "decay":
        return _DECAY_SYMBOLS[DECAYS.index(condition) if condition in DECAYS else -1]
    guide = condition.removesuffix(_MANIFOLD)
    return _mark(parsed)[1] + "-open" * guide.endswith("-shuffle") + "-dot" * (parsed.kind == "manifold")


def hierarchy_rank(condition: str) -> int | None:
    """Return a ventral region's place in the hierarchy (V1 = 1 … TO = 7), None for anything else."""
    return HIERARCHY.index(condition) + 1 if condition in HIERARCHY else None
